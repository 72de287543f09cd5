"""Read the text files of a run folder. A missing file reads as empty."""

import csv
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ml.errors import DataError
from ml.files import read_json

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]
Strings = npt.NDArray[np.str_]
History = dict[str, list[float]]

LABEL_AUDIT, OLD_LABEL_AUDIT = "label_audit.csv", "doubts.csv"
"""File of the out-of-fold predictions for training photos (`ml/runs/label_audit.py`); older runs
use the second name."""


@dataclass(frozen=True)
class PredictionTable:
    """The rows of `predictions.csv` or `label_audit.csv`; each column has the shape (N,)."""

    classes: tuple[str, ...]
    split: Strings
    file: Strings
    truth: Strings
    predicted: Strings
    confidence: Floats
    accepted: Bools
    loss: Floats

    @property
    def truth_probability(self) -> Floats:
        """The probability of the true class, (N,)."""
        return np.exp(-self.loss)

    @property
    def correct(self) -> Bools:
        """Whether the predicted class is the true class, (N,)."""
        return np.asarray(self.predicted == self.truth)

    def of(self, split: str) -> "PredictionTable":
        """Return the rows of one split."""
        rows = self.split == split
        columns = {name: value[rows] for name, value in vars(self).items() if name != "classes"}
        return replace(self, **columns)


@dataclass(frozen=True)
class RunFolder:
    """The contents of a run folder's text files."""

    config: dict[str, Any]
    data: dict[str, Any]
    metrics: dict[str, Any]
    history: History
    predictions: PredictionTable | None  # for validation and test photos
    label_audit: PredictionTable | None  # for training photos
    photos: Path  # the image folder, which may no longer exist

    @property
    def reported_split(self) -> str:
        """The split whose metrics are reported: test, or validation if there is no test split."""
        splits = self.data["counts"]
        return "test" if "test" in splits or "validation" not in splits else "validation"

    @property
    def classes(self) -> list[str]:
        """The class names in the model's order."""
        return list(self.data["classes"])


def read_run(run: Path) -> RunFolder:
    """Read a run folder.

    Raises:
        DataError: if it is not the folder of a training run.
    """
    config, data = read_json(run / "config.json"), read_json(run / "data.json")
    if "data" not in config or "counts" not in data:
        raise DataError(f"{run} is not a run folder: config.json or data.json is missing.")
    classes = tuple(data["classes"])
    audit = run / LABEL_AUDIT
    return RunFolder(
        config,
        data,
        read_json(run / "metrics.json"),
        read_history(run / "history.csv"),
        read_predictions(run / "predictions.csv", classes),
        read_predictions(audit if audit.exists() else run / OLD_LABEL_AUDIT, classes),
        Path(config["data"] or run / "pictures"),
    )


def read_history(path: Path) -> History:
    """Return the columns of `history.csv`, with one value per epoch."""
    columns = zip(*_rows(path), strict=True)
    return {name: [*map(float, values)] for name, *values in columns if values}


def read_predictions(path: Path, classes: tuple[str, ...]) -> PredictionTable | None:
    """Return the rows of `predictions.csv`, or None if the file is missing or has no rows.

    The probabilities of the classes are not needed: that of the true class follows from the loss,
    and the file omits them if there are too many.
    """
    columns = {name: values for name, *values in zip(*_rows(path), strict=True)}
    if not any(columns.values()):
        return None
    return PredictionTable(
        classes,
        split=np.array(columns["split"]),
        file=np.array(columns["file"]),
        truth=np.array(columns["truth"]),
        predicted=np.array(columns["answer"]),
        confidence=np.array(columns["confidence"], dtype=np.float64),
        accepted=np.array(columns["accepted"]) == "1",
        loss=np.array(columns["loss"], dtype=np.float64),
    )


def _rows(path: Path) -> list[list[str]]:
    if not path.is_file():
        return []
    with path.open(newline="", encoding="utf-8", errors="replace") as opened:
        return [row for row in csv.reader(opened) if row]


def confused_pairs(confusion: list[list[int]], classes: list[str]) -> list[dict[str, Any]]:
    """Return the pairs of true class and wrongly predicted class, most frequent first."""
    counts = np.array(confusion)
    pairs = [
        {
            "truth": classes[truth],
            "predicted": classes[predicted],
            "photos": int(counts[truth, predicted]),
            "share": float(counts[truth, predicted] / counts[truth].sum()),
        }
        for truth, predicted in np.argwhere(counts > 0)
        if truth != predicted
    ]
    return sorted(pairs, key=lambda pair: (-pair["photos"], -pair["share"]))


def suspected_label_errors(table: PredictionTable) -> list[int]:
    """Return the rows whose label may be wrong, the most suspicious first.

    Confident learning (Northcutt et al. 2021, https://arxiv.org/abs/1911.00068): a label is
    suspected if the model predicts another class, with at least the mean probability that it
    gives that class on photos labelled with it.
    """
    own, top = table.truth_probability, table.confidence
    labels, index = np.unique(table.truth, return_inverse=True)
    means = dict(zip(labels, np.bincount(index, own) / np.bincount(index), strict=True))
    confident = top >= [means.get(label, np.inf) for label in table.predicted]
    suspected = np.flatnonzero(~table.correct & confident)
    return [int(i) for i in suspected[np.argsort((own - top)[suspected], kind="stable")]]
