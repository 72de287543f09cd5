"""The protocol of inference engines. `ml/engines/loader.py` chooses and opens one."""

from typing import Literal, Protocol

import numpy as np
import numpy.typing as npt

from ml.images.colour import Pixels as Pixels
from ml.models.card import Card

Floats = npt.NDArray[np.float32]

EngineName = Literal["onnxruntime", "openvino", "torch"]


class Engine(Protocol):
    """Run one model. It may be called from several threads at once."""

    name: str
    card: Card

    def run(self, pixels: Pixels) -> tuple[Floats, Floats]:
        """Compute logits (N, C) and evidence (N, C, H/32, W/32) of RGB bytes (N, H, W, 3)."""
        ...
