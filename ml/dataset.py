"""Photos as tensors for training: decoded by the one decoder, cropped anew each time."""

from collections.abc import Sequence
from typing import Literal

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import Dataset

from ml.folder import NO_CLASS, Sample
from ml.image import decode
from ml.preprocessing import PADDING, Preprocessing, boxes, view
from ml.torchvision_import import transforms

Item = tuple[Tensor, int]
Augment = Literal["full", "crops"]


class PhotoDataset(Dataset[Item]):
    """Items are (uint8 (size, size, 3) RGB, index of the class, or -1 for none of the classes).

    With `augment` each access crops and alters the photo at random; without, it gives the
    centre view that a served model with one view sees.
    """

    def __init__(
        self,
        samples: Sequence[Sample],
        classes: Sequence[str],
        preprocessing: Preprocessing,
        augment: Augment | None = None,
    ) -> None:
        self.samples = list(samples)
        self.preprocessing = preprocessing.model_copy(update={"views": 1})
        self.augmentation = augmentation(preprocessing, augment) if augment else None
        self._number = {label: number for number, label in enumerate(classes)} | {NO_CLASS: -1}

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> Item:
        sample = self.samples[index]
        image = decode(sample.path.read_bytes()).image
        if self.augmentation is not None:
            pixels = self.augmentation(image).permute(1, 2, 0)
        else:
            pixels = torch.from_numpy(np.array(self._centre(image)))
        return pixels, self._number[sample.label]

    def _centre(self, image: Image.Image) -> Image.Image:
        (box,) = boxes(image.width, image.height, self.preprocessing)
        return view(image, box, self.preprocessing)


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
