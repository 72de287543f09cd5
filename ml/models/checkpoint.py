"""What training writes and reads: parameters, and the state that an interrupted run goes on from.

Parameters are safetensors with the model card in the metadata. The state is torch's own format,
read as nothing but tensors and plain values: a file cannot run code.
"""

import hashlib
from io import BytesIO
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import safetensors.torch
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from ml.errors import ModelError
from ml.files import atomic_write
from ml.model import NETWORKS, Network
from ml.models.card import Card
from ml.torchvision_import import MobileNet_V2_Weights, mobilenet_v2

SHIPPED_PARAMETERS = Path(__file__).resolve().parents[2] / "weights" / "model.safetensors"


def save(path: Path, parameters: dict[str, Tensor], card: Card) -> None:
    """Write parameters and card."""
    contiguous = {name: tensor.detach().cpu().contiguous() for name, tensor in parameters.items()}
    # Written from memory: libraries that write themselves have errors of their own for full disks.
    with atomic_write(path) as partial:
        partial.write_bytes(safetensors.torch.save(contiguous, metadata=card.to_metadata()))


def load(path: Path) -> tuple[Network, Card]:
    """Rebuild a network from its file alone, in evaluation mode.

    Raises:
        ModelError: where the file is missing, damaged or of another kind.
    """
    parameters, metadata = _read(path)
    card = Card.from_metadata(metadata)
    network = NETWORKS[card.network](len(card.classes))
    try:
        network.load_state_dict(parameters)
    except RuntimeError as error:
        raise ModelError(f"{path.name} holds parameters of another network.") from error
    return network.eval(), card


def save_state(path: Path, state: dict[str, Any]) -> None:
    """Write tensors and plain values, nested as they are."""
    written = BytesIO()
    torch.save(state, written)
    with atomic_write(path) as partial:
        partial.write_bytes(written.getbuffer())


def load_state(path: Path) -> dict[str, Any]:
    """Read what `save_state` wrote, on the CPU.

    Raises:
        ModelError: where the file is damaged, or holds anything but tensors and plain values.
    """
    try:
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except (RuntimeError, UnpicklingError, EOFError) as error:
        raise ModelError(f"{path} is damaged: start a new run.") from error
    return state


def fingerprint(parameters: dict[str, Tensor]) -> str:
    """Eight hexadecimal digits that name these very parameters."""
    digest = hashlib.sha256()
    for name in sorted(parameters):
        digest.update(name.encode())
        digest.update(parameters[name].detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()[:8]


def initialise(network: Network, source: str) -> None:
    """Start the network from `shipped`, `imagenet`, `none` (as it is) or a safetensors file.

    Of the shipped parameters the backbone is taken. Of a file, all that fits by name and shape:
    of another classifier the branches too, of a bare backbone (keys without `features.`) that.

    Raises:
        ModelError: where nothing in the file fits.
    """
    if source == "none":
        return
    if source == "imagenet":
        network.features.load_state_dict(_imagenet())
        return
    parameters, _ = _read(SHIPPED_PARAMETERS if source == "shipped" else Path(source))
    own = network.state_dict()
    fitting = {
        name: tensor
        for key, tensor in parameters.items()
        for name in (key, f"features.{key}")
        if name in own
        and own[name].shape == tensor.shape
        and (source != "shipped" or name.startswith("features."))
    }
    if not fitting:
        raise ModelError(f"{Path(source).name} holds no parameters that fit this network.")
    network.load_state_dict(fitting, strict=False)


def _imagenet() -> dict[str, Tensor]:
    try:
        trained = mobilenet_v2(weights=MobileNet_V2_Weights.IMAGENET1K_V2)
    except OSError as error:  # urllib's errors are OSErrors
        raise ModelError(
            "The ImageNet parameters could not be downloaded. Start from `shipped`, or name a "
            "file that you have."
        ) from error
    parameters: dict[str, Tensor] = trained.features.state_dict()
    return parameters


def parameters_of(network: nn.Module) -> dict[str, Tensor]:
    """Copy a network's parameters and buffers, so that training on does not change them."""
    return {name: value.detach().clone() for name, value in network.state_dict().items()}


def _read(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    try:
        with safe_open(path, framework="pt") as opened:
            metadata = opened.metadata() or {}
            return {key: opened.get_tensor(key) for key in opened.keys()}, metadata  # noqa: SIM118
    except FileNotFoundError as error:
        raise ModelError(f"There is no file {path}.") from error
    except (SafetensorError, OSError) as error:
        raise ModelError(f"{path} is no safetensors file, or is damaged.") from error
