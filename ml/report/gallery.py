"""Photos in the report: thumbnails as data URIs, and evidence maps of wrong predictions."""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from ml.errors import ImageError
from ml.evidence import data_uri, grid, overlay
from ml.images.decode import decode
from ml.predictor import Prediction, Predictor
from ml.run_folder import PredictionTable

PHOTOS_PER_CLASS, MOST_PHOTOS = 10, 200
"""Most wrong predictions to show, for each class and in total."""
SIDE, BYTES = 176, 6000  # longer side of a thumbnail in pixels, and its largest file size
MAP_SIDE = 32


@dataclass(frozen=True)
class ShownPrediction:
    """A photo with its prediction; `thumbnail` is None if the file is missing."""

    file: str
    truth: str
    predicted: str
    confidence: float
    truth_probability: float
    loss: float
    thumbnail: str | None
    evidence: str | None = None


@dataclass(frozen=True)
class ClassErrors:
    """A class's number of photos and of wrong predictions, and the worst of these."""

    label: str
    photos: int
    wrong: int
    worst: list[ShownPrediction]


def worst_errors(
    table: PredictionTable, photos: Path, predictor: Predictor | None
) -> list[ClassErrors]:
    """Return each class's wrong predictions with the highest loss.

    If there are too many classes, those with the most wrong predictions are returned.

    Args:
        photos: the image folder.
        predictor: computes the evidence maps; None leaves them out.
    """
    count = Counter(table.truth.tolist())
    by_loss = np.argsort(-table.loss, kind="stable")
    wrong: dict[str, list[int]] = {label: [] for label in table.classes if count[label]}
    for row in by_loss[~table.correct[by_loss]]:
        wrong[table.truth[row]].append(int(row))
    most_wrong = sorted(wrong, key=lambda label: -len(wrong[label]))
    kept = most_wrong[: MOST_PHOTOS // PHOTOS_PER_CLASS]
    errors = []
    for label, rows in wrong.items():
        if label in kept:
            worst = rows[:PHOTOS_PER_CLASS]
            shown = [show_prediction(table, row, photos, predictor) for row in worst]
            errors.append(ClassErrors(label, count[label], len(rows), shown))
    return errors


def show_prediction(
    table: PredictionTable, row: int, photos: Path, predictor: Predictor | None = None
) -> ShownPrediction:
    """Return one row with a thumbnail, and with its evidence map if there is a predictor."""
    file, truth, predicted = (str(of[row]) for of in (table.file, table.truth, table.predicted))
    picture, evidence = thumbnail(photos / file), None
    if picture and predictor:
        indices = table.classes.index(predicted), table.classes.index(truth)
        evidence = data_uri(evidence_map(predictor.predict(photos / file), *indices), "PNG")
    numbers = table.confidence[row], table.truth_probability[row], table.loss[row]
    return ShownPrediction(file, truth, predicted, *numbers, picture, evidence)


def thumbnail(path: Path, side: int = SIDE, limit: int = BYTES) -> str | None:
    """Return a JPEG of at most about `limit` bytes as a data URI; None if decoding fails."""
    try:
        image = decode(path.read_bytes()).image
    except (OSError, ImageError):
        return None
    image.thumbnail((side, side))
    for quality in (80, 60, 40, 20):
        uri = data_uri(image, "JPEG", quality=quality, optimize=True)
        if len(uri) <= limit * 4 / 3:
            break
    return uri


def evidence_map(prediction: Prediction, predicted: int, truth: int) -> Image.Image:
    """Draw the evidence for the predicted class minus that for the true class, as an overlay.

    Orange regions favour the predicted class, purple regions the true class. Transparent regions
    favour neither, or the network did not see them. The mean of the differences is the difference
    between the two logits.
    """
    merged = grid(prediction)
    difference = merged.values[predicted] - merged.values[truth]  # (rows, columns)
    size = prediction.photo.width, prediction.photo.height
    return overlay(difference, merged.region, size, MAP_SIDE)
