"""Photos as tensors for training: decoded by the one decoder, cropped anew each time.

What is random follows from the seed, the epoch and the photo alone: not from what was loaded
before, nor by which worker. So an epoch can be run again, and is the same.
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


def seed_from(*numbers: int) -> int:
    """Mix numbers into one seed of 32 bits, which is all that torch's generator takes in."""
    return int(np.random.SeedSequence(numbers).generate_state(1)[0])


class Batches(Sampler[list[int]]):
    """The numbers of the photos of each step, shuffled anew each `epoch`.

    Photo i of epoch e has the number e * photos + i. Each of several processes takes its share
    of every batch; what is left over at the end of an epoch waits for another one.
    """

    def __init__(self, photos: int, batch: int, seed: int, rank: int = 0, ranks: int = 1) -> None:
        self.photos, self.batch, self.seed = photos, batch, seed
        self.rank, self.ranks = rank, ranks
        self.epoch = 0

    def __len__(self) -> int:
        # A last batch of one photo has no statistics for batch norm after the pooling.
        return max(1, self.photos // self.batch)

    def __iter__(self) -> Iterator[list[int]]:
        shuffle = np.random.default_rng((self.seed, self.epoch)).permutation(self.photos)
        numbers = self.epoch * self.photos + shuffle
        for start in range(0, len(self) * self.batch, self.batch):
            yield numbers[start : start + self.batch][self.rank :: self.ranks].tolist()


class PhotoDataset(Dataset[Item]):
    """Items are (uint8 (size, size, 3) RGB, index of the class, or -1 for none of the classes).

    With `augment` each number crops and alters its photo in its own way; without, it gives the
    centre view that a served model with one view sees. A photo i that cannot be read any more is
    a blank picture of no class, with the label -2 - i.
    """

    def __init__(
        self,
        samples: Sequence[Sample],
        classes: Sequence[str],
        preprocessing: Preprocessing,
        augment: Augment | None = None,
        seed: int = 0,
    ) -> None:
        self.samples = list(samples)
        self.seed = seed
        self.preprocessing = preprocessing.model_copy(update={"grid": 1})
        self.augmentation = augmentation(preprocessing, augment) if augment else None
        self._number = {label: number for number, label in enumerate(classes)} | {OOD_LABEL: -1}

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, number: int) -> Item:
        index = number % len(self.samples)
        sample = self.samples[index]
        try:
            data = sample.path.read_bytes()
            photo = decode(data, needed_side=self.preprocessing.needed_side)
        except (OSError, ImageError):  # it was fine when the run began, and hours have passed
            size = self.preprocessing.size
            blank = torch.tensor(PADDING, dtype=torch.uint8).repeat(size, size, 1)
            return blank, UNREADABLE - index
        if self.augmentation is None:
            pixels = torch.from_numpy(network_input(photo.pixels, self.preprocessing)[0])
        else:
            with torch.random.fork_rng(devices=()):
                torch.default_generator.manual_seed(seed_from(self.seed, number))
                pixels = self.augmentation(photo.image).permute(1, 2, 0)
        return pixels, self._number[sample.label]


def augmentation(preprocessing: Preprocessing, augment: Augment) -> nn.Module:
    """Random crop as the strategy has it, mirror image; if `full`, colours, shapes, a patch erased.

    TrivialAugment: Müller & Hutter 2021, https://arxiv.org/abs/2103.10158. Random erasing:
    Zhong et al. 2020, https://arxiv.org/abs/1708.04896.
    """
    size = preprocessing.size
    crop: nn.Module
    if preprocessing.strategy == "native":
        crop = transforms.RandomCrop(size, pad_if_needed=True, fill=PADDING)
    else:  # any crop of the resized photo is a crop of the photo: one resampling does both
        crop = transforms.RandomResizedCrop(size, scale=(0.35, 1.0))
    steps = [crop, transforms.RandomHorizontalFlip()]
    if augment == "full":
        steps.append(transforms.TrivialAugmentWide(fill=list(PADDING)))
    steps.append(transforms.PILToTensor())
    if augment == "full":
        steps.append(transforms.RandomErasing(p=0.2, scale=(0.02, 0.2), value=list(PADDING)))
    whole: nn.Module = transforms.Compose(steps)
    return whole
