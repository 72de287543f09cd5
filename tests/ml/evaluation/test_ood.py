import numpy as np
import pytest

from ml.evaluation.metrics import Floats
from ml.evaluation.ood import refusal
from ml.models.card import Card


def pairs_in_order(high: Floats, low: Floats) -> float:
    """What the area under a ROC curve is: how many of all pairs are in the right order."""
    return float((high[:, None] > low).mean())


def test_what_is_refused_and_how_far_apart_the_scores_lie(card: Card) -> None:
    known = np.array([[9.0, 0, 0, 0], [0, 8.0, 0, 0], [0, 0, 1.0, 0]])
    others = np.array([[0.0, 0, 0, 0], [2.0, 0, 0, 0], [7.0, 7.0, 0, 0], [0, 0, 0, 30.0]])
    strict = card.model_copy(update={"temperature": 1.0, "threshold": 0.9})
    found = refusal(strict, known, others)
    assert found["photos"] == 4
    assert found["refused"] == 0.75
    powers, other_powers = np.exp(known), np.exp(others)
    by_hand = {
        "maximum_probability": pairs_in_order(
            powers.max(axis=1) / powers.sum(axis=1),
            other_powers.max(axis=1) / other_powers.sum(axis=1),
        ),
        "energy": pairs_in_order(powers.sum(axis=1), other_powers.sum(axis=1)),
        "maximum_logit": pairs_in_order(known.max(axis=1), others.max(axis=1)),
    }
    assert found["auroc"] == pytest.approx(by_hand)


def test_without_a_threshold_nothing_is_refused(card: Card) -> None:
    assert refusal(card, np.eye(4), np.eye(4))["refused"] == 0
