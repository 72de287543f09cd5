"""What runs a model file: a small protocol, and ONNX Runtime behind it."""

from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt
import onnxruntime

from ml.card import Card
from ml.errors import ModelError

Pixels = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float32]


class Engine(Protocol):
    """Runs one model; safe to call from several threads at once."""

    card: Card

    def run(self, pixels: Pixels) -> tuple[Floats, Floats]:
        """RGB bytes (N, H, W, 3) to logits (N, C) and evidence (N, C, H/32, W/32)."""
        ...


class OnnxEngine:
    """ONNX Runtime on the CPU."""

    def __init__(self, model: Path, threads: int = 1) -> None:
        """Load a model file.

        Args:
            model: a file that `python -m ml train` or `export` wrote.
            threads: how many cores one call may use.

        Raises:
            ModelError: where the file is missing, damaged or of another kind.
        """
        if not model.is_file():
            raise ModelError(f"There is no model file {model}.")
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        # Idle threads that spin take the cores that decode the next photo.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        try:
            self._session = onnxruntime.InferenceSession(
                str(model), options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # ONNX Runtime's exceptions share no public base
            raise ModelError(f"{model} is no ONNX model, or is damaged.") from error
        self.card = Card.from_metadata(self._session.get_modelmeta().custom_metadata_map)
        names = [output.name for output in self._session.get_outputs()]
        if names != ["logits", "evidence"]:
            raise ModelError(f"{model} answers {names}, not logits and evidence.")

    def run(self, pixels: Pixels) -> tuple[Floats, Floats]:
        """RGB bytes (N, H, W, 3) to logits (N, C) and evidence (N, C, H/32, W/32)."""
        logits, evidence = self._session.run(None, {"image": pixels})
        return logits, evidence
