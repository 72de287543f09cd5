"""Read the text files of a run folder. A missing file reads as empty."""

import csv
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from statistics import mean
from typing import Any

import numpy as np
import numpy.typing as npt

from ml.errors import DataError
from ml.files import read_json

Floats = npt.NDArray[np.float64]
History = dict[str, list[float]]

LABEL_AUDIT, OLD_LABEL_AUDIT = "label_audit.csv", "doubts.csv"
"""Out-of-fold predictions for training photos (`ml/runs/label_audit.py`): now, in older runs."""


@dataclass(frozen=True)
class PredictionTable:
    """The rows of `predictions.csv` or `label_audit.csv`, which have the same columns."""

    classes: tuple[str, ...]
    split: tuple[str, ...]
    file: tuple[str, ...]
    truth: tuple[str, ...]
    predicted: tuple[str, ...]
    confidence: Floats  # (N,)
    accepted: npt.NDArray[np.bool_]  # (N,)
    loss: Floats  # (N,)

    @property
    def truth_probability(self) -> Floats:
        """The probability of the true class, (N,)."""
        return np.exp(-self.loss)

    @property
    def correct(self) -> npt.NDArray[np.bool_]:
        """Whether the predicted class is the true class, (N,)."""
        return np.array([p == t for p, t in zip(self.predicted, self.truth, strict=True)], bool)

    def of(self, split: str) -> "PredictionTable":
        """Return the rows of one split."""
        rows = [i for i, name in enumerate(self.split) if name == split]

        def pick(column: tuple[str, ...]) -> tuple[str, ...]:
            return tuple(column[i] for i in rows)

        return PredictionTable(
            self.classes,
            pick(self.split),
            pick(self.file),
            pick(self.truth),
            pick(self.predicted),
            self.confidence[rows],
            self.accepted[rows],
            self.loss[rows],
        )


@dataclass(frozen=True)
class RunFolder:
    """The contents of a run folder's text files."""

    config: dict[str, Any]
    data: dict[str, Any]
    metrics: dict[str, Any]
    history: History
    predictions: PredictionTable | None
    label_audit: PredictionTable | None  # for training photos
    photos: Path  # the image folder, which may have been deleted since

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
    header, *rows = _rows(path) or [[]]
    columns = zip(header, *rows, strict=True) if rows else ()
    return {name: [*map(float, values)] for name, *values in columns}


def read_predictions(path: Path, classes: tuple[str, ...]) -> PredictionTable | None:
    """Return the rows of `predictions.csv`, or None if the file is missing or has no rows.

    The probabilities of all classes are not read, because the file omits them if there are too
    many. The probability of the true class follows from the loss.
    """
    header, *rows = _rows(path) or [[]]
    if not rows:
        return None
    columns = dict(zip(header, zip(*rows, strict=True), strict=True))
    return PredictionTable(
        classes,
        columns["split"],
        columns["file"],
        columns["truth"],
        columns["answer"],
        np.array(columns["confidence"], dtype=np.float64),
        np.array([value == "1" for value in columns["accepted"]]),
        np.array(columns["loss"], dtype=np.float64),
    )


def _rows(path: Path) -> list[list[str]]:
    if not path.is_file():
        return []
    with path.open(newline="", encoding="utf-8", errors="replace") as opened:
        return [row for row in csv.reader(opened) if row]


def confused_pairs(confusion: list[list[int]], classes: list[str]) -> list[dict[str, Any]]:
    """Return every pair of different true and predicted classes, most frequent first."""
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
    by_class: dict[str, list[float]] = defaultdict(list)
    for label, probability in zip(table.truth, own, strict=True):
        by_class[label].append(float(probability))
    means = {label: mean(values) for label, values in by_class.items()}
    confident = np.array(
        [p >= means.get(label, np.inf) for label, p in zip(table.predicted, top, strict=True)]
    )
    suspected = np.flatnonzero(~table.correct & confident)
    return [int(i) for i in suspected[np.argsort((own - top)[suspected], kind="stable")]]
