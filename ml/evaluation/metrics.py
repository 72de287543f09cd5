"""Classification metrics, for training and evaluation alike."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.metrics import confusion_matrix, precision_recall_fscore_support

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

MATRIX_CLASSES = 500
"""Most classes for which a confusion matrix is kept: every model file contains it, and for 10,000
classes it would be 300 MB of text."""


def measure(probabilities: Floats, truth: Ints, classes: Sequence[str]) -> dict[str, Any]:
    """Compute accuracy, loss, calibration error, confusion matrix and per-class metrics.

    Rows of the confusion matrix are true classes, columns are predicted classes. It is empty if
    there are more than `MATRIX_CLASSES` classes.

    Args:
        probabilities: (N, C).
        truth: the true class indices, (N,).
        classes: the names of the C classes.
    """
    predicted, indices = probabilities.argmax(axis=1), list(range(len(classes)))
    precision, recall, f1, support = precision_recall_fscore_support(
        truth, predicted, labels=indices, zero_division=0.0
    )
    true_probability = probabilities[np.arange(len(truth)), truth]
    return {
        "photos": len(truth),
        "accuracy": float((predicted == truth).mean()),
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
        "confusion": confusion_matrix(truth, predicted, labels=indices).tolist()
        if len(classes) <= MATRIX_CLASSES
        else [],
    }


def calibration_error(probabilities: Floats, truth: Ints, bins: int = 15) -> float:
    """Return the expected calibration error (Guo et al. 2017, https://arxiv.org/abs/1706.04599).

    This is the mean gap between confidence and accuracy over bins of equal width.
    """
    confidence = probabilities.max(axis=1)
    correct = probabilities.argmax(axis=1) == truth
    index = np.minimum((confidence * bins).astype(int), bins - 1)
    gaps = [abs(float((correct[index == b] - confidence[index == b]).sum())) for b in range(bins)]
    return sum(gaps) / len(truth)
