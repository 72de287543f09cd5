"""Write the files of a run folder without training."""

import csv
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np


def write_history(run: Path, classes: Sequence[str], epochs: int) -> None:
    rows = []
    for epoch in range(1, epochs + 1):
        row: dict[str, float] = {"epoch": epoch, "learning_rate": 0.002 / epoch}
        for split in ("train", "validation", "test"):
            row |= {f"{split}_loss": 1 / epoch, f"{split}_accuracy": 1 - 0.5 / epoch}
            for label in classes:
                metrics = ("precision", "recall", "f1")
                row |= {f"{split}_{metric}_{label}": 1 - 0.4 / epoch for metric in metrics}
        rows.append(row)
    with (run / "history.csv").open("w", newline="", encoding="utf-8") as opened:
        writer = csv.DictWriter(opened, rows[0])
        writer.writeheader()
        writer.writerows(rows)


def write_predictions(
    run: Path,
    files: Sequence[tuple[str, str, str]],
    classes: Sequence[str],
    probabilities: Any,
    name: str = "predictions.csv",
) -> None:
    """`files` are (split, file, truth); `probabilities` are (N, C)."""
    columns = ["split", "file", "truth", "answer", "confidence", "accepted", "loss"]
    with (run / name).open("w", newline="", encoding="utf-8") as opened:
        writer = csv.writer(opened)
        writer.writerow([*columns, *(f"p:{label}" for label in classes)])
        for (split, file, truth), row in zip(files, probabilities, strict=True):
            loss = -np.log(max(row[classes.index(truth)], 1e-12))
            best = int(np.argmax(row))
            predicted = [classes[best], row[best], int(row[best] > 0.5), loss]
            writer.writerow([split, file, truth, *predicted, *row])


def write_json(path: Path, content: Any) -> None:
    path.write_text(json.dumps(content), encoding="utf-8")
