"""Suspected wrong labels among the photos that were trained on, each judged without itself.

The network has learnt its training photos' labels, the wrong ones too. What its backbone pooled
of a photo before the run is innocent of them, and a linear classifier on that is fitted so fast
that each fifth of the photos can have one of its own, which learnt from the other four alone.
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
from ml.errors import ModelError, SkyspotterError
from ml.evaluation.metrics import Floats, Ints
from ml.model import NETWORKS, normalise
from ml.models.card import Card
from ml.models.checkpoint import initialise, load
from ml.progress import track_progress
from ml.run_folder import LABEL_AUDIT
from ml.runs.calibrate import CalibrationResult, write_predictions
from ml.training.config import STARTS, Config
from ml.training.device import Device
from ml.training.loaders import in_order

FOLDS = 5
MOST_PHOTOS, MOST_CELLS = 20_000, 1_000_000
"""Photos, and photos times classes, that are judged at most: some minutes on two cores."""

Features = npt.NDArray[np.float32]


def audit_labels(config: Config, folder: ImageFolder, card: Card, console: Console) -> str:
    """Write `doubts.csv`, the columns of `predictions.csv`; returns why not, or nothing.

    No run fails for want of it: it is made when hours of training have just ended.
    """
    try:
        reason = _out_of_reach(config, folder) or _write(config, folder, card)
    except KeyboardInterrupt:
        reason = "It was stopped."
    # What torch raises of a GPU without room, or of a loading process that died, is no other.
    except (SkyspotterError, OSError, RuntimeError, ValueError, MemoryError) as error:
        reason = f"It could not be done: {str(error) or type(error).__name__}"
    if reason:
        said = f"The labels of the training photos are not judged. {reason}"
        console.print(said, style="yellow", markup=False, highlight=False)
    return reason


def _out_of_reach(config: Config, folder: ImageFolder) -> str:
    photos, classes = len(folder.of("train")), len(folder.classes)
    if config.initial == "none":
        return "The run started from a backbone that had learnt nothing."
    if config.time_budget:
        return "The time budget is for training."
    if photos > MOST_PHOTOS or photos * classes > MOST_CELLS:
        return (
            f"{photos:,} photos of {classes:,} classes would take too long: {MOST_PHOTOS:,} photos "
            f"are judged at most, and {MOST_CELLS:,} divided by the number of classes."
        )
    if not all(sample.group for sample in folder.of("train")):
        return "An older version began the run, and did not note which photos belong together."
    # Nobody's own labels are in the shipped file, but for those who have its photos.
    if config.initial not in STARTS and _knows(Path(config.initial), folder.classes):
        return "The run started from a model of these classes, which may have learnt these labels."
    return ""


def _knows(parameters: Path, classes: tuple[str, ...]) -> bool:
    with suppress(ModelError):  # a bare backbone has no card
        return len(set(load(parameters)[1].classes) & set(classes)) > 1
    return False


def _write(config: Config, folder: ImageFolder, card: Card) -> str:
    samples = folder.of("train")
    pooled, truth = _pool(config, folder, card)
    groups = np.unique([sample.group for sample in samples], return_inverse=True)[1]
    usable = np.flatnonzero((truth >= 0) & np.isfinite(pooled).all(axis=1))
    pairs = np.unique(np.stack([truth, groups])[:, usable], axis=1)  # each group once a class
    common = np.flatnonzero(np.bincount(pairs[0], minlength=1) >= FOLDS)
    usable = usable[np.isin(truth[usable], common)]
    if len(common) < 2:
        return f"Fewer than two classes have training photos of at least {FOLDS} groups."
    chances = out_of_fold(pooled[usable], truth[usable], groups[usable], len(folder.classes))
    plain = card.model_copy(update={"temperature": 1.0, "threshold": 0.0})
    of = replace(folder, samples=tuple(samples[i] for i in usable))
    settled = CalibrationResult(plain, {}, {"train": np.log(np.maximum(chances, 1e-12))})
    write_predictions(config.output / LABEL_AUDIT, of, settled)
    return ""


def out_of_fold(pooled: Features, truth: Ints, groups: Ints, classes: int) -> Floats:
    """What each photo's classes are given by a model that saw nothing of its group, (N, C).

    Args:
        pooled: (N, F).
        truth: (N,), indices of the classes, each of which has at least five groups.
        groups: (N,), numbers of the groups that the photos are of.
    """
    chances = np.zeros((len(truth), classes))
    folds = StratifiedGroupKFold(FOLDS).split(pooled, truth, groups)
    for learnt, asked in track_progress(folds, "Judging the training photos", FOLDS):
        # Far more is pooled than there are photos in most folders, so it takes a heavy hand.
        model = make_pipeline(StandardScaler(), LogisticRegression(C=3e-3, max_iter=300))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # nearly there is good enough
            model.fit(pooled[learnt], truth[learnt])
        chances[np.ix_(asked, model.classes_)] = model.predict_proba(pooled[asked])
    return chances


@torch.no_grad()
def _pool(config: Config, folder: ImageFolder, card: Card) -> tuple[Features, Ints]:
    """What the backbone that the run began with pools of each photo, (N, 1280), and its class."""
    network = NETWORKS[config.network](len(folder.classes))
    initialise(network, config.initial)
    device = Device.choose(config.workers)
    backbone = device.prepare(network.features.eval())
    loader = in_order(config, folder.of("train"), folder.classes, card.preprocessing)
    pooled, truth = [], []
    for pixels, labels in track_progress(loader, "Looking at the training photos"):
        with device.autocast():
            maps = backbone(normalise(device.to(pixels)))  # (N, 1280, 7, 7)
        pooled.append(maps.float().mean(dim=(2, 3)).cpu().numpy())
        truth.append(labels.numpy().copy())  # the loader's own would keep a file open
    return np.concatenate(pooled), np.concatenate(truth)
