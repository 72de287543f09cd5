from io import BytesIO

import numpy as np
import pytest
from PIL import Image

import ml.similarity
from ml.similarity import Fingerprint, Pair, fingerprint, similar_pairs
from ml.synthesize import CLASSES
from tests.conftest import encoded, picture


def prints(*images: Image.Image) -> list[Fingerprint]:
    return [fingerprint(image, str(number)) for number, image in enumerate(images)]


def test_a_resized_and_recompressed_picture_is_a_copy() -> None:
    for seed in range(20):
        image = picture(CLASSES[seed % 4], seed)
        small = image.resize((image.width * 3 // 4, image.height * 3 // 4))
        copy = Image.open(BytesIO(encoded(small, "JPEG", quality=60))).convert("RGB")
        assert similar_pairs(prints(image, copy)) == [Pair(0, 1, copy=True)]


def test_pictures_of_their_own_are_no_pair() -> None:
    images = [picture(label, seed) for seed in range(15) for label in CLASSES]
    assert [pair for pair in similar_pairs(prints(*images)) if pair.copy] == []


def test_the_same_bytes_are_a_copy() -> None:
    image = picture()
    assert similar_pairs([fingerprint(image, "a"), fingerprint(image, "a")])[0].copy


def test_blocks_find_what_one_block_finds(monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(0)
    base = random.integers(0, 2**63, (40, 8), dtype=np.uint64)
    steps = np.concatenate([base, base ^ np.uint64(5)])
    everything = list(ml.similarity._close(steps))
    assert len(everything) == 40
    monkeypatch.setattr(ml.similarity, "_BLOCK", 240)  # three rows at a time
    assert sorted(ml.similarity._close(steps)) == sorted(everything)


def test_nothing_to_compare() -> None:
    assert similar_pairs([]) == []
