import numpy as np
import pytest

from ml.errors import ModelError
from ml.models.card import Card
from ml.models.engine import Floats, Pixels
from ml.models.self_test import KEY, SIDE, Reference


class Means:
    """An engine whose logits are the mean colours, and those of another computer."""

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
def test_it_comes_back_as_it_was(card: Card, pictures: Pixels, size: int) -> None:
    preprocessing = card.preprocessing.model_copy(update={"size": size})
    engine = Means(card.model_copy(update={"preprocessing": preprocessing}))
    stored = Reference.of(engine, pictures, tolerance=0.01).to_metadata()
    again = Reference.from_metadata(stored)
    assert again is not None
    assert again.difference(engine) < 1e-6
    again.check(engine)


def test_pixels_are_repeated(card: Card, pictures: Pixels) -> None:
    seen = []

    class Eye(Means):
        def run(self, pixels: Pixels) -> tuple[Floats, Floats]:
            seen.append(pixels)
            return super().run(pixels)

    size = 4 * SIDE
    preprocessing = card.preprocessing.model_copy(update={"size": size})
    Reference.of(Eye(card.model_copy(update={"preprocessing": preprocessing})), pictures, 1.0)
    np.testing.assert_array_equal(seen[0], pictures.repeat(4, axis=1).repeat(4, axis=2))


@pytest.mark.parametrize("off", [0.1, -0.1, float("nan"), float("inf")])
def test_another_answer_is_refused(card: Card, pictures: Pixels, off: float) -> None:
    reference = Reference.of(Means(card), pictures, tolerance=0.05)
    with pytest.raises(ModelError, match=r"float32 model .* with means.*\(0\.05 is allowed"):
        reference.check(Means(card, off))


def test_rounding_is_not(card: Card, pictures: Pixels) -> None:
    Reference.of(Means(card), pictures, tolerance=0.05).check(Means(card, 0.04))


def test_files_without_one_and_with_a_broken_one() -> None:
    assert Reference.from_metadata({"version": "1"}) is None
    with pytest.raises(ModelError, match="reference"):
        Reference.from_metadata({KEY: "{"})
