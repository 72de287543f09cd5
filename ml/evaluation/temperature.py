"""Temperature scaling, and the confidence threshold at which predictions are accepted.

Guo et al. 2017, "On Calibration of Modern Neural Networks", https://arxiv.org/abs/1706.04599.
"""

from typing import NamedTuple

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax

from ml.evaluation.metrics import Floats, Ints
from ml.models.probability import probabilities

LOWEST, HIGHEST = 0.02, 50.0  # temperature
ROUNDING = 1e-6  # difference of a confidence between two engines


class Calibration(NamedTuple):
    """The two fitted values that a model's card holds."""

    temperature: float  # the logits are divided by it
    threshold: float  # the lowest calibrated confidence of an accepted prediction


def fit_calibration(logits: Floats, truth: Ints, target_precision: float = 0.99) -> Calibration:
    """Fit the temperature and the threshold on photos that were not trained on.

    Args:
        logits: (N, C), of at least one photo.
        truth: the true class indices, (N,).
        target_precision: wanted accuracy of the accepted predictions, below 1.
    """
    temperature = fit_temperature(logits, truth)
    confidence = probabilities(logits, temperature).max(axis=1)  # (N,)
    return Calibration(temperature, choose_threshold(confidence, target_precision) - ROUNDING)


def fit_temperature(logits: Floats, truth: Ints) -> float:
    """Return the temperature with the lowest cross-entropy, with slightly smoothed labels.

    With N photos the true class has the target (N + 1/2) / (N + 1). This is the estimate of
    Krichevsky & Trofimov (1981, "The performance of universal encoding") for an event that
    happened in N of N trials. Without smoothing, a few photos that are all predicted correctly
    would give temperature 0, and a model that is always certain.
    """
    count, classes = logits.shape
    smoothing = 0.5 / (count + 1)
    target = np.full((count, classes), smoothing / (classes - 1))  # (N, C)
    target[np.arange(count), truth] = 1 - smoothing

    def loss(log_temperature: float) -> float:
        return -float((target * log_softmax(logits / np.exp(log_temperature), axis=1)).sum())

    bounds = (np.log(LOWEST), np.log(HIGHEST))
    return float(np.exp(minimize_scalar(loss, bounds=bounds, method="bounded").x))


def choose_threshold(confidence: Floats, target_precision: float) -> float:
    """Return the lowest threshold at which the mean confidence of the accepted is the target.

    The mean of calibrated confidences estimates the accuracy. Counting the correct predictions
    instead is too noisy: with a hundred photos, one wrong label among the most confident ones
    would reject most predictions.

    Args:
        confidence: calibrated, (N,).
        target_precision: also the result if no threshold reaches it.
    """
    falling = np.sort(confidence)[::-1]
    enough = np.cumsum(falling) >= target_precision * np.arange(1, len(falling) + 1)
    enough &= np.append(falling[1:] < falling[:-1], True)  # equal confidences belong together
    return float(falling[enough][-1]) if enough.any() else target_precision
