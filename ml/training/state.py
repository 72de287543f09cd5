"""Where a run stands: which epochs are done, how they went, and whether that is all."""

import csv
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from ml.files import atomic_write
from ml.training.config import Config

Stopped = Literal["completed", "early", "time", "interrupted"]
FINISH = 30.0
"""Seconds that the export takes, about."""
MEASURINGS = 4
"""As how many epochs' measuring the end of a run counts: it takes the path that serves."""


@dataclass
class Standing:
    """What a run that goes on must know of its past; plain values, and nothing of torch."""

    epochs: int
    """Epochs planned: fewer than were asked for where time is short."""
    epoch: int = 0
    best_epoch: int = 0
    lowest: float = float("inf")
    """The loss of the best epoch."""
    seconds: float = 0.0
    learning_seconds: float = 0.0
    measuring_seconds: float = 0.0
    images: int = 0
    history: list[dict[str, Any]] = field(default_factory=list)

    def over(self, config: Config, seconds: float) -> Stopped | None:
        """Whether the run ends here, so many seconds after its start, and why."""
        if self.epoch >= self.epochs:
            return "completed" if self.epochs == config.epochs else "time"
        if config.patience and self.epoch - self.best_epoch >= config.patience:
            return "early"
        if config.time_budget and self.epoch and self.affordable(config, seconds) < 1:
            return "time"
        return None

    def affordable(self, config: Config, seconds: float) -> int:
        """How many more epochs like those so far fit into the time budget."""
        each = (self.learning_seconds + self.measuring_seconds) / self.epoch
        finish = FINISH + MEASURINGS * self.measuring_seconds / self.epoch
        return int(max(0.0, config.time_budget * 60 - seconds - finish) / each)

    def summary(self, stopped: Stopped) -> dict[str, Any]:
        """What `metrics.json` says of the training."""
        return {
            "seconds": round(self.seconds, 1),
            "images_per_second": round(self.images / max(self.learning_seconds, 1e-9), 1),
            "epochs": self.epoch,
            "best_epoch": self.best_epoch,
            "stopped": stopped,
        }


def row(epoch: int, rate: float, scores: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """One epoch's row of `history.csv`."""
    cells: dict[str, Any] = {"epoch": epoch, "learning_rate": rate}
    for split, of in scores.items():
        cells |= {f"{split}_{name}": of[name] for name in ("loss", "accuracy")}
        for label, figures in of["classes"].items():
            cells |= {
                f"{split}_{name}_{label}": figures[name] for name in ("precision", "recall", "f1")
            }
    return cells


def write_history(path: Path, rows: list[dict[str, Any]]) -> None:
    """Write `history.csv` anew."""
    with atomic_write(path) as partial, partial.open("w", newline="", encoding="utf-8") as opened:
        writer = csv.DictWriter(opened, rows[0])
        writer.writeheader()
        writer.writerows(rows)


def line(epoch: int, epochs: int, scores: dict[str, dict[str, Any]]) -> str:
    """One epoch in a line for people."""
    parts = [
        f"{split} {of['accuracy']:.1%} (loss {of['loss']:.3f})" for split, of in scores.items()
    ]
    return f"epoch {epoch:>3}/{epochs}  " + "  ".join(parts)
