"""Detect out-of-distribution (OOD) photos by distances in feature space and by the logits.

    python benchmarks/ood_distances.py [MODEL] [FOLDER] [OOD_FOLDER] [--split test]

FOLDER contains photos of the model's classes, and OOD_FOLDER contains photos of anything else. The
model's parameters must be beside MODEL, as model.safetensors. If a folder is omitted, the script
draws one; without FOLDER, it measures the validation photos.

The distances are measured on the 128 features that the network pools for each photo. The model file
does not output these features, so detection by a distance would cost more than by the logits.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from sklearn.covariance import LedoitWolf
from sklearn.metrics import pairwise_distances, roc_auc_score

from ml.cpus import in_threads
from ml.data.image_folder import scan, scan_ood
from ml.data.recorded_split import split_as_trained
from ml.data.sample import Sample
from ml.data.synthetic import synthesize
from ml.data.synthetic_ood import synthesize_ood
from ml.errors import SkyspotterError
from ml.evaluation.evaluate import evaluate, true_classes
from ml.evaluation.metrics import Floats, Ints
from ml.images.decode import load_input
from ml.model import Net, normalise
from ml.models.card import Card
from ml.models.checkpoint import load
from ml.predictor import SHIPPED_MODEL, Predictor
from ml.progress import track_progress


def distance_aurocs(
    parameters: Path,
    card: Card,
    training: Sequence[Sample],
    known: Sequence[Sample],
    ood: Sequence[Sample],
) -> dict[str, float]:
    """Return the area under the ROC curve (AUROC) by each distance.

    Args:
        parameters: a safetensors file. The result is empty if the file is missing or does not
            belong to the card's model.
        training: photos to fit the distances on.
        known: other photos of the model's classes.
        ood: photos of none of the classes.
    """
    training = [sample for sample in training if sample.label in card.classes]
    if not (training and parameters.exists()):
        return {}
    pooled = pooled_features(parameters, card, [*training, *known, *ood])
    if pooled is None:
        return {}
    fitted, rest = pooled[: len(training)], pooled[len(training) :]
    found = distances(fitted, true_classes(card, training), rest)
    is_known = np.repeat((True, False), (len(known), len(ood)))
    return {name: float(roc_auc_score(is_known, -distance)) for name, distance in found.items()}


def pooled_features(parameters: Path, card: Card, samples: Sequence[Sample]) -> Floats | None:
    """Return the pooled features of each photo, (N, 128): the mean over its views.

    Returns None if the parameters do not belong to the card's model.

    Raises:
        ModelError: if the parameters cannot be read.
    """
    network, own_card = load(parameters)
    if own_card.version != card.version or not isinstance(network, Net):
        return None
    torch.set_flush_denormal(True)  # as in training (`ml/training/device.py`)
    found: list[Floats] = []
    network.pool.register_forward_hook(
        lambda _, __, pooled: found.append(pooled.flatten(1).double().mean(0).numpy())
    )
    with torch.no_grad():
        views = in_threads(lambda sample: load_input(sample.path, card.preprocessing), samples)
        for pixels in track_progress(views, "Comparing distances", len(samples)):
            network(normalise(torch.from_numpy(pixels)))
    return np.stack(found)


def distances(fitted: Floats, truth: Ints, rest: Floats) -> dict[str, Floats]:
    """Return each photo's distance to the nearest class, (M,), by each measure.

    The Mahalanobis distance uses one covariance for all classes (Lee et al. 2018,
    https://arxiv.org/abs/1807.03888), with shrinkage because there may be few photos.

    Args:
        fitted: features of the photos to fit on, (N, F).
        truth: their class indices, (N,).
        rest: features of the photos to measure, (M, F).
    """
    _, index = np.unique(truth, return_inverse=True)
    means = np.stack([fitted[index == number].mean(axis=0) for number in range(index.max() + 1)])
    covariance = LedoitWolf(assume_centered=True).fit(fitted - means[index])
    return {
        "mahalanobis": np.min([covariance.mahalanobis(rest - mean) for mean in means], axis=0),
        "nearest_prototype": pairwise_distances(rest, means).min(axis=1),
    }


def main() -> None:
    """Print the AUROC of the logits and of the distances."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("model", type=Path, nargs="?", default=SHIPPED_MODEL)
    parser.add_argument("folder", type=Path, nargs="?")
    parser.add_argument("ood", type=Path, nargs="?")
    parser.add_argument("--split", choices=("test", "validation", "train", "all"), default="test")
    options = parser.parse_args()
    predictor, parameters = Predictor(options.model), options.model.with_name("model.safetensors")
    with TemporaryDirectory() as scratch:
        data = options.folder or Path(scratch, "photos")
        elsewhere = options.ood or Path(scratch, "ood")
        split = options.split
        if options.folder is None:
            synthesize(data)
            split = "validation"  # the shipped model's own split leaves no test photos
        if options.ood is None:
            synthesize_ood(elsewhere, 25, 7)
        errors = Console(stderr=True)
        try:
            folder = split_as_trained(
                scan(data), options.model.parent, predictor.card.split, errors
            )
            known, ood = folder.of(split), scan_ood(elsewhere)
            aurocs = evaluate(predictor, known, ood=ood)["others"]["auroc"]
            aurocs |= distance_aurocs(parameters, predictor.card, folder.of("train"), known, ood)
        except SkyspotterError as error:
            parser.exit(1, f"{error}\n")
    table = Table("score", "AUROC")
    for name, area in aurocs.items():
        table.add_row(name.replace("_", " "), f"{area:.3f}")
    Console().print(table)


if __name__ == "__main__":
    main()
