from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ml.predictor import Predictor
from ml.report.gallery import evidence_map, thumbnail, worst_errors
from ml.run_folder import PredictionTable


@pytest.fixture
def table() -> PredictionTable:
    """12 wrong and 1 correct prediction for class a, 2 correct for b, no photos of c."""
    truth = ("a",) * 13 + ("b",) * 2
    predicted = ("b",) * 12 + ("a", "b", "b")
    probabilities = np.array([[(i + 1) / 100, 1 - (i + 1) / 100, 0] for i in range(12)])
    probabilities = np.concatenate([probabilities, [[1, 0, 0], [0, 1, 0], [0, 1, 0]]])
    true = probabilities[np.arange(15), [("a", "b", "c").index(label) for label in truth]]
    return PredictionTable(
        ("a", "b", "c"),
        split=np.repeat("test", 15),
        file=np.array([f"{label}/{i}.jpg" for i, label in enumerate(truth)]),
        truth=np.array(truth),
        predicted=np.array(predicted),
        confidence=probabilities.max(axis=1),
        accepted=np.ones(15, dtype=bool),
        loss=-np.log(true),
    )


def test_the_ten_worst_errors_by_loss_and_their_number(
    table: PredictionTable, tmp_path: Path
) -> None:
    a, b = worst_errors(table, tmp_path, None)
    assert (a.label, a.photos, a.wrong, len(a.worst)) == ("a", 13, 12, 10)
    assert [it.file for it in a.worst] == [f"a/{i}.jpg" for i in range(10)]
    assert a.worst[0].loss == pytest.approx(-np.log(0.01))
    assert a.worst[0].confidence == 0.99
    assert a.worst[0].truth_probability == pytest.approx(0.01)
    assert (b.label, b.wrong, b.worst) == ("b", 0, [])


def test_a_missing_photo_has_no_thumbnail(table: PredictionTable, tmp_path: Path) -> None:
    assert worst_errors(table, tmp_path, None)[0].worst[0].thumbnail is None


def test_the_map_is_orange_where_the_evidence_favours_the_predicted_class(
    shipped: Predictor, photo: bytes
) -> None:
    prediction = shipped.predict(photo)
    evidence = np.zeros_like(prediction.evidence)
    evidence[:, 1, :, :3] = 4  # for the predicted class, on the left
    evidence[:, 0, :, 4:] = 4  # for the true class, on the right
    logits = evidence.mean(axis=(0, 2, 3))
    drawn = evidence_map(
        replace(prediction, evidence=evidence, logits=logits), predicted=1, truth=0
    )
    pixels = np.asarray(drawn.convert("RGBA")).astype(int)
    middle = pixels[pixels.shape[0] // 2]
    seen = middle[middle[:, 3] > 100]
    assert seen[0][0] > seen[0][2]
    assert seen[-1][2] > seen[-1][0]
    assert abs(drawn.width / drawn.height - prediction.photo.width / prediction.photo.height) < 0.1


def test_very_wide_and_very_noisy_photos_have_small_thumbnails(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (700, 700, 3), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / "noise.png")
    Image.new("RGB", (4000, 2)).save(tmp_path / "strip.png")
    for name in ("noise.png", "strip.png"):
        uri = thumbnail(tmp_path / name)
        assert uri is not None
        assert uri.startswith("data:image/jpeg;base64,")
        assert len(uri) < 12_000
