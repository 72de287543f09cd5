"""ONNX Runtime on the CPU, the default engine."""

import onnxruntime

from ml.engines.base import FileEngine, Floats, Pixels
from ml.errors import ModelError
from ml.models.onnx_file import ModelFile


class OnnxEngine(FileEngine):
    """Run a model file in ONNX Runtime."""

    name = "onnxruntime"

    def _load(self, file: ModelFile, threads: int) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        # Spinning threads would occupy the cores that decode the next photo.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        try:
            self._session = onnxruntime.InferenceSession(
                file.data, options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # ONNX Runtime's exceptions share no public base class
            raise ModelError(f"{file.path} is not an ONNX model, or is damaged.") from error
        size, classes = self.card.preprocessing.size, len(self.card.classes)
        inputs = [(x.name, x.type, x.shape[1:]) for x in self._session.get_inputs()]
        if inputs != (expected := [("image", "tensor(uint8)", [size, size, 3])]):
            raise ModelError(f"{file.path} has the inputs {inputs}, not {expected}.")
        outputs = [(x.name, x.shape[1:2]) for x in self._session.get_outputs()]
        if outputs != (needed := [("logits", [classes]), ("evidence", [classes])]):
            raise ModelError(f"{file.path} has the outputs {outputs}, not {needed}.")

    def run(self, pixels: Pixels) -> tuple[Floats, Floats]:
        """Compute logits (N, C) and evidence (N, C, H/32, W/32) of RGB bytes (N, H, W, 3)."""
        logits, evidence = self._session.run(None, {"image": pixels})
        return logits, evidence
