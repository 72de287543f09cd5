"""The progress of a run: finished epochs, their metrics, and when to stop."""

import csv
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from ml.files import atomic_write
from ml.training.config import Config

StopReason = Literal["completed", "early", "time", "interrupted"]
EXPORT_SECONDS = 30.0
"""Estimated time of the export at the end of a run."""
FINAL_EVALUATIONS = 4
"""Estimated duration of the final evaluation, as a multiple of an epoch's evaluation."""

_OLD_NAMES = {
    "lowest": "best_loss",
    "learning_seconds": "training_seconds",
    "measuring_seconds": "evaluation_seconds",
}


@dataclass
class TrainingState:
    """The progress of a run, stored to resume from: plain values, without tensors."""

    epochs: int
    """Number of planned epochs: fewer than configured if the time budget is short."""
    epoch: int = 0
    best_epoch: int = 0
    best_loss: float = float("inf")
    seconds: float = 0.0
    training_seconds: float = 0.0
    evaluation_seconds: float = 0.0
    images: int = 0
    history: list[dict[str, Any]] = field(default_factory=list)

    @classmethod
    def from_dict(cls, stored: dict[str, Any]) -> "TrainingState":
        """Read a stored state. Older versions used other names for some fields."""
        return cls(**{_OLD_NAMES.get(name, name): value for name, value in stored.items()})

    def stop_reason(self, config: Config, seconds: float) -> StopReason | None:
        """Return why the run stops now, `seconds` after its start; None if it continues."""
        if self.epoch >= self.epochs:
            return "completed" if self.epochs == config.epochs else "time"
        if config.patience and self.epoch - self.best_epoch >= config.patience:
            return "early"
        if config.time_budget and self.epoch and self.epochs_in_budget(config, seconds) < 1:
            return "time"
        return None

    def epochs_in_budget(self, config: Config, seconds: float) -> int:
        """Return how many more epochs fit into the time budget, by the mean time of an epoch."""
        epoch_seconds = (self.training_seconds + self.evaluation_seconds) / self.epoch
        finish_seconds = EXPORT_SECONDS + FINAL_EVALUATIONS * self.evaluation_seconds / self.epoch
        remaining = config.time_budget * 60 - seconds - finish_seconds
        return int(max(0.0, remaining) / epoch_seconds)

    def summary(self, stopped: StopReason) -> dict[str, Any]:
        """Return the entries of `metrics.json` about training."""
        return {
            "seconds": round(self.seconds, 1),
            "images_per_second": round(self.images / max(self.training_seconds, 1e-9), 1),
            "epochs": self.epoch,
            "best_epoch": self.best_epoch,
            "stopped": stopped,
        }


def history_row(epoch: int, rate: float, metrics: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """Return one epoch's row of `history.csv`."""
    cells: dict[str, Any] = {"epoch": epoch, "learning_rate": rate}
    for split, measured in metrics.items():
        cells |= {f"{split}_{name}": measured[name] for name in ("loss", "accuracy")}
        for label, figures in measured["classes"].items():
            cells |= {
                f"{split}_{name}_{label}": figures[name] for name in ("precision", "recall", "f1")
            }
    return cells


def write_history(path: Path, rows: list[dict[str, Any]]) -> None:
    """Write `history.csv`."""
    with atomic_write(path) as partial, partial.open("w", newline="", encoding="utf-8") as opened:
        writer = csv.DictWriter(opened, rows[0])
        writer.writeheader()
        writer.writerows(rows)


def epoch_line(epoch: int, epochs: int, metrics: dict[str, dict[str, Any]]) -> str:
    """Return the line that is printed after an epoch."""
    parts = [f"{split} {m['accuracy']:.1%} (loss {m['loss']:.3f})" for split, m in metrics.items()]
    return f"epoch {epoch:>3}/{epochs}  " + "  ".join(parts)
