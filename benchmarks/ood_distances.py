"""How far photos of none of the classes lie from what was learnt: two distances to compare.

They are taken on the 128 numbers that the network pools of a photo. The served file does not give
them, so serving by a distance would cost more than by the logits (`ml/evaluation/ood.py`).
"""

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from sklearn.covariance import LedoitWolf
from sklearn.metrics import pairwise_distances, roc_auc_score

from ml.cpus import on_all_cpus
from ml.data.sample import Sample
from ml.evaluation.evaluate import truth_of
from ml.evaluation.metrics import Floats, Ints
from ml.images.decode import decode, read
from ml.images.preprocessing import network_input
from ml.models.card import Card
from ml.models.engine import Pixels
from ml.progress import track_progress


def areas(
    parameters: Path,
    card: Card,
    training: Sequence[Sample],
    known: Sequence[Sample],
    others: Sequence[Sample],
) -> dict[str, float]:
    """Return the area under the ROC curve by each distance, fitted on training photos.

    Args:
        parameters: a safetensors file. Where there is none, or one of another model than the
            card's, or no torch, there is nothing to tell.
    """
    learnt = [sample for sample in training if sample.label in card.classes]
    if not (learnt and parameters.exists() and find_spec("torch")):
        return {}
    pooled = features(parameters, card, [*learnt, *known, *others])
    if pooled is None:
        return {}
    found = distances(pooled[: len(learnt)], truth_of(card, learnt), pooled[len(learnt) :])
    is_known = np.repeat((True, False), (len(known), len(others)))
    return {name: float(roc_auc_score(is_known, -far)) for name, far in found.items()}


def features(parameters: Path, card: Card, samples: Sequence[Sample]) -> Floats | None:
    """What the network pools of each photo, (N, 128), the mean of its views; None of another one's.

    Raises:
        ModelError: where the parameters cannot be read.
    """
    import torch

    from ml.model import Net, normalise
    from ml.models.checkpoint import load

    def views(sample: Sample) -> Pixels:
        photo = decode(read(sample.path), needed_side=card.preprocessing.needed_side)
        return network_input(photo.pixels, card.preprocessing)

    network, its = load(parameters)
    if its.version != card.version or not isinstance(network, Net):
        return None
    torch.set_flush_denormal(True)  # as in training (`ml/training/device.py`)
    found: list[Floats] = []
    network.pool.register_forward_hook(
        lambda _, __, pooled: found.append(pooled.flatten(1).double().mean(0).numpy())
    )
    with torch.no_grad():
        for pixels in track_progress(
            on_all_cpus(views, samples), "Comparing distances", len(samples)
        ):
            network(normalise(torch.from_numpy(pixels)))
    return np.stack(found)


def distances(learnt: Floats, truth: Ints, asked: Floats) -> dict[str, Floats]:
    """How far each photo lies from the nearest class, (M,), by each measure.

    Mahalanobis with one covariance for all classes: Lee et al. 2018,
    https://arxiv.org/abs/1807.03888; shrunk, as few photos may have been learnt.

    Args:
        learnt: (N, F).
        truth: (N,), indices of the true classes.
        asked: (M, F).
    """
    _, of = np.unique(truth, return_inverse=True)
    means = np.stack([learnt[of == number].mean(axis=0) for number in range(of.max() + 1)])
    spread = LedoitWolf(assume_centered=True).fit(learnt - means[of])
    return {
        "mahalanobis": np.min([spread.mahalanobis(asked - mean) for mean in means], axis=0),
        "nearest_prototype": pairwise_distances(asked, means).min(axis=1),
    }
