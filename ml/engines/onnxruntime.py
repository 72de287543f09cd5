"""ONNX Runtime on the CPU: what serves unless another engine is asked for."""

from pathlib import Path

import onnxruntime

from ml.errors import ModelError
from ml.models.engine import Floats, Pixels
from ml.models.onnx_file import ModelFile


class OnnxEngine:
    """A model file in ONNX Runtime."""

    name = "onnxruntime"

    def __init__(self, model: Path | ModelFile, threads: int = 1) -> None:
        """Load a model file.

        Args:
            model: a file that `python -m ml train` or `export` wrote, or its path.
            threads: how many cores one call may use.

        Raises:
            ModelError: where the file is missing, damaged or of another kind.
        """
        file = ModelFile.read(model)
        self.card = file.card
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        # Idle threads that spin take the cores that decode the next photo.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        try:
            self._session = onnxruntime.InferenceSession(
                file.data, options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # ONNX Runtime's exceptions share no public base
            raise ModelError(f"{file.path} is no ONNX model, or is damaged.") from error
        outputs, size = self._session.get_outputs(), self.card.preprocessing.size
        names = [output.name for output in outputs]
        if names != ["logits", "evidence"] or outputs[0].shape[1] != len(self.card.classes):
            raise ModelError(
                f"{file.path} answers {names}, not logits and evidence of its classes."
            )
        wanted = ("image", "tensor(uint8)", [size, size, 3])
        takes = [(given.name, given.type, given.shape[1:]) for given in self._session.get_inputs()]
        if takes != [wanted]:
            raise ModelError(f"{file.path} takes {takes}, not {[wanted]}.")

    def run(self, pixels: Pixels) -> tuple[Floats, Floats]:
        """RGB bytes (N, H, W, 3) to logits (N, C) and evidence (N, C, H/32, W/32)."""
        logits, evidence = self._session.run(None, {"image": pixels})
        return logits, evidence
