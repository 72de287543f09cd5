import importlib.util

import numpy as np
import pytest

import ml.images.resize
from ml.images.preprocessing import Preprocessing, boxes
from ml.images.resize import resize, resize_with_pillow

SIZES = [(640, 480), (480, 640), (105, 200), (224, 224), (1, 1), (1, 900), (3000, 2), (1023, 777)]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("kind", ["noise", "black and white"])
def test_it_is_pillows_to_within_one(size: tuple[int, int], kind: str) -> None:
    width, height = size
    noise = np.random.default_rng(width).integers(0, 256, (height, width, 3), dtype=np.uint8)
    pixels = noise if kind == "noise" else np.where(noise > 127, 255, 0).astype(np.uint8)
    for box in boxes(width, height, Preprocessing(grid=3)):
        difference = resize(pixels, box, 224).astype(int) - resize_with_pillow(pixels, box, 224)
        assert np.abs(difference).max() <= 1
        assert abs(difference.mean()) < 0.2  # neither brighter nor darker


@pytest.mark.skipif(importlib.util.find_spec("cykooz_resizer") is None, reason="no wheel here")
def test_vector_instructions_are_used() -> None:
    assert vars(ml.images.resize)["simd"] is not None


def test_pillow_resizes_if_the_package_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ml.images.resize, "simd", None)
    pixels = np.random.default_rng(0).integers(0, 256, (300, 400, 3), dtype=np.uint8)
    box = (50.0, 0.0, 350.0, 300.0)
    assert (resize(pixels, box, 224) == resize_with_pillow(pixels, box, 224)).all()
