"""Set-up of a run: device, network, loaders, targets, optimiser, and the state to resume from."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ml.data.image_folder import ImageFolder
from ml.images.preprocessing import Preprocessing
from ml.model import NETWORKS, Network
from ml.models.checkpoint import initialise
from ml.training.checkpoints import read_resume_state
from ml.training.config import Config
from ml.training.device import Device
from ml.training.distributed import SINGLE_PROCESS, ProcessGroup
from ml.training.loaders import Loaders, build_loaders
from ml.training.optim import Optimiser
from ml.training.state import TrainingState
from ml.training.targets import TargetBuilder, class_weights, load_teacher


@dataclass(frozen=True)
class Setup:
    """The parts that the training loop works with."""

    config: Config
    folder: ImageFolder
    preprocessing: Preprocessing
    group: ProcessGroup
    device: Device
    network: Network
    frozen: nn.Module
    """The first stages of the network, which are not trained."""
    model: nn.Module
    """The network, wrapped if several processes train."""
    loaders: Loaders
    targets: TargetBuilder
    class_weights: Tensor  # (C,)
    optimiser: Optimiser
    state: TrainingState


def set_up(
    config: Config,
    folder: ImageFolder,
    preprocessing: Preprocessing,
    group: ProcessGroup = SINGLE_PROCESS,
    resume: bool = False,
) -> Setup:
    """Build all parts of a run.

    Args:
        resume: continue after the last written epoch, or from the start if there is none.

    Raises:
        DataError: if a process would get fewer than two photos of a batch.
        ModelError: if the parameters to start or to resume from cannot be used.
    """
    torch.manual_seed(config.seed)
    device = Device.choose(config.workers, group.local_count)
    network = NETWORKS[config.network](len(folder.classes))
    stored = group.broadcast(lambda: read_resume_state(config.output)) if resume else None
    if stored is None:  # a resumed run does not need the file that it started from
        initialise(network, config.initial)
    frozen = _freeze(network, config)
    network = device.prepare(network)
    loaders = build_loaders(config, folder, preprocessing, group)
    targets = _targets(config, folder, preprocessing.size)
    optimiser = Optimiser(network, config, len(loaders.batches))
    state = TrainingState(config.epochs)
    model = group.data_parallel(network)
    if stored is not None:
        state, tensors = stored
        optimiser.load_state_dict(tensors, state.epochs)
    weights = device.to(class_weights(folder))
    return Setup(
        config,
        folder,
        preprocessing,
        group,
        device,
        network,
        frozen,
        model,
        loaders,
        targets,
        weights,
        optimiser,
        state,
    )


def _freeze(network: Network, config: Config) -> nn.Module:
    """Freeze the first stages, unless the network starts from random parameters.

    They detect edges and colours, which are the same for all photos, and take two fifths of the
    time.
    """
    frozen = network.features[: config.freeze if config.initial != "none" else 0]
    frozen.requires_grad_(False)
    module: nn.Module = frozen
    return module


def _targets(config: Config, folder: ImageFolder, size: int) -> TargetBuilder:
    teacher = None
    if config.teacher:
        teacher = load_teacher(config.teacher, folder.classes, size, torch.get_num_threads())
    return TargetBuilder(len(folder.classes), config.label_smoothing, config.mixup, teacher)
