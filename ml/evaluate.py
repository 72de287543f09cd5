"""Measuring a model file on an image folder, through the very path that serves."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from rich.console import Console
from rich.markup import escape
from rich.progress import track
from rich.table import Table

from ml.cpus import usable_cpus
from ml.errors import DataError
from ml.folder import Sample
from ml.metrics import measure
from ml.predictor import Predictor

SHOWN_CLASSES = 50


def evaluate(predictor: Predictor, samples: Sequence[Sample], by: str = "") -> dict[str, Any]:
    """Predict every photo and count.

    Args:
        samples: photos whose labels are among the model's classes.
        by: a column of the folder's `index.csv` to report the accuracy by as well.

    Raises:
        DataError: where there is nothing to measure, or a class the model does not know.
    """
    classes = predictor.card.classes
    strangers = sorted({sample.label for sample in samples} - set(classes))
    if strangers:
        raise DataError(
            f"The model does not know the classes {', '.join(strangers)}; "
            f"it knows {', '.join(classes)}."
        )
    if not samples:
        raise DataError("There are no photos in this split: choose another with --split.")
    with ThreadPoolExecutor(usable_cpus()) as pool:
        predictions = list(
            track(
                pool.map(lambda sample: predictor.predict(sample.path), samples),
                "Predicting",
                total=len(samples),
                console=Console(stderr=True),
                transient=True,
            )
        )
    answers = np.array([list(prediction.probabilities.values()) for prediction in predictions])
    truth = np.array([classes.index(sample.label) for sample in samples])
    right = answers.argmax(axis=1) == truth
    accepted = np.array([prediction.accepted for prediction in predictions])
    return measure(answers, truth, classes) | {
        "coverage": float(accepted.mean()),
        "accepted_accuracy": float(right[accepted].mean()) if accepted.any() else None,
        "by": _by(samples, right, by) if by else {},
        "wrong": [
            {"file": f"{sample.label}/{sample.path.name}", "answer": prediction.label}
            for sample, prediction in zip(samples, predictions, strict=True)
            if sample.label != prediction.label
        ],
    }


def _by(samples: Sequence[Sample], right: np.ndarray[Any, Any], column: str) -> dict[str, Any]:
    values = [sample.columns.get(column, "none") or "none" for sample in samples]
    return {
        f"{column}={value}": {
            "photos": values.count(value),
            "accuracy": float(right[[v == value for v in values]].mean()),
        }
        for value in sorted(set(values))
    }


def show(scores: dict[str, Any], console: Console) -> None:
    """Print what `evaluate` or `measure` counted as tables."""
    console.print(
        f"{scores['accuracy']:.2%} of {scores['photos']} photos right; "
        f"loss {scores['loss']:.3f}, calibration error {scores['calibration_error']:.3f}"
        + (f", coverage {scores['coverage']:.1%}" if "coverage" in scores else "")
    )
    for value, part in scores.get("by", {}).items():
        console.print(f"{value}: {part['accuracy']:.2%} of {part['photos']} photos")
    weakest = sorted(scores["classes"], key=lambda label: scores["classes"][label]["f1"])
    shown = scores["classes"] if len(weakest) <= SHOWN_CLASSES else weakest[:SHOWN_CLASSES]
    if shown is not scores["classes"]:
        console.print(f"The {len(shown)} weakest of {len(weakest)} classes:")
    figures = Table("class", "precision", "recall", "F1", "photos")
    for label in shown:
        of = scores["classes"][label]
        ratios = (f"{of[name]:.3f}" for name in ("precision", "recall", "f1"))
        figures.add_row(escape(label), *ratios, str(of["photos"]))
    console.print(figures)
    if len(scores["classes"]) <= 20:
        confusion = Table("truth \\ answer", *map(escape, scores["classes"]))
        for label, row in zip(scores["classes"], scores["confusion"], strict=True):
            confusion.add_row(escape(label), *map(str, row))
        console.print(confusion)
