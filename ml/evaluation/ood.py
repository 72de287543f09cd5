"""Out-of-distribution (OOD) detection: photos that show none of the model's classes."""

from collections.abc import Callable
from typing import Any

import numpy as np
from scipy.special import logsumexp
from sklearn.metrics import roc_auc_score

from ml.evaluation.metrics import Floats
from ml.models.card import Card
from ml.models.probability import probabilities


def ood_metrics(card: Card, known: Floats, ood: Floats) -> dict[str, Any]:
    """Measure the fraction of OOD photos that is rejected, and the AUROC of three scores.

    Each score is computed from the logits alone. Its AUROC is 1 if every photo of the classes
    scores higher than every OOD photo. The energy (Liu et al. 2020,
    https://arxiv.org/abs/2010.03759) has its sign reversed, so that higher means in-distribution.
    `benchmarks/ood_distances.py` compares these scores with distances in feature space.

    Args:
        known: logits (N, C) of photos of the classes.
        ood: logits (M, C) of OOD photos.
    """
    scores: dict[str, Callable[[Floats], Floats]] = {
        "maximum_probability": lambda logits: probabilities(logits, card.temperature).max(axis=1),
        "energy": lambda logits: logsumexp(logits, axis=1),
        "maximum_logit": lambda logits: logits.max(axis=1),
    }
    is_known = np.repeat((True, False), (len(known), len(ood)))
    both = np.concatenate((known, ood))
    confidence = probabilities(ood, card.temperature).max(axis=1)
    return {
        "photos": len(ood),
        "refused": float((confidence < card.threshold).mean()),
        "auroc": {
            name: float(roc_auc_score(is_known, score(both))) for name, score in scores.items()
        },
    }
