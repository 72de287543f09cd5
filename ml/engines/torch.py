"""PyTorch, from the extra `training`: on a GPU if there is one, otherwise on the CPU."""

import torch

from ml.engines.base import FileEngine, Floats, Pixels
from ml.errors import ModelError
from ml.model import NormalisedNetwork
from ml.models.checkpoint import load
from ml.models.onnx_file import ModelFile


class TorchEngine(FileEngine):
    """Run the parameters of the safetensors file beside a model file in PyTorch."""

    name = "torch"

    def _load(self, file: ModelFile, threads: int) -> None:
        if self.card.precision != "float32":
            raise ModelError(f"PyTorch runs only float32 models, but {file.path} is int8.")
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
        """Compute logits (N, C) and evidence (N, C, H/32, W/32) of RGB bytes (N, H, W, 3)."""
        outputs = self._network(torch.from_numpy(pixels).to(self._device))
        return outputs.logits.cpu().numpy(), outputs.evidence.cpu().numpy()
