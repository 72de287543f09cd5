from io import BytesIO

import numpy as np
import pytest
from PIL import Image

import ml.data.similarity
from ml.data.similarity import (
    COPY_BITS,
    COPY_LEVELS,
    COPY_PEAK,
    SIMILAR_BITS,
    SIMILAR_LEVELS,
    SIMILAR_PEAK,
    Fingerprint,
    Pair,
    fingerprint,
    similar_pairs,
)
from ml.data.synthetic import CLASSES
from tests.helpers import encoded, picture


def prints(*images: Image.Image) -> list[Fingerprint]:
    return [fingerprint(image, str(number)) for number, image in enumerate(images)]


def random_skies(count: int, seed: int) -> list[Fingerprint]:
    """Make skies with noise; every second one is a variant of the one before it."""
    random = np.random.default_rng(seed)
    found = []
    for number in range(count):
        if number % 2 == 0:
            steps = random.integers(0, 2**64, 8, dtype=np.uint64)
            sky = random.normal(random.normal(150, 30), 6, (24, 24, 3))
        bits = random.permutation(512) < random.integers(0, 40)
        other = steps ^ np.packbits(bits).view(np.uint64)
        grain = random.normal(0, random.choice([1, 1, 4, 8]), sky.shape)
        found.append(Fingerprint("", other, np.clip(sky + grain, 0, 255).astype(np.uint8)))
    return found


def compare_every_pair(prints: list[Fingerprint]) -> list[Pair]:
    """Apply the definition to every pair."""
    found = []
    for second, other in enumerate(prints):
        for first, one in enumerate(prints[:second]):
            bits = int(np.bitwise_count(one.steps ^ other.steps).sum())
            difference = np.abs(one.thumbnail.astype(int) - other.thumbnail)
            levels, peak = difference.mean(), difference.max()
            copy = bits <= COPY_BITS and levels <= COPY_LEVELS and peak <= COPY_PEAK
            if bits <= SIMILAR_BITS and levels <= SIMILAR_LEVELS and peak <= SIMILAR_PEAK:
                found.append(Pair(first, second, bool(copy)))
    return found


def indices(pair: Pair) -> tuple[int, int]:
    return pair.first, pair.second


@pytest.mark.parametrize("tile", [(16, 4096, 128), (3, 7, 2)])
def test_the_search_finds_the_same_pairs_as_comparing_all(
    monkeypatch: pytest.MonkeyPatch, tile: tuple[int, int, int]
) -> None:
    for name, size in zip(("_ROWS", "_COLUMNS", "_THUMBNAILS"), tile, strict=True):
        monkeypatch.setattr(ml.data.similarity, name, size)
    photos = random_skies(300, seed=0)
    pairs = compare_every_pair(photos)
    assert 20 < len(pairs) < 150
    assert 5 < sum(pair.copy for pair in pairs) < len(pairs)
    assert sorted(similar_pairs(photos), key=indices) == sorted(pairs, key=indices)


def test_photos_that_differ_in_every_bit_and_identical_photos() -> None:
    step, black = np.zeros(8, np.uint64), np.zeros((24, 24, 3), np.uint8)
    opposite = Fingerprint("", ~step, black)  # all bits differ, the brightness is the same
    assert list(similar_pairs([Fingerprint("", step, black), opposite])) == []
    assert len(list(similar_pairs([opposite] * 70))) == 70 * 69 // 2


def test_a_resized_and_recompressed_picture_is_a_copy() -> None:
    for seed in range(20):
        image = picture(CLASSES[seed % 4], seed)
        small = image.resize((image.width * 3 // 4, image.height * 3 // 4))
        copy = Image.open(BytesIO(encoded(small, "JPEG", quality=60))).convert("RGB")
        assert list(similar_pairs(prints(image, copy))) == [Pair(0, 1, copy=True)]


def test_different_pictures_are_not_copies() -> None:
    images = [picture(label, seed) for seed in range(15) for label in CLASSES]
    assert [pair for pair in similar_pairs(prints(*images)) if pair.copy] == []


@pytest.mark.slow
def test_tens_of_thousands_are_compared_in_seconds() -> None:
    random = np.random.default_rng(0)
    steps = random.integers(0, 2**64, (20_000, 8), dtype=np.uint64)
    grey = np.full((24, 24, 3), 128, np.uint8)  # the same brightness for all: the worst case
    photos = [Fingerprint("", step, grey) for step in (*steps, steps[0])]
    assert list(similar_pairs(photos)) == [Pair(0, 20_000, copy=True)]


def test_no_photos_have_no_similar_pairs() -> None:
    assert list(similar_pairs([])) == []
