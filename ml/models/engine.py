"""What runs a model file: a small protocol. `ml/engines/loader.py` chooses one."""

from typing import Literal, Protocol

import numpy as np
import numpy.typing as npt

from ml.models.card import Card

Pixels = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float32]

EngineName = Literal["onnxruntime", "openvino", "torch"]


class Engine(Protocol):
    """Runs one model; safe to call from several threads at once."""

    name: str
    card: Card

    def run(self, pixels: Pixels) -> tuple[Floats, Floats]:
        """RGB bytes (N, H, W, 3) to logits (N, C) and evidence (N, C, H/32, W/32)."""
        ...
