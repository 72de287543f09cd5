"""Counting right and wrong answers: one set of definitions for training and evaluation."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.metrics import confusion_matrix, precision_recall_fscore_support

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

MATRIX_CLASSES = 500
"""It grows with their square, and each model file carries it: of 10,000 classes 300 MB of text."""


def measure(probabilities: Floats, truth: Ints, classes: Sequence[str]) -> dict[str, Any]:
    """Accuracy, loss, calibration error, confusion matrix and each class's figures.

    Args:
        probabilities: (N, C).
        truth: (N,), indices of the true classes.

    Rows of the confusion matrix are the truth, columns the answers; with more than
    `MATRIX_CLASSES` classes it is left empty.
    """
    answers = probabilities.argmax(axis=1)
    numbers = list(range(len(classes)))
    precision, recall, f1, support = precision_recall_fscore_support(
        truth, answers, labels=numbers, zero_division=0.0
    )
    true_probability = probabilities[np.arange(len(truth)), truth]
    return {
        "photos": len(truth),
        "accuracy": float((answers == truth).mean()),
        "loss": float(-np.log(np.maximum(true_probability, 1e-12)).mean()),
        "calibration_error": calibration_error(probabilities, truth),
        "classes": {
            label: {
                "precision": float(precision[i]),
                "recall": float(recall[i]),
                "f1": float(f1[i]),
                "photos": int(support[i]),
            }
            for i, label in enumerate(classes)
        },
        "confusion": confusion_matrix(truth, answers, labels=numbers).tolist()
        if len(classes) <= MATRIX_CLASSES
        else [],
    }


def calibration_error(probabilities: Floats, truth: Ints, bins: int = 15) -> float:
    """Expected calibration error (Guo et al. 2017, https://arxiv.org/abs/1706.04599).

    The mean gap between confidence and accuracy over bins of equal width.
    """
    confidence = probabilities.max(axis=1)
    right = probabilities.argmax(axis=1) == truth
    which = np.minimum((confidence * bins).astype(int), bins - 1)
    gaps = [abs(float((right[which == b] - confidence[which == b]).sum())) for b in range(bins)]
    return sum(gaps) / len(truth)
