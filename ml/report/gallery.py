"""Photos in the report: thumbnails as data URIs, and what of a photo spoke for its answer."""

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

WORST = 10
MOST_MISTAKES = 200
"""In all classes together."""
SIDE, BYTES = 176, 6000  # a thumbnail's longer side in pixels, and what it may weigh
MAP_SIDE = 32


@dataclass(frozen=True)
class Shown:
    """A photo with what was said of it; without a thumbnail where the file is gone."""

    file: str
    truth: str
    answer: str
    confidence: float
    truth_probability: float
    loss: float
    thumbnail: str | None
    evidence: str | None = None


@dataclass(frozen=True)
class Mistakes:
    """The wrong answers to one class's photos: how many of how many, and the worst."""

    label: str
    photos: int
    wrong: int
    worst: list[Shown]


def mistakes(answers: PredictionTable, root: Path, predictor: Predictor | None) -> list[Mistakes]:
    """Each class's worst wrong answers by loss, with evidence where there is a model.

    Of more classes than fit, those with the most mistakes come, and the rest is left out.
    """
    photos = Counter(answers.truth)
    worst_first = np.argsort(-answers.loss, kind="stable")
    wrong: dict[str, list[int]] = {label: [] for label in answers.classes if photos[label]}
    for row in worst_first[~answers.right[worst_first]]:
        wrong[answers.truth[row]].append(int(row))
    most = MOST_MISTAKES // WORST
    kept = sorted(wrong, key=lambda label: -len(wrong[label]))[:most]
    return [
        Mistakes(
            label,
            photos[label],
            len(wrong[label]),
            [shown(answers, row, root, predictor) for row in wrong[label][:WORST]],
        )
        for label in answers.classes
        if label in kept
    ]


def shown(
    answers: PredictionTable, row: int, root: Path, predictor: Predictor | None = None
) -> Shown:
    """One row of the answers as a picture; with a predictor, its evidence too."""
    truth, answer = (answers.classes.index(of[row]) for of in (answers.truth, answers.answer))
    path, evidence = root / answers.file[row], None
    picture = thumbnail(path)
    if picture and predictor:
        evidence = data_uri(evidence_map(predictor.predict(path), answer, truth), "PNG")
    return Shown(
        answers.file[row],
        answers.truth[row],
        answers.answer[row],
        float(answers.confidence[row]),
        float(answers.truth_probability[row]),
        float(answers.loss[row]),
        picture,
        evidence,
    )


def thumbnail(path: Path, side: int = SIDE, limit: int = BYTES) -> str | None:
    """A small JPEG of at most about `limit` bytes, as a data URI; None where there is no photo."""
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


def evidence_map(prediction: Prediction, answer: int, truth: int) -> Image.Image:
    """What each region says for the answer rather than for the truth, to lay over the photo.

    Orange speaks for the answer, purple for the truth; clear is neither, or was not looked at. The
    mean of the map's values is the gap between the two logits, so it shows what opened the gap.
    """
    merged = grid(prediction)
    gap = merged.values[answer] - merged.values[truth]  # (rows, columns)
    photo = prediction.photo.width, prediction.photo.height
    return overlay(gap, merged.region, photo, MAP_SIDE)
