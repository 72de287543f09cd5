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
    """The number of a class's photos, how many are predicted wrongly, and the worst of these."""

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
    count = Counter(table.truth)
    by_loss = np.argsort(-table.loss, kind="stable")
    wrong: dict[str, list[int]] = {label: [] for label in table.classes if count[label]}
    for row in by_loss[~table.correct[by_loss]]:
        wrong[table.truth[row]].append(int(row))
    most_classes = MOST_PHOTOS // PHOTOS_PER_CLASS
    kept = sorted(wrong, key=lambda label: -len(wrong[label]))[:most_classes]
    return [
        ClassErrors(
            label,
            count[label],
            len(wrong[label]),
            [
                show_prediction(table, row, photos, predictor)
                for row in wrong[label][:PHOTOS_PER_CLASS]
            ],
        )
        for label in table.classes
        if label in kept
    ]


def show_prediction(
    table: PredictionTable, row: int, photos: Path, predictor: Predictor | None = None
) -> ShownPrediction:
    """Return one row with a thumbnail, and with its evidence map if there is a predictor."""
    truth, predicted = (table.classes.index(of[row]) for of in (table.truth, table.predicted))
    path, evidence = photos / table.file[row], None
    picture = thumbnail(path)
    if picture and predictor:
        evidence = data_uri(evidence_map(predictor.predict(path), predicted, truth), "PNG")
    return ShownPrediction(
        table.file[row],
        table.truth[row],
        table.predicted[row],
        float(table.confidence[row]),
        float(table.truth_probability[row]),
        float(table.loss[row]),
        picture,
        evidence,
    )


def thumbnail(path: Path, side: int = SIDE, limit: int = BYTES) -> str | None:
    """Return a JPEG of about `limit` bytes or less as a data URI; None if it cannot be decoded."""
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
    """Draw where the evidence favours the predicted class over the true class, as an overlay.

    Orange favours the predicted class, purple the true class. Transparent regions favour neither,
    or are outside the network's view. The mean of the map is the difference between the two
    logits.
    """
    merged = grid(prediction)
    difference = merged.values[predicted] - merged.values[truth]  # (rows, columns)
    size = prediction.photo.width, prediction.photo.height
    return overlay(difference, merged.region, size, MAP_SIDE)
