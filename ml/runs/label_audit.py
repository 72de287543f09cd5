"""Find suspected label errors among the training photos, by out-of-fold predictions.

The trained network has memorised its training labels, including wrong ones. The backbone that the
run started from has not seen them, and a linear classifier on its features trains quickly. So each
fifth of the photos is predicted by a classifier that was trained on the other four fifths.
"""

import warnings
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from rich.console import Console
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedGroupKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from ml.data.image_folder import ImageFolder
from ml.errors import ModelError, Rejected, SkyspotterError
from ml.evaluation.metrics import Floats, Ints
from ml.model import NETWORKS, normalise
from ml.models.card import Card
from ml.models.checkpoint import initialise, load
from ml.progress import track_progress
from ml.run_folder import LABEL_AUDIT
from ml.runs.calibrate import CalibrationResult, write_predictions
from ml.training.config import INITIAL_PRESETS, Config
from ml.training.device import Device
from ml.training.loaders import ordered_loader

FOLDS = 5
MOST_PHOTOS, MOST_CELLS = 20_000, 1_000_000
"""Limits on photos, and on photos times classes: the audit takes minutes on two cores."""

Features = npt.NDArray[np.float32]


def audit_labels(
    config: Config, folder: ImageFolder, card: Card, console: Console
) -> Rejected | None:
    """Write `label_audit.csv`, with the columns of `predictions.csv`; on failure return the reason.

    It runs at the end of a training run that may have taken hours, so it never raises.
    """
    try:
        rejected = _not_possible(config, folder) or _audit(config, folder, card)
    except KeyboardInterrupt:
        rejected = Rejected("It was interrupted.")
    # torch raises RuntimeError if the GPU is out of memory or a loader process died.
    except (SkyspotterError, OSError, RuntimeError, ValueError, MemoryError) as error:
        rejected = Rejected(f"It failed: {str(error) or type(error).__name__}")
    if rejected:
        message = f"The labels of the training photos were not checked. {rejected.reason}"
        console.print(message, style="yellow", markup=False, highlight=False)
    return rejected


def _not_possible(config: Config, folder: ImageFolder) -> Rejected | None:
    """Return why a run's labels cannot be checked; None if they can."""
    photos, classes = len(folder.of("train")), len(folder.classes)
    if config.initial == "none":
        return Rejected("The run started from an untrained backbone.")
    if config.time_budget:
        return Rejected("The run had a time budget, which is for training only.")
    if photos > MOST_PHOTOS or photos * classes > MOST_CELLS:
        return Rejected(
            f"{photos:,} photos of {classes:,} classes would take too long: the limits are "
            f"{MOST_PHOTOS:,} photos, and {MOST_CELLS:,} for photos times classes."
        )
    if not all(sample.group for sample in folder.of("train")):
        return Rejected("The run was started by an older version, which did not record groups.")
    # The shipped weights are allowed: they were not trained on the user's labels.
    if config.initial not in INITIAL_PRESETS and _knows_classes(
        Path(config.initial), folder.classes
    ):
        return Rejected(
            "The run started from a model of the same classes, which may have memorised the labels."
        )
    return None


def _knows_classes(parameters: Path, classes: tuple[str, ...]) -> bool:
    with suppress(ModelError):  # a bare backbone has no card
        return len(set(load(parameters)[1].classes) & set(classes)) > 1
    return False


def _audit(config: Config, folder: ImageFolder, card: Card) -> Rejected | None:
    samples = folder.of("train")
    features, truth = _extract_features(config, folder, card)
    groups = np.unique([sample.group for sample in samples], return_inverse=True)[1]
    usable = np.flatnonzero((truth >= 0) & np.isfinite(features).all(axis=1))
    pairs = np.unique(np.stack([truth, groups])[:, usable], axis=1)  # each class and group once
    common = np.flatnonzero(np.bincount(pairs[0], minlength=1) >= FOLDS)
    usable = usable[np.isin(truth[usable], common)]
    if len(common) < 2:
        return Rejected(f"Fewer than two classes have training photos of at least {FOLDS} groups.")
    predicted = out_of_fold(features[usable], truth[usable], groups[usable], len(folder.classes))
    uncalibrated = card.model_copy(update={"temperature": 1.0, "threshold": 0.0})
    used = replace(folder, samples=tuple(samples[i] for i in usable))
    result = CalibrationResult(uncalibrated, {}, {"train": np.log(np.maximum(predicted, 1e-12))})
    write_predictions(config.output / LABEL_AUDIT, used, result)
    return None


def out_of_fold(features: Features, truth: Ints, groups: Ints, classes: int) -> Floats:
    """Predict each photo with a classifier that was not trained on its group.

    Args:
        features: (N, F).
        truth: the class indices, (N,); each class needs at least five groups.
        groups: the group indices, (N,).

    Returns:
        Probabilities, (N, C).
    """
    predicted = np.zeros((len(truth), classes))
    folds = StratifiedGroupKFold(FOLDS).split(features, truth, groups)
    for train, rest in track_progress(folds, "Checking the labels of training photos", FOLDS):
        # Most folders have fewer photos than features: strong regularisation is needed.
        model = make_pipeline(StandardScaler(), LogisticRegression(C=3e-3, max_iter=300))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # almost converged is enough
            model.fit(features[train], truth[train])
        predicted[np.ix_(rest, model.classes_)] = model.predict_proba(features[rest])
    return predicted


@torch.no_grad()
def _extract_features(config: Config, folder: ImageFolder, card: Card) -> tuple[Features, Ints]:
    """Return the initial backbone's features of each training photo, (N, 1280), and its class."""
    network = NETWORKS[config.network](len(folder.classes))
    initialise(network, config.initial)
    device = Device.choose(config.workers)
    backbone = device.prepare(network.features.eval())
    loader = ordered_loader(config, folder.of("train"), folder.classes, card.preprocessing)
    features, truth = [], []
    for pixels, labels in track_progress(loader, "Extracting features of training photos"):
        with device.autocast():
            maps = backbone(normalise(device.to(pixels)))  # (N, 1280, 7, 7)
        features.append(maps.float().mean(dim=(2, 3)).cpu().numpy())
        truth.append(labels.numpy().copy())  # the loader's tensor would keep a file open
    return np.concatenate(features), np.concatenate(truth)
