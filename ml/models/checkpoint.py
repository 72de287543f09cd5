"""Save and load parameters, and the training state that an interrupted run resumes from.

Parameters are stored in safetensors files with the model card as metadata. The training state is
stored in PyTorch's format; only tensors and plain values are loaded, so a file cannot run code.
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
    """Write the parameters and the card."""
    contiguous = {name: tensor.detach().cpu().contiguous() for name, tensor in parameters.items()}
    # Serialise, then write: on a full disk, safetensors and torch would not raise an OSError.
    with atomic_write(path) as partial:
        partial.write_bytes(safetensors.torch.save(contiguous, metadata=card.to_metadata()))


def load(path: Path) -> tuple[Network, Card]:
    """Build the network of a safetensors file, in evaluation mode, and load its parameters.

    Raises:
        ModelError: if the file is missing, damaged or not a Skyspotter model.
    """
    parameters, metadata = _read(path)
    card = Card.from_metadata(metadata)
    network = NETWORKS[card.network](len(card.classes))
    try:
        network.load_state_dict(parameters)
    except RuntimeError as error:
        raise ModelError(f"{path.name} holds the parameters of another network.") from error
    return network.eval(), card


def save_state(path: Path, state: dict[str, Any]) -> None:
    """Write nested tensors and plain values."""
    buffer = BytesIO()
    torch.save(state, buffer)
    with atomic_write(path) as partial:
        partial.write_bytes(buffer.getbuffer())


def load_state(path: Path) -> dict[str, Any]:
    """Read a file written by `save_state` into CPU memory.

    Raises:
        ModelError: if the file is damaged, or holds anything but tensors and plain values.
    """
    try:
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except (RuntimeError, UnpicklingError, EOFError) as error:
        raise ModelError(f"{path} is damaged: start a new run.") from error
    return state


def fingerprint(parameters: dict[str, Tensor]) -> str:
    """Return the first eight hexadecimal digits of a hash of the parameters."""
    digest = hashlib.sha256()
    for name, tensor in sorted(parameters.items()):
        digest.update(name.encode() + tensor.detach().cpu().numpy().tobytes())
    return digest.hexdigest()[:8]


def initialise(network: Network, source: str) -> None:
    """Initialise the network from `shipped`, `imagenet`, `none` (unchanged) or a safetensors file.

    `shipped` loads only the backbone of the shipped parameters. A file loads every parameter whose
    name and shape match. Names without `features.`, as in a file of a backbone only, match too.

    Raises:
        ModelError: if the file cannot be read or none of its parameters match.
    """
    if source == "none":
        return
    if source == "imagenet":
        try:
            trained = mobilenet_v2(weights=MobileNet_V2_Weights.IMAGENET1K_V2)
        except OSError as error:  # urllib's errors are OSErrors
            raise ModelError(
                "The ImageNet parameters could not be downloaded. Use `shipped` or a file."
            ) from error
        network.features.load_state_dict(trained.features.state_dict())
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
        raise ModelError(f"{Path(source).name} has no parameters that fit this network.")
    network.load_state_dict(fitting, strict=False)


def parameters_of(network: nn.Module) -> dict[str, Tensor]:
    """Copy a network's parameters and buffers, so that further training does not change them."""
    return {name: value.detach().clone() for name, value in network.state_dict().items()}


def _read(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    try:
        with safe_open(path, framework="pt") as opened:
            metadata = opened.metadata() or {}
            return {key: opened.get_tensor(key) for key in opened.keys()}, metadata  # noqa: SIM118
    except FileNotFoundError as error:
        raise ModelError(f"There is no file {path}.") from error
    except (SafetensorError, OSError) as error:
        raise ModelError(f"{path} is not a safetensors file, or is damaged.") from error
