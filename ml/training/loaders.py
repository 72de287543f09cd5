"""Which photos come when: batches to train on, and what is held out in its order."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch.utils.data import DataLoader

from ml.data.image_folder import ImageFolder
from ml.data.sample import Sample
from ml.dataset import Batches, Item, PhotoDataset
from ml.errors import DataError
from ml.images.preprocessing import Preprocessing
from ml.training.config import Config
from ml.training.distributed import Processes


@dataclass(frozen=True)
class Loaders:
    """A process's share of the photos."""

    batches: Batches
    """Its `epoch` says which epoch `training` is to give."""
    training: DataLoader[Item]
    held_out: dict[str, DataLoader[Item]]
    """By the name of the split; each photo is some process's."""


def load_photos(
    config: Config, folder: ImageFolder, preprocessing: Preprocessing, team: Processes
) -> Loaders:
    """Build the loaders of a run.

    Raises:
        DataError: where a process would have fewer than two photos of a batch.
    """
    photos = [*folder.of("train"), *folder.ood]
    seed, classes = config.split.seed, folder.classes
    smallest = min(config.batch, len(photos))
    if smallest < 2 * team.count:
        raise DataError(
            f"{team.count} processes cannot share a batch of {smallest} photos: start fewer, or "
            "raise --batch."
        )
    batches = Batches(len(photos), config.batch, seed, team.rank, team.count)
    training = DataLoader(
        PhotoDataset(photos, classes, preprocessing, config.augment, seed=seed),
        batch_sampler=batches,
        num_workers=config.workers,
        persistent_workers=config.workers > 0,
        pin_memory=torch.cuda.is_available(),
    )
    held_out = {
        name: in_order(config, folder.of(name)[team.rank :: team.count], classes, preprocessing)
        for name in ("validation", "test")
        if folder.of(name)
    }
    return Loaders(batches, training, held_out)


def in_order(
    config: Config, photos: Sequence[Sample], classes: Sequence[str], preprocessing: Preprocessing
) -> DataLoader[Item]:
    """Load photos as they are served, one centre view each, in batches."""
    return DataLoader(
        PhotoDataset(photos, classes, preprocessing),
        batch_size=config.batch,
        num_workers=config.workers,
        pin_memory=torch.cuda.is_available(),
    )
