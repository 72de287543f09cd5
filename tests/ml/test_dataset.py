from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from ml.card import Split
from ml.dataset import Augment, PhotoDataset
from ml.folder import Sample, divide, scan
from ml.image import decode
from ml.preprocessing import Preprocessing, network_input


@pytest.mark.parametrize("strategy", ["native", "shorter-side"])
def test_without_augmentation_it_is_what_serving_sees(drawn: Path, strategy: str) -> None:
    preprocessing = Preprocessing.model_validate({"strategy": strategy, "views": 3})
    folder = scan(drawn)
    dataset = PhotoDataset(folder.samples, folder.classes, preprocessing)
    assert len(dataset) == 40
    for index in (0, 17, 39):
        pixels, label = dataset[index]
        sample = folder.samples[index]
        image = decode(sample.path.read_bytes()).image
        centre = preprocessing.model_copy(update={"views": 1})
        assert (pixels.numpy() == network_input(image, centre)[0]).all()
        assert folder.classes[label] == sample.label


@pytest.mark.parametrize("strategy", ["native", "shorter-side"])
def test_augmentation_is_anew_each_time_and_repeatable(drawn: Path, strategy: str) -> None:
    folder = divide(scan(drawn), Split())
    preprocessing = Preprocessing.model_validate({"strategy": strategy})
    dataset = PhotoDataset(folder.of("train"), folder.classes, preprocessing, augment="full")
    torch.manual_seed(0)
    first, second = dataset[0][0], dataset[0][0]
    torch.manual_seed(0)
    again = dataset[0][0]
    assert first.shape == (224, 224, 3)
    assert first.dtype == torch.uint8
    assert not torch.equal(first, second)
    assert torch.equal(first, again)


def test_native_crops_keep_the_photos_own_pixels(drawn: Path) -> None:
    folder = scan(drawn)
    sample = max(folder.samples, key=lambda sample: min(sample.size))
    assert min(sample.size) > 224
    dataset = PhotoDataset(
        [sample], folder.classes, Preprocessing(strategy="native"), augment="full"
    )
    (crop, *_) = dataset.augmentation.transforms  # type: ignore[union-attr, misc]
    photo = np.asarray(decode(sample.path.read_bytes()).image)
    window = np.asarray(crop(decode(sample.path.read_bytes()).image))
    rows = np.lib.stride_tricks.sliding_window_view(photo, (224, 224, 3))
    assert any(
        (rows[y, x, 0] == window).all() for y in range(len(rows)) for x in range(len(rows[0]))
    )


def test_crops_alone_leave_the_colours_as_they_are(tmp_path: Path) -> None:
    path = tmp_path / "one colour.png"
    Image.new("RGB", (300, 260), (10, 200, 30)).save(path)
    sample = Sample(path, "a")
    cases: list[tuple[Augment, bool]] = [("crops", False), ("full", True)]
    for augment, altered in cases:
        dataset = PhotoDataset([sample], ("a", "b"), Preprocessing(), augment=augment)
        torch.manual_seed(0)
        colours = {tuple(pixel) for _ in range(20) for pixel in dataset[0][0][::50, 0].tolist()}
        assert (colours != {(10, 200, 30)}) == altered
