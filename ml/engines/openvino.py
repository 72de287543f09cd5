"""OpenVINO on the CPU, from the optional extra `openvino`."""

from functools import cache
from io import BytesIO

import openvino

from ml.cpus import usable_cpus
from ml.engines.base import FileEngine
from ml.errors import ModelError
from ml.models.engine import Floats, Pixels
from ml.models.onnx_file import ModelFile


class OpenVinoEngine(FileEngine):
    """Run a model file in OpenVINO, in the file's own precision."""

    name = "openvino"

    def _load(self, file: ModelFile, threads: int) -> None:
        # Each stream serves one call at a time. A call waits if all streams are busy.
        streams = max(1, usable_cpus() // threads)
        settings = {
            "INFERENCE_NUM_THREADS": threads * streams,
            "NUM_STREAMS": streams,
            "INFERENCE_PRECISION_HINT": "f32",  # otherwise bfloat16 if the processor supports it
            "ENABLE_CPU_PINNING": False,  # all workers would be pinned to the same cores
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
    """Return the one core of this process, which is never freed.

    The CPU plugin of a core gives its thread a signal stack (`sigaltstack`) and frees it when the
    core ends. If two cores ended in another order than they began, the next signal would kill the
    process.
    """
    return openvino.Core()
