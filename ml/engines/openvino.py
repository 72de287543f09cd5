"""OpenVINO on the CPU, of the optional extra `openvino`."""

from functools import cache
from io import BytesIO
from pathlib import Path

import openvino

from ml.cpus import usable_cpus
from ml.errors import ModelError
from ml.models.engine import Floats, Pixels
from ml.models.onnx_file import ModelFile


class OpenVinoEngine:
    """A model file in OpenVINO, in the file's own precision."""

    name = "openvino"

    def __init__(self, model: Path | ModelFile, threads: int = 1) -> None:
        """Load and compile a model file.

        Args:
            model: a file that `python -m ml train` or `export` wrote, or its path.
            threads: how many cores one call may use.

        Raises:
            ModelError: where the file is missing, damaged or of another kind.
        """
        file = ModelFile.read(model)
        self.card = file.card
        # Each stream works on one call; a call waits where all are taken.
        streams = max(1, usable_cpus() // threads)
        settings = {
            "INFERENCE_NUM_THREADS": threads * streams,
            "NUM_STREAMS": streams,
            "INFERENCE_PRECISION_HINT": "f32",  # else bfloat16 where the processor has it
            "ENABLE_CPU_PINNING": False,  # workers would all take the same cores
        }
        try:
            core = _core()
            self._model = core.compile_model(core.read_model(BytesIO(file.data)), "CPU", settings)
        except RuntimeError as error:
            raise ModelError(f"OpenVINO cannot load {file.path}.") from error

    def run(self, pixels: Pixels) -> tuple[Floats, Floats]:
        """RGB bytes (N, H, W, 3) to logits (N, C) and evidence (N, C, H/32, W/32)."""
        answers = self._model.create_infer_request().infer({"image": pixels})
        return answers["logits"], answers["evidence"]


@cache
def _core() -> openvino.Core:
    """One for all models, kept for ever.

    Its CPU plugin gives the thread a stack of its own for signals (`sigaltstack`) and frees it at
    its end: where two ended in another order than they began, the next signal killed the process.
    """
    return openvino.Core()
