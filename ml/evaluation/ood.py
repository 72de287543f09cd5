"""Photos of none of the classes: how many are refused, and which score tells them apart best."""

from collections.abc import Callable
from typing import Any

import numpy as np
from scipy.special import logsumexp
from sklearn.metrics import roc_auc_score

from ml.evaluation.metrics import Floats
from ml.models.card import Card
from ml.models.probability import probabilities


def refusal(card: Card, known: Floats, others: Floats) -> dict[str, Any]:
    """Count the refused, and the area under the ROC curve of scores that cost nothing.

    What costs more to compare with is in `benchmarks/ood_distances.py`.

    The energy is that of Liu et al. 2020, https://arxiv.org/abs/2010.03759, with its sign
    turned; the area is 1 where all known photos score above all others.

    Args:
        known: logits (N, C) of photos of the classes.
        others: logits (M, C) of photos of none of them.
    """
    scores: dict[str, Callable[[Floats], Floats]] = {
        "maximum_probability": lambda logits: probabilities(logits, card.temperature).max(axis=1),
        "energy": lambda logits: logsumexp(logits, axis=1),
        "maximum_logit": lambda logits: logits.max(axis=1),
    }
    is_known = np.repeat((True, False), (len(known), len(others)))
    both = np.concatenate((known, others))
    confidence = probabilities(others, card.temperature).max(axis=1)
    return {
        "photos": len(others),
        "refused": float((confidence < card.threshold).mean()),
        "auroc": {name: float(roc_auc_score(is_known, of(both))) for name, of in scores.items()},
    }
