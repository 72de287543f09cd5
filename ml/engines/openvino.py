"""OpenVINO on the CPU, from the optional extra `openvino`."""

from functools import cache
from io import BytesIO

import openvino

from ml.cpus import usable_cpus
from ml.engines.base import FileEngine, Floats, Pixels
from ml.errors import ModelError
from ml.models.onnx_file import ModelFile


class OpenVinoEngine(FileEngine):
    """Run a model file in OpenVINO, in the precision of the file."""

    name = "openvino"

    def _load(self, file: ModelFile, threads: int) -> None:
        # Each stream serves one call at a time. A call waits if all streams are busy.
        streams = max(1, usable_cpus() // threads)
        settings = {
            "INFERENCE_NUM_THREADS": threads * streams,
            "NUM_STREAMS": streams,
            "INFERENCE_PRECISION_HINT": "f32",  # the default is bfloat16 on some processors
            "ENABLE_CPU_PINNING": False,  # it would pin all worker processes to the same cores
        }
        try:
            core = _core()
            self._model = core.compile_model(core.read_model(BytesIO(file.data)), "CPU", settings)
        except RuntimeError as error:
            raise ModelError(f"OpenVINO cannot load {file.path}.") from error

    def run(self, pixels: Pixels) -> tuple[Floats, Floats]:
        """Compute logits (N, C) and evidence (N, C, H/32, W/32) of RGB bytes (N, H, W, 3)."""
        outputs = self._model.create_infer_request().infer({"image": pixels})
        return outputs["logits"], outputs["evidence"]


@cache
def _core() -> openvino.Core:
    """Return the only `Core` of this process, which is never freed.

    A core's CPU plugin gives its thread a signal stack (`sigaltstack`) and frees it with the core.
    After two cores were freed in the wrong order, the next signal killed the process.
    """
    return openvino.Core()
