import numpy as np
import pytest

from ml.engines.base import Floats, Pixels
from ml.engines.self_test import KEY, SIDE, SelfTest
from ml.errors import ModelError
from ml.models.card import Card


class Means:
    """An engine whose logits are the mean colours plus a constant error."""

    name = "means"

    def __init__(self, card: Card, off: float = 0.0) -> None:
        self.card, self.off = card, off

    def run(self, pixels: Pixels) -> tuple[Floats, Floats]:
        assert pixels.shape[1:] == (self.card.preprocessing.size,) * 2 + (3,)
        logits = pixels.mean(axis=(1, 2)).astype(np.float32) / 50 + np.float32(self.off)
        return logits, np.zeros((len(pixels), 3, 7, 7), np.float32)


@pytest.fixture
def pictures() -> Pixels:
    return np.random.default_rng(0).integers(0, 256, (3, SIDE, SIDE, 3), dtype=np.uint8)


@pytest.mark.parametrize("size", [32, 64, 224, 300])
def test_a_self_test_is_read_as_it_was_written(card: Card, pictures: Pixels, size: int) -> None:
    preprocessing = card.preprocessing.model_copy(update={"size": size})
    engine = Means(card.model_copy(update={"preprocessing": preprocessing}))
    stored = SelfTest.of(engine, pictures, tolerance=0.01).to_metadata()
    again = SelfTest.from_metadata(stored)
    assert again is not None
    assert again.difference(engine) < 1e-6
    again.check(engine)


def test_pictures_are_enlarged_by_repeating_pixels(card: Card, pictures: Pixels) -> None:
    seen = []

    class Recorder(Means):
        def run(self, pixels: Pixels) -> tuple[Floats, Floats]:
            seen.append(pixels)
            return super().run(pixels)

    size = 4 * SIDE
    preprocessing = card.preprocessing.model_copy(update={"size": size})
    SelfTest.of(Recorder(card.model_copy(update={"preprocessing": preprocessing})), pictures, 1.0)
    np.testing.assert_array_equal(seen[0], pictures.repeat(4, axis=1).repeat(4, axis=2))


@pytest.mark.parametrize("off", [0.1, -0.1, float("nan"), float("inf")])
def test_wrong_logits_fail(card: Card, pictures: Pixels, off: float) -> None:
    self_test = SelfTest.of(Means(card), pictures, tolerance=0.05)
    with pytest.raises(ModelError, match=r"float32 model fails with means.*\(0\.05 is allowed"):
        self_test.check(Means(card, off))


def test_rounding_errors_pass(card: Card, pictures: Pixels) -> None:
    SelfTest.of(Means(card), pictures, tolerance=0.05).check(Means(card, 0.04))


def test_a_missing_and_a_damaged_self_test() -> None:
    assert SelfTest.from_metadata({"version": "1"}) is None
    with pytest.raises(ModelError, match="self-test in the model file"):
        SelfTest.from_metadata({KEY: "{"})
