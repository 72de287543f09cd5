"""PyTorch, of the extra `training`: on a GPU where there is one, else on the CPU."""

from pathlib import Path

import torch

from ml.errors import ModelError
from ml.model import NormalisedNetwork
from ml.models.checkpoint import load
from ml.models.engine import Floats, Pixels
from ml.models.onnx_file import ModelFile


class TorchEngine:
    """The parameters beside a model file, in PyTorch."""

    name = "torch"

    def __init__(self, model: Path | ModelFile, threads: int = 1) -> None:
        """Load the safetensors file that lies beside the model file.

        Args:
            model: a file that `python -m ml train` or `export` wrote, or its path.
            threads: how many cores one call may use, in all of this process.

        Raises:
            ModelError: where a file is missing, damaged or of another kind.
        """
        file = ModelFile.read(model)
        self.card = file.card
        if self.card.precision != "float32":
            raise ModelError(
                f"PyTorch runs float32 models, not {self.card.precision}: {file.path}."
            )
        beside = file.path.with_suffix(".safetensors")
        network, card = load(beside)
        if card.version != self.card.version:
            raise ModelError(f"{beside} holds version {card.version}, not {self.card.version}.")
        self._device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        if self._device.type == "cpu":
            torch.set_num_threads(threads)
        self._network = NormalisedNetwork(network).eval().to(self._device)

    @torch.inference_mode()
    def run(self, pixels: Pixels) -> tuple[Floats, Floats]:
        """RGB bytes (N, H, W, 3) to logits (N, C) and evidence (N, C, H/32, W/32)."""
        answers = self._network(torch.from_numpy(pixels).to(self._device))
        return answers.logits.cpu().numpy(), answers.evidence.cpu().numpy()
