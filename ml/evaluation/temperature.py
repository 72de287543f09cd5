"""From a model's logits on photos it never saw: one temperature, and when not to answer.

Guo et al. 2017, "On Calibration of Modern Neural Networks", https://arxiv.org/abs/1706.04599.
"""

from typing import NamedTuple

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax

from ml.evaluation.metrics import Floats, Ints
from ml.models.probability import probabilities

LOWEST, HIGHEST = 0.02, 50.0
"""Bounds of the temperature."""
ROUNDING = 1e-6
"""What another engine's arithmetic may change of a confidence."""


class Calibration(NamedTuple):
    """What goes into a model's card."""

    temperature: float
    """The logits are divided by it."""
    threshold: float
    """An answer whose calibrated confidence is below it is not accepted."""


def fit(logits: Floats, truth: Ints, precision: float = 0.99) -> Calibration:
    """Fit temperature and threshold.

    Args:
        logits: (N, C), of at least one photo.
        truth: (N,), indices of the true classes.
        precision: the share of accepted answers that shall be right, below 1.
    """
    temperature = fit_temperature(logits, truth)
    confidence = probabilities(logits, temperature).max(axis=1)  # (N,)
    threshold = choose_threshold(confidence, precision)
    return Calibration(temperature, threshold - ROUNDING)


def fit_temperature(logits: Floats, truth: Ints) -> float:
    """Return the temperature of the lowest loss, with the truth taken as a little uncertain.

    Of N photos the true class counts (N + 1/2) / (N + 1), the estimate of Krichevsky &
    Trofimov (1981, "The performance of universal encoding") for what held N times of N: where
    all answers are right the lowest loss would else be at temperature 0, and a few photos would
    prove far too much.
    """
    count, classes = logits.shape
    doubt = 0.5 / (count + 1)
    wanted = np.full((count, classes), doubt / (classes - 1))  # (N, C)
    wanted[np.arange(count), truth] = 1 - doubt

    def loss(log_temperature: float) -> float:
        return -float((wanted * log_softmax(logits / np.exp(log_temperature), axis=1)).sum())

    bounds = (np.log(LOWEST), np.log(HIGHEST))
    return float(np.exp(minimize_scalar(loss, bounds=bounds, method="bounded").x))


def choose_threshold(confidence: Floats, precision: float) -> float:
    """Return the lowest confidence at and above which the mean confidence is `precision`.

    A calibrated confidence says how often such an answer is right, so this many of the accepted
    are. Counting the right ones instead follows chance: one wrong label among the surest answers
    of a hundred photos would shut the door on most.

    Args:
        confidence: (N,), calibrated.
        precision: also what is returned where no confidence is that high.
    """
    falling = np.sort(confidence)[::-1]
    enough = np.cumsum(falling) >= precision * np.arange(1, len(falling) + 1)
    enough &= np.append(falling[1:] < falling[:-1], True)  # equals are accepted together
    return float(falling[enough][-1]) if enough.any() else precision
