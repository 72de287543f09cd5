"""The interface of inference engines, and the base class of engines that load a model file."""

from abc import abstractmethod
from pathlib import Path
from typing import Literal, Protocol

import numpy as np
import numpy.typing as npt

from ml.images.colour import Pixels as Pixels
from ml.models.card import Card
from ml.models.onnx_file import ModelFile

Floats = npt.NDArray[np.float32]
EngineName = Literal["onnxruntime", "openvino", "torch"]


class Engine(Protocol):
    """Run one model. It may be called from several threads at once."""

    name: str
    card: Card

    @abstractmethod
    def run(self, pixels: Pixels) -> tuple[Floats, Floats]:
        """Compute logits (N, C) and evidence (N, C, H/32, W/32) of RGB bytes (N, H, W, 3)."""


class FileEngine(Engine):
    """Load a model file and keep its card."""

    def __init__(self, model: Path | ModelFile, threads: int = 1) -> None:
        """Load a model file.

        Args:
            model: a file that `skyspotter train` or `export` wrote, or its path.
            threads: how many cores one call may use. PyTorch shares them between all calls.

        Raises:
            ModelError: if the file is missing, damaged or not a Skyspotter model.
        """
        file = ModelFile.read(model)
        self.card = file.card
        self._load(file, threads)

    @abstractmethod
    def _load(self, file: ModelFile, threads: int) -> None:
        """Load the network."""
