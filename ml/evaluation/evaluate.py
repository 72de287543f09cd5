"""Measure a model on an image folder, with the same prediction code as the service."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from ml.cpus import in_threads
from ml.data.sample import Sample
from ml.errors import DataError, listing
from ml.evaluation.metrics import Floats, Ints, calibration_error, measure
from ml.evaluation.ood import ood_metrics
from ml.models.card import Card
from ml.models.probability import probabilities
from ml.predictor import Predictor
from ml.progress import track_progress

SHOWN_CLASSES, SHOWN_MATRIX_CLASSES = 50, 20
"""Most classes in the printed table, and in a printed confusion matrix."""


def evaluate(
    predictor: Predictor, samples: Sequence[Sample], by: str = "", ood: Sequence[Sample] = ()
) -> dict[str, Any]:
    """Predict every photo and compute the metrics.

    Args:
        by: a column of the folder's `index.csv`; accuracy is also reported for each of its values.
        ood: out-of-distribution photos, to measure how many are rejected.

    Raises:
        DataError: if there are no samples, or if a label is not one of the model's classes.
    """
    classes = predictor.card.classes
    unknown = sorted({sample.label for sample in samples} - set(classes))
    if unknown:
        message = f"The model does not know the classes {listing(unknown)}"
        raise DataError(f"{message}; it knows {listing(classes)}.")
    if not samples:
        raise DataError("There are no photos in this split: choose another with --split.")
    logits = predict_logits(predictor, samples)
    metrics = evaluate_logits(predictor.card, samples, logits, by)
    if ood:
        metrics["others"] = ood_metrics(predictor.card, logits, predict_logits(predictor, ood))
    return metrics


def predict_logits(predictor: Predictor, samples: Sequence[Sample]) -> Floats:
    """Predict every photo on all CPUs; return float64 (N, C) in the order of `samples`."""
    logits = in_threads(lambda sample: predictor.predict(sample.path).logits, samples)
    return np.array([*track_progress(logits, "Predicting", len(samples))], dtype=np.float64)


def true_classes(card: Card, samples: Sequence[Sample]) -> Ints:
    """Return the index of each photo's true class among the card's classes, (N,)."""
    index = {label: i for i, label in enumerate(card.classes)}
    return np.array([index[sample.label] for sample in samples])


def evaluate_logits(
    card: Card, samples: Sequence[Sample], logits: Floats, by: str = ""
) -> dict[str, Any]:
    """Compute the metrics of logits (N, C) with a card's temperature and threshold."""
    calibrated, truth = probabilities(logits, card.temperature), true_classes(card, samples)
    predicted = calibrated.argmax(axis=1)
    correct, accepted = predicted == truth, calibrated.max(axis=1) >= card.threshold
    return measure(calibrated, truth, card.classes) | {
        "calibration_error_before": calibration_error(probabilities(logits), truth),
        "coverage": float(accepted.mean()),
        "accepted_accuracy": float(correct[accepted].mean()) if accepted.any() else None,
        "by": _accuracy_by(by, samples, correct) if by else {},
        "wrong": [
            {"file": f"{sample.label}/{sample.path.name}", "answer": card.classes[label]}
            for sample, label in zip(samples, predicted, strict=True)
            if sample.label != card.classes[label]
        ],
    }


def _accuracy_by(
    column: str, samples: Sequence[Sample], correct: npt.NDArray[np.bool_]
) -> dict[str, Any]:
    """Return the accuracy for each value of a column, with the number of its photos."""
    values = [sample.columns.get(column, "none") or "none" for sample in samples]
    return {
        f"{column}={value}": {
            "photos": values.count(value),
            "accuracy": float(correct[[v == value for v in values]].mean()),
        }
        for value in sorted(set(values))
    }


def show_metrics(metrics: dict[str, Any], console: Console) -> None:
    """Print the result of `evaluate` as text and tables."""
    console.print(
        f"Accuracy {metrics['accuracy']:.2%} on {metrics['photos']} photos; "
        f"loss {metrics['loss']:.3f}, calibration error {metrics['calibration_error']:.3f} "
        f"({metrics['calibration_error_before']:.3f} without temperature scaling)"
    )
    accuracy = metrics["accepted_accuracy"]
    correct = "" if accuracy is None else f", {accuracy:.2%} of them correct"
    console.print(f"{metrics['coverage']:.1%} of predictions accepted{correct}")
    if "others" in metrics:
        ood = metrics["others"]
        aurocs = ", ".join(f"{name} {area:.3f}" for name, area in ood["auroc"].items())
        console.print(
            f"{ood['refused']:.1%} of {ood['photos']} out-of-distribution photos rejected; "
            f"AUROC by {aurocs.replace('_', ' ')}"
        )
    for value, part in metrics.get("by", {}).items():
        console.print(f"{value}: accuracy {part['accuracy']:.2%} on {part['photos']} photos")
    classes = shown = metrics["classes"]
    if len(classes) > SHOWN_CLASSES:
        shown = sorted(classes, key=lambda label: classes[label]["f1"])[:SHOWN_CLASSES]
        console.print(f"The {len(shown)} classes with the lowest F1, of {len(classes)}:")
    table = Table("class", "precision", "recall", "F1", "photos")
    for label in shown:
        of = classes[label]
        ratios = (f"{of[name]:.3f}" for name in ("precision", "recall", "f1"))
        table.add_row(escape(label), *ratios, str(of["photos"]))
    console.print(table)
    if len(classes) <= SHOWN_MATRIX_CLASSES:
        matrix = Table("true \\ predicted", *map(escape, classes))
        for label, row in zip(classes, metrics["confusion"], strict=True):
            matrix.add_row(escape(label), *map(str, row))
        console.print(matrix)
