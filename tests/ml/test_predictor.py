from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ml.data.synthetic import CLASSES
from ml.engines.base import Floats, Pixels
from ml.errors import ModelError, UnsupportedFormat
from ml.images.decode import decode
from ml.images.preprocessing import Preprocessing, network_input
from ml.models.card import Card
from ml.models.probability import probabilities
from ml.predictor import Predictor
from tests.helpers import encoded, picture


class MeanColours:
    """An engine whose logits are the mean colours of each view, so that results are known."""

    name = "mean colours"

    def __init__(self, **fields: object) -> None:
        self.card = Card.model_validate(
            {"version": "1", "classes": ["red", "green", "blue"]}
            | {"preprocessing": Preprocessing(strategy="native", grid=3)}
            | fields
        )

    def run(self, pixels: Pixels) -> tuple[Floats, Floats]:
        logits = pixels.mean(axis=(1, 2)).astype(np.float32) / 50  # (V, 3)
        return logits, np.repeat(logits[:, :, None, None], 49, axis=2).reshape(-1, 3, 7, 7)


def test_the_logits_of_the_views_are_averaged() -> None:
    image = picture().resize((500, 400))
    answer = Predictor(engine=MeanColours()).predict(encoded(image, "PNG"))
    pixels = network_input(image, Preprocessing(strategy="native", grid=3))
    expected = (pixels.mean(axis=(1, 2)) / 50).mean(axis=0)
    np.testing.assert_allclose(answer.logits, expected, rtol=1e-5)
    assert len(answer.boxes) == len(answer.evidence) == 9


@pytest.mark.parametrize("format", ["JPEG", "WebP"])
@pytest.mark.parametrize("seed", range(4))
def test_reducing_a_large_photo_hardly_changes_the_probabilities(
    shipped: Predictor, seed: int, format: str
) -> None:
    large = picture(CLASSES[seed], seed).resize((1603, 1203), Image.Resampling.LANCZOS)
    data = encoded(large, format, quality=90)
    assert decode(data, needed_side=512).pixels.shape == (602, 802, 3)
    answer = shipped.predict(data)
    whole = network_input(decode(data).pixels, shipped.card.preprocessing)
    logits = shipped.engine.run(whole)[0].mean(axis=0)
    expected = probabilities(logits, shipped.card.temperature)
    assert np.abs(np.array(list(answer.probabilities.values())) - expected).max() < 0.05
    assert (answer.photo.width, answer.photo.height) == (1603, 1203)
    assert answer.boxes[0][3] > 602  # in pixels of the whole photo


@pytest.mark.parametrize("size", [(1603, 1203), (2600, 1950), (4100, 4100)])  # by 2, 2 and 8
def test_reducing_a_photo_hardly_changes_the_pixels_and_confident_predictions(
    shipped: Predictor, size: tuple[int, int]
) -> None:
    """The bounds that docs/decisions.md states: one level of 255, and 0.03 if accepted."""
    preprocessing, needed = shipped.card.preprocessing, shipped.card.preprocessing.needed_side
    accepted = 0
    for seed in range(6):
        large = picture(CLASSES[seed % 4], seed).resize(size, Image.Resampling.LANCZOS)
        data = encoded(large, "JPEG", quality=90)
        whole = network_input(decode(data).pixels, preprocessing)
        reduced = network_input(decode(data, needed_side=needed).pixels, preprocessing)
        assert np.abs(reduced.astype(int) - whole).mean() < 1
        logits = shipped.engine.run(whole)[0].mean(axis=0)
        expected = probabilities(logits, shipped.card.temperature)
        if expected.max() >= shipped.card.threshold:
            accepted += 1
            found = list(shipped.predict(data).probabilities.values())
            assert np.abs(np.array(found) - expected).max() < 0.03
    assert accepted


def test_temperature_and_threshold() -> None:
    data = encoded(picture(), "PNG")
    plain = Predictor(engine=MeanColours()).predict(data)
    soft = Predictor(engine=MeanColours(temperature=4, threshold=plain.confidence)).predict(data)
    assert plain.accepted
    assert not soft.accepted
    assert soft.label == plain.label
    assert list(soft.probabilities.values()) == probabilities(plain.logits, 4).tolist()


def test_probabilities_of_huge_logits() -> None:
    assert probabilities([1000.0, 0.0, -1000.0]).tolist() == [1.0, 0.0, 0.0]
    assert probabilities(np.zeros((2, 4))).tolist() == [[0.25] * 4] * 2


def test_bytes_and_path_are_equivalent(shipped: Predictor, photo: bytes, tmp_path: Path) -> None:
    path = tmp_path / "named.png"
    path.write_bytes(photo)
    answer = shipped.predict(photo)
    assert shipped.predict(path).probabilities == answer.probabilities
    assert shipped.predict(str(path)).probabilities == answer.probabilities


def test_the_mean_of_the_evidence_is_the_logit(shipped: Predictor, photo: bytes) -> None:
    answer = shipped.predict(photo)
    classes = len(shipped.card.classes)
    assert answer.evidence.shape == (len(answer.boxes), classes, 7, 7)
    np.testing.assert_allclose(answer.evidence.mean(axis=(0, 2, 3)), answer.logits, atol=1e-4)


def test_the_same_input_gives_the_same_answer(shipped: Predictor, photo: bytes) -> None:
    answers = {tuple(shipped.predict(photo).logits.tolist()) for _ in range(5)}
    assert len(answers) == 1


def test_a_file_that_is_not_a_photo_is_refused(shipped: Predictor) -> None:
    with pytest.raises(UnsupportedFormat):
        shipped.predict(b"text")


@pytest.mark.parametrize("content", [None, b"", b"not a model"])
def test_a_file_that_is_not_a_model_is_refused(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "model.onnx"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ModelError, match=r"model\.onnx"):
        Predictor(path)


def test_the_shipped_card(shipped: Predictor) -> None:
    card = shipped.card
    assert card.classes == (
        "Flying Birds",
        "Large QuadCopters",
        "Small QuadCopters",
        "Winged Drones",
    )
    assert decode(encoded(picture(), "JPEG")).image.mode == "RGB"
    assert card.version.startswith("0.1.0+")
