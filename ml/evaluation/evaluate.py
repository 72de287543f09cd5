"""Measuring a model file on an image folder, through the very path that serves."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from ml.cpus import usable_cpus
from ml.data.sample import Sample
from ml.errors import DataError
from ml.evaluation.metrics import Floats, Ints, calibration_error, measure
from ml.evaluation.ood import refusal
from ml.models.card import Card
from ml.models.probability import probabilities
from ml.predictor import Predictor
from ml.progress import track_progress

SHOWN_CLASSES = 50


def evaluate(
    predictor: Predictor,
    samples: Sequence[Sample],
    by: str = "",
    others: Sequence[Sample] = (),
) -> dict[str, Any]:
    """Predict every photo and count.

    Args:
        samples: photos whose labels are among the model's classes.
        by: a column of the folder's `index.csv` to report the accuracy by as well.
        others: photos of none of the classes, to see how many are refused.

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
    logits = logits_of(predictor, samples)
    scores = score(predictor.card, samples, logits, by)
    if others:
        scores["others"] = refusal(predictor.card, logits, logits_of(predictor, others))
    return scores


def logits_of(predictor: Predictor, samples: Sequence[Sample]) -> Floats:
    """Predict every photo, on all cores: float64 (N, C), in the order of `samples`."""
    with ThreadPoolExecutor(usable_cpus()) as pool:
        logits = track_progress(
            pool.map(lambda sample: predictor.predict(sample.path).logits, samples),
            "Predicting",
            len(samples),
        )
        return np.array(list(logits), dtype=np.float64)


def truth_of(card: Card, samples: Sequence[Sample]) -> Ints:
    """Return the true classes as indices into the model's, (N,)."""
    number = {label: i for i, label in enumerate(card.classes)}
    return np.array([number[sample.label] for sample in samples])


def score(card: Card, samples: Sequence[Sample], logits: Floats, by: str = "") -> dict[str, Any]:
    """Count what answers (N, C) are worth under a card's temperature and threshold."""
    answers, truth = probabilities(logits, card.temperature), truth_of(card, samples)
    labels = answers.argmax(axis=1)
    right, accepted = labels == truth, answers.max(axis=1) >= card.threshold
    return measure(answers, truth, card.classes) | {
        "calibration_error_before": calibration_error(probabilities(logits), truth),
        "coverage": float(accepted.mean()),
        "accepted_accuracy": float(right[accepted].mean()) if accepted.any() else None,
        "by": _by(samples, right, by) if by else {},
        "wrong": [
            {"file": f"{sample.label}/{sample.path.name}", "answer": card.classes[label]}
            for sample, label in zip(samples, labels, strict=True)
            if sample.label != card.classes[label]
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
    """Print what `evaluate` counted as tables."""
    console.print(
        f"{scores['accuracy']:.2%} of {scores['photos']} photos right; "
        f"loss {scores['loss']:.3f}, calibration error {scores['calibration_error']:.3f} "
        f"({scores['calibration_error_before']:.3f} at temperature 1)"
    )
    right = scores["accepted_accuracy"]
    console.print(
        f"{scores['coverage']:.1%} of the answers accepted"
        + ("" if right is None else f", {right:.2%} of them right")
    )
    if "others" in scores:
        others = scores["others"]
        areas = ", ".join(f"{name} {area:.3f}" for name, area in others["auroc"].items())
        console.print(
            f"{others['refused']:.1%} of {others['photos']} photos of none of the classes refused; "
            f"area under the ROC curve by {areas.replace('_', ' ')}"
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
