"""Set-up of a run: device, network, loaders, targets, optimiser, and the state to resume from."""

import torch
from torch import nn

from ml.data.image_folder import ImageFolder
from ml.images.preprocessing import Preprocessing
from ml.model import NETWORKS, Network
from ml.models.checkpoint import initialise
from ml.training.checkpoints import read_resume_state
from ml.training.config import Config
from ml.training.device import Device
from ml.training.distributed import SINGLE_PROCESS, ProcessGroup
from ml.training.loaders import Loaders
from ml.training.optim import Optimiser
from ml.training.state import TrainingState
from ml.training.targets import TargetBuilder, class_weights, load_teacher


class Setup:
    """The parts that the training loop works with."""

    def __init__(
        self,
        config: Config,
        folder: ImageFolder,
        preprocessing: Preprocessing,
        group: ProcessGroup = SINGLE_PROCESS,
        resume: bool = False,
    ) -> None:
        """Build all parts of a run.

        Args:
            resume: continue after the last written epoch, or from the start if there is none.

        Raises:
            DataError: if a process would get fewer than two photos of a batch.
            ModelError: if the parameters to start or to resume from, or the teacher, do not fit.
        """
        torch.manual_seed(config.seed)
        self.config, self.folder, self.preprocessing = config, folder, preprocessing
        self.group, self.device = group, Device.choose(config.workers, group.local_count)
        network = NETWORKS[config.network](len(folder.classes))
        stored = group.broadcast(lambda: read_resume_state(config.output)) if resume else None
        if stored is None:  # a resumed run does not need the file that it started from
            initialise(network, config.initial)
        self.frozen = _freeze(network, config)  # shares the first stages with the network
        self.network = self.device.prepare(network)
        self.loaders = Loaders(config, folder, preprocessing, group)
        teacher = None
        if config.teacher:
            teacher = load_teacher(config.teacher, folder.classes, config.size)
        self.targets = TargetBuilder(
            len(folder.classes), config.label_smoothing, config.mixup, teacher
        )
        self.class_weights = self.device.to(class_weights(folder))  # (C,)
        self.optimiser = Optimiser(network, config, len(self.loaders.batches))
        self.model = group.data_parallel(network)
        self.state = TrainingState(config.epochs)
        if stored is not None:
            self.state, tensors = stored
            self.optimiser.load_state_dict(tensors, self.state.epochs)


def _freeze(network: Network, config: Config) -> nn.Module:
    """Freeze the first stages and return them; freeze nothing if the parameters start random.

    They detect edges and colours, which are the same in all photos, and take two fifths of the
    time.
    """
    frozen: nn.Module = network.features[: config.freeze if config.initial != "none" else 0]
    return frozen.requires_grad_(False)
