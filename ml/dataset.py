"""Photos as tensors for training: decoded as in serving, with a new random crop in each epoch.

Random numbers depend on the seed, the epoch and the photo only, not on the order of loading or on
the worker. A repeated epoch is therefore identical.
"""

from collections.abc import Iterator, Sequence
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import Dataset, Sampler

from ml.data.image_folder import OOD_LABEL
from ml.data.sample import Sample
from ml.errors import ImageError
from ml.images.decode import decode
from ml.images.preprocessing import PADDING, Preprocessing, network_input
from ml.torchvision_import import transforms

Item = tuple[Tensor, int]
Augment = Literal["full", "crops"]
UNREADABLE = -2
"""The label of photo i is UNREADABLE - i if it can no longer be read."""


def seed_from(*numbers: int) -> int:
    """Combine numbers into one seed of 32 bits, the size that torch's generator uses."""
    return int(np.random.SeedSequence(numbers).generate_state(1)[0])


class BatchSampler(Sampler[list[int]]):
    """The photo numbers of each batch, in a different random order for each `epoch`.

    Photo i of epoch e has the number e * photos + i. Each process gets its part of every batch.
    An incomplete last batch is dropped, unless it is the only one.
    """

    def __init__(self, photos: int, batch: int, seed: int, rank: int = 0, ranks: int = 1) -> None:
        self.photos, self.batch, self.seed = photos, batch, seed
        self.rank, self.ranks = rank, ranks
        self.epoch = 0

    def __len__(self) -> int:
        # For a last batch of one photo, batch norm after the pooling could not compute a variance.
        return max(1, self.photos // self.batch)

    def __iter__(self) -> Iterator[list[int]]:
        shuffle = np.random.default_rng((self.seed, self.epoch)).permutation(self.photos)
        numbers = self.epoch * self.photos + shuffle
        for start in range(0, len(self) * self.batch, self.batch):
            yield numbers[start : start + self.batch][self.rank :: self.ranks].tolist()


class PhotoDataset(Dataset[Item]):
    """Items are (uint8 (size, size, 3) RGB, class index, or -1 for out-of-distribution pictures).

    With `augment` each number has its own random augmentation; without, an item is the centre
    crop, as in serving. A photo i that can no longer be read is replaced by a blank picture with
    the label UNREADABLE - i.
    """

    def __init__(
        self,
        samples: Sequence[Sample],
        classes: Sequence[str],
        preprocessing: Preprocessing,
        augment: Augment | None = None,
        seed: int = 0,
    ) -> None:
        self.samples, self.seed = list(samples), seed
        self.preprocessing = preprocessing.model_copy(update={"grid": 1})
        self.augmentation = augmentation(preprocessing, augment) if augment else None
        self._class_index = {label: i for i, label in enumerate(classes)} | {OOD_LABEL: -1}

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, number: int) -> Item:
        index = number % len(self.samples)
        sample = self.samples[index]
        try:
            data = sample.path.read_bytes()
            photo = decode(data, needed_side=self.preprocessing.needed_side)
        except (OSError, ImageError):  # it was readable when the run began
            size = self.preprocessing.size
            blank = torch.tensor(PADDING, dtype=torch.uint8).repeat(size, size, 1)
            return blank, UNREADABLE - index
        if self.augmentation is None:
            pixels = torch.from_numpy(network_input(photo.pixels, self.preprocessing)[0])
        else:
            with torch.random.fork_rng(devices=()):
                torch.default_generator.manual_seed(seed_from(self.seed, number))
                pixels = self.augmentation(photo.image).permute(1, 2, 0)
        return pixels, self._class_index[sample.label]


def augmentation(preprocessing: Preprocessing, augment: Augment) -> nn.Module:
    """Random flip, and random crop by the strategy; if `full`, TrivialAugment and erasing too.

    TrivialAugment: Müller & Hutter 2021, https://arxiv.org/abs/2103.10158. Random erasing:
    Zhong et al. 2020, https://arxiv.org/abs/1708.04896.
    """
    size = preprocessing.size
    crop: nn.Module
    if preprocessing.strategy == "native":
        crop = transforms.RandomCrop(size, pad_if_needed=True, fill=PADDING)
    else:  # resizes and crops in one resampling
        crop = transforms.RandomResizedCrop(size, scale=(0.35, 1.0))
    steps = [crop, transforms.RandomHorizontalFlip()]
    if augment == "full":
        steps.append(transforms.TrivialAugmentWide(fill=list(PADDING)))
    steps.append(transforms.PILToTensor())
    if augment == "full":
        steps.append(transforms.RandomErasing(p=0.2, scale=(0.02, 0.2), value=list(PADDING)))
    whole: nn.Module = transforms.Compose(steps)
    return whole
