"""ONNX Runtime on the CPU, the default engine."""

import onnxruntime

from ml.engines.base import FileEngine
from ml.errors import ModelError
from ml.models.engine import Floats, Pixels
from ml.models.onnx_file import ModelFile


class OnnxEngine(FileEngine):
    """Run a model file in ONNX Runtime."""

    name = "onnxruntime"

    def _load(self, file: ModelFile, threads: int) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        # Idle threads that spin would take the cores that decode the next photo.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        try:
            self._session = onnxruntime.InferenceSession(
                file.data, options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # ONNX Runtime's exceptions share no public base class
            raise ModelError(f"{file.path} is not an ONNX model, or is damaged.") from error
        outputs, size = self._session.get_outputs(), self.card.preprocessing.size
        names = [output.name for output in outputs]
        if names != ["logits", "evidence"] or outputs[0].shape[1] != len(self.card.classes):
            raise ModelError(
                f"{file.path} has the outputs {names}, not logits and evidence of its classes."
            )
        expected = [("image", "tensor(uint8)", [size, size, 3])]
        inputs = [(found.name, found.type, found.shape[1:]) for found in self._session.get_inputs()]
        if inputs != expected:
            raise ModelError(f"{file.path} has the inputs {inputs}, not {expected}.")

    def run(self, pixels: Pixels) -> tuple[Floats, Floats]:
        """Compute logits (N, C) and evidence (N, C, H/32, W/32) of RGB bytes (N, H, W, 3)."""
        logits, evidence = self._session.run(None, {"image": pixels})
        return logits, evidence
