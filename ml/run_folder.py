"""What a run folder's text files say; whatever is not there reads as nothing."""

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

LABEL_AUDIT = "doubts.csv"
"""The file of the answers to training photos, by models that learnt from others of them."""


@dataclass(frozen=True)
class PredictionTable:
    """The rows of `predictions.csv`: what the served model says to photos it never trained on.

    Those of `doubts.csv` are of models that only judged (`ml/runs/label_audit.py`).
    """

    classes: tuple[str, ...]
    split: tuple[str, ...]
    file: tuple[str, ...]
    truth: tuple[str, ...]
    answer: tuple[str, ...]
    confidence: Floats  # (N,)
    accepted: npt.NDArray[np.bool_]  # (N,)
    loss: Floats  # (N,)

    @property
    def truth_probability(self) -> Floats:
        """What the true class is given, (N,)."""
        return np.exp(-self.loss)

    @property
    def right(self) -> npt.NDArray[np.bool_]:
        """Which answers are right, (N,)."""
        return np.array([a == t for a, t in zip(self.answer, self.truth, strict=True)], dtype=bool)

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
            pick(self.answer),
            self.confidence[rows],
            self.accepted[rows],
            self.loss[rows],
        )


@dataclass(frozen=True)
class RunFolder:
    """What the text files of a run folder say."""

    config: dict[str, Any]
    data: dict[str, Any]
    metrics: dict[str, Any]
    history: History
    answers: PredictionTable | None
    doubts: PredictionTable | None  # to training photos; none in an older run's folder
    root: Path  # where the photos are, or were

    @property
    def judged(self) -> str:
        """The split that the run is judged by: test, or where there is none, validation."""
        held_out = self.data["counts"]
        return "test" if "test" in held_out or "validation" not in held_out else "validation"

    @property
    def classes(self) -> list[str]:
        """Their names, in the model's order."""
        return list(self.data["classes"])


def read_run(run: Path) -> RunFolder:
    """Read a run folder.

    Raises:
        DataError: where the folder is none of a training run.
    """
    config, data = read_json(run / "config.json"), read_json(run / "data.json")
    if "data" not in config or "counts" not in data:
        raise DataError(f"{run} is no run folder: config.json and data.json must be in it.")
    return RunFolder(
        config,
        data,
        read_json(run / "metrics.json"),
        read_history(run / "history.csv"),
        read_answers(run / "predictions.csv", tuple(data["classes"])),
        read_answers(run / LABEL_AUDIT, tuple(data["classes"])),
        Path(config["data"] or run / "pictures"),
    )


def read_history(path: Path) -> History:
    """Return the columns of `history.csv`, a value an epoch."""
    header, *rows = _rows(path) or [[]]
    columns = zip(header, *rows, strict=True) if rows else ()
    return {name: [*map(float, values)] for name, *values in columns}


def read_answers(path: Path, classes: tuple[str, ...]) -> PredictionTable | None:
    """Return the rows of `predictions.csv`, or None where it is missing or has none.

    The probabilities of all classes stand there where they are not too many, for whoever wants
    them; the loss tells that of the true one.
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


def confused(confusion: list[list[int]], classes: list[str]) -> list[dict[str, Any]]:
    """Every pair of classes that was taken one for the other, most often first."""
    counts = np.array(confusion)
    pairs = [
        {
            "truth": classes[truth],
            "answer": classes[answer],
            "photos": int(counts[truth, answer]),
            "share": float(counts[truth, answer] / counts[truth].sum()),
        }
        for truth, answer in np.argwhere(counts > 0)
        if truth != answer
    ]
    return sorted(pairs, key=lambda pair: (-pair["photos"], -pair["share"]))


def doubtful_labels(answers: PredictionTable) -> list[int]:
    """Rows whose label may be wrong, the most doubtful first.

    By confident learning (Northcutt et al. 2021, https://arxiv.org/abs/1911.00068): the model
    gives another class at least the probability that photos of that class get from it on average.
    """
    own, top = answers.truth_probability, answers.confidence
    of_class: dict[str, list[float]] = defaultdict(list)
    for label, chance in zip(answers.truth, own, strict=True):
        of_class[label].append(float(chance))
    usual = {label: mean(chances) for label, chances in of_class.items()}
    as_sure = np.array(
        [sure >= usual.get(label, np.inf) for label, sure in zip(answers.answer, top, strict=True)]
    )
    doubtful = np.flatnonzero(~answers.right & as_sure)
    return [int(i) for i in doubtful[np.argsort((own - top)[doubtful], kind="stable")]]
