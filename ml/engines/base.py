"""What the engines have in common: they read a model file and keep its card."""

from abc import ABC, abstractmethod
from pathlib import Path

from ml.models.engine import Floats, Pixels
from ml.models.onnx_file import ModelFile


class FileEngine(ABC):
    """An engine that runs a model file."""

    name: str

    def __init__(self, model: Path | ModelFile, threads: int = 1) -> None:
        """Load a model file.

        Args:
            model: a file that `python -m ml train` or `export` wrote, or its path.
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

    @abstractmethod
    def run(self, pixels: Pixels) -> tuple[Floats, Floats]:
        """Compute logits (N, C) and evidence (N, C, H/32, W/32) of RGB bytes (N, H, W, 3)."""
