from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from ml.data.image_folder import scan
from ml.data.sample import Sample
from ml.data.split import split_folder
from ml.dataset import UNREADABLE, Augment, BatchSampler, PhotoDataset
from ml.images.decode import decode
from ml.images.preprocessing import PADDING, Preprocessing, network_input
from ml.models.card import Split


@pytest.mark.parametrize("strategy", ["native", "shorter-side"])
def test_without_augmentation_pixels_equal_those_in_serving(drawn: Path, strategy: str) -> None:
    preprocessing = Preprocessing.model_validate({"strategy": strategy, "views": 3})
    folder = scan(drawn)
    dataset = PhotoDataset(folder.samples, folder.classes, preprocessing)
    assert len(dataset) == 40
    for index in (0, 17, 39):
        pixels, label = dataset[index]
        sample = folder.samples[index]
        image = decode(sample.path.read_bytes()).image
        centre = preprocessing.model_copy(update={"grid": 1})
        assert (pixels.numpy() == network_input(image, centre)[0]).all()
        assert folder.classes[label] == sample.label


@pytest.mark.parametrize("strategy", ["native", "shorter-side"])
def test_augmentation_differs_between_epochs_and_is_repeatable(drawn: Path, strategy: str) -> None:
    folder = split_folder(scan(drawn), Split())
    preprocessing = Preprocessing.model_validate({"strategy": strategy})
    photos = folder.of("train")
    dataset = PhotoDataset(photos, folder.classes, preprocessing, augment="full", seed=3)
    first, second = dataset[0][0], dataset[len(photos)][0]
    torch.rand(5)  # other random draws do not matter
    again = dataset[0][0]
    assert first.shape == (224, 224, 3)
    assert first.dtype == torch.uint8
    assert not torch.equal(first, second)
    assert torch.equal(first, again)


def test_native_crops_are_not_resampled(drawn: Path) -> None:
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


def test_only_full_augmentation_changes_colours(tmp_path: Path) -> None:
    path = tmp_path / "one colour.png"
    Image.new("RGB", (300, 260), (10, 200, 30)).save(path)
    sample = Sample(path, "a")
    cases: list[tuple[Augment, bool]] = [("crops", False), ("full", True)]
    for augment, changed in cases:
        dataset = PhotoDataset([sample], ("a", "b"), Preprocessing(), augment=augment)
        colours = {tuple(pixel) for i in range(20) for pixel in dataset[i][0][::50, 0].tolist()}
        assert (colours != {(10, 200, 30)}) == changed


def test_augmentation_does_not_advance_the_global_generator(drawn: Path) -> None:
    folder = scan(drawn)
    dataset = PhotoDataset(folder.samples, folder.classes, Preprocessing(), augment="full")
    torch.manual_seed(1)
    expected = torch.rand(3)
    torch.manual_seed(1)
    assert len(dataset[0]) == 2
    assert torch.equal(torch.rand(3), expected)


@pytest.mark.parametrize("content", [None, b"", b"\xff\xd8\xff cut off"])
def test_an_unreadable_photo_is_replaced_by_a_blank(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "gone.jpg"
    if content is not None:
        path.write_bytes(content)
    dataset = PhotoDataset([Sample(path, "a")] * 3, ["a", "b"], Preprocessing(), augment="full")
    pixels, label = dataset[5]
    assert label == UNREADABLE - 2
    assert pixels.shape == (224, 224, 3)
    assert pixels.float().std(dim=(0, 1)).max() == 0
    assert torch.equal(pixels[7, 9], torch.tensor(PADDING, dtype=torch.uint8))


def test_each_epoch_has_every_photo_once_in_a_different_order() -> None:
    batches = BatchSampler(photos=12, batch=4, seed=0)
    first = [number for batch in batches for number in batch]
    again = [number for batch in batches for number in batch]
    batches.epoch = 2
    third = [number for batch in batches for number in batch]
    assert first == again
    assert sorted(first) == list(range(12))
    assert sorted(third) == list(range(24, 36))
    assert [number - 24 for number in third] != first


@pytest.mark.parametrize("photos", [5, 10, 11, 31])
def test_the_processes_parts_make_up_the_batches_of_a_single_process(photos: int) -> None:
    whole = list(BatchSampler(photos, batch=5, seed=1))
    shares = [list(BatchSampler(photos, batch=5, seed=1, rank=rank, ranks=2)) for rank in range(2)]
    assert len(whole) == max(1, photos // 5)
    for batch, first, second in zip(whole, *shares, strict=True):
        assert sorted(first + second) == sorted(batch)
