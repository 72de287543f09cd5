"""Data loaders: shuffled training batches, and held-out photos in order."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch.utils.data import DataLoader

from ml.data.image_folder import ImageFolder
from ml.data.sample import Sample
from ml.dataset import BatchSampler, Item, PhotoDataset
from ml.errors import DataError
from ml.images.preprocessing import Preprocessing
from ml.training.config import Config
from ml.training.distributed import ProcessGroup


@dataclass(frozen=True)
class Loaders:
    """The loaders of one process."""

    batches: BatchSampler
    """Set its `epoch` before `training` is iterated."""
    training: DataLoader[Item]
    held_out: dict[str, DataLoader[Item]]
    """By the name of the split; each photo is loaded by one process."""


def build_loaders(
    config: Config, folder: ImageFolder, preprocessing: Preprocessing, group: ProcessGroup
) -> Loaders:
    """Build the loaders of a run.

    Raises:
        DataError: if a process would get fewer than two photos of a batch.
    """
    photos = [*folder.of("train"), *folder.ood]
    smallest = min(config.batch, len(photos))
    if smallest < 2 * group.count:
        raise DataError(
            f"{group.count} processes cannot share a batch of {smallest} photos: start fewer "
            "processes, or raise --batch."
        )
    batches = BatchSampler(len(photos), config.batch, config.seed, group.rank, group.count)
    training = DataLoader(
        PhotoDataset(photos, folder.classes, preprocessing, config.augment, seed=config.seed),
        batch_sampler=batches,
        num_workers=config.workers,
        persistent_workers=config.workers > 0,
        pin_memory=torch.cuda.is_available(),
    )
    held_out = {
        name: in_order(
            config, folder.of(name)[group.rank :: group.count], folder.classes, preprocessing
        )
        for name in ("validation", "test")
        if folder.of(name)
    }
    return Loaders(batches, training, held_out)


def in_order(
    config: Config, photos: Sequence[Sample], classes: Sequence[str], preprocessing: Preprocessing
) -> DataLoader[Item]:
    """Load photos in batches, in their order: one centre crop each, as in serving."""
    return DataLoader(
        PhotoDataset(photos, classes, preprocessing),
        batch_size=config.batch,
        num_workers=config.workers,
        pin_memory=torch.cuda.is_available(),
    )
