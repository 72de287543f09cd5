import numpy as np
import pytest

from ml.evaluation.metrics import Floats
from ml.evaluation.ood import ood_metrics
from ml.models.card import Card


def pairs_in_order(high: Floats, low: Floats) -> float:
    """The area under a ROC curve: the fraction of all pairs that are in the right order."""
    return float((high[:, None] > low).mean())


def test_rejected_fraction_and_auroc_by_each_score(card: Card) -> None:
    known = np.array([[9.0, 0, 0, 0], [0, 8.0, 0, 0], [0, 0, 1.0, 0]])
    ood = np.array([[0.0, 0, 0, 0], [2.0, 0, 0, 0], [7.0, 7.0, 0, 0], [0, 0, 0, 30.0]])
    strict = card.model_copy(update={"temperature": 1.0, "threshold": 0.9})
    found = ood_metrics(strict, known, ood)
    assert found["photos"] == 4
    assert found["refused"] == 0.75
    powers, ood_powers = np.exp(known), np.exp(ood)
    by_hand = {
        "maximum_probability": pairs_in_order(
            powers.max(axis=1) / powers.sum(axis=1),
            ood_powers.max(axis=1) / ood_powers.sum(axis=1),
        ),
        "energy": pairs_in_order(powers.sum(axis=1), ood_powers.sum(axis=1)),
        "maximum_logit": pairs_in_order(known.max(axis=1), ood.max(axis=1)),
    }
    assert found["auroc"] == pytest.approx(by_hand)


def test_without_a_threshold_nothing_is_rejected(card: Card) -> None:
    assert ood_metrics(card, np.eye(4), np.eye(4))["refused"] == 0
