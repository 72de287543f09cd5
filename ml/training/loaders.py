"""Data loaders: shuffled training batches, and held-out photos in order."""

from collections.abc import Sequence

import torch
from torch.utils.data import DataLoader

from ml.data.image_folder import ImageFolder
from ml.data.sample import Sample
from ml.dataset import BatchSampler, Item, PhotoDataset
from ml.errors import DataError
from ml.images.preprocessing import Preprocessing
from ml.training.config import Config
from ml.training.distributed import ProcessGroup


class Loaders:
    """The loaders of one process."""

    def __init__(
        self, config: Config, folder: ImageFolder, preprocessing: Preprocessing, group: ProcessGroup
    ) -> None:
        """Build the loaders; raise DataError if a process gets fewer than 2 photos of a batch."""
        photos, classes = [*folder.of("train"), *folder.ood], folder.classes
        smallest = min(config.batch, len(photos))
        if smallest < 2 * group.count:
            raise DataError(
                f"{group.count} processes cannot share a batch of {smallest} photos: start fewer "
                "processes, or raise --batch."
            )
        # Set its `epoch` before `training` is iterated.
        self.batches = BatchSampler(len(photos), config.batch, config.seed, group.rank, group.count)
        self.training = DataLoader(
            PhotoDataset(photos, classes, preprocessing, config.augment, config.seed),
            batch_sampler=self.batches,
            num_workers=config.workers,
            persistent_workers=config.workers > 0,
            pin_memory=torch.cuda.is_available(),
        )
        self.held_out = {  # by split; each photo is loaded by one process
            split: ordered_loader(
                config, samples[group.rank :: group.count], classes, preprocessing
            )
            for split in ("validation", "test")
            if (samples := folder.of(split))
        }


def ordered_loader(
    config: Config, photos: Sequence[Sample], classes: Sequence[str], preprocessing: Preprocessing
) -> DataLoader[Item]:
    """Load photos in batches, in their order: one centre crop each, as in serving."""
    return DataLoader(
        PhotoDataset(photos, classes, preprocessing),
        batch_size=config.batch,
        num_workers=config.workers,
        pin_memory=torch.cuda.is_available(),
    )
