from pathlib import Path

import pytest

from ml.training.config import Config
from ml.training.state import EXPORT_SECONDS, TrainingState


def config(**settings: float) -> Config:
    return Config(data=None, output=Path("run"), **settings)


@pytest.mark.parametrize(
    ("state", "settings", "reason"),
    [
        (TrainingState(20), {}, None),
        (TrainingState(20, epoch=20, best_epoch=20), {}, "completed"),
        (TrainingState(12, epoch=12, best_epoch=11), {}, "time"),
        (TrainingState(20, epoch=9, best_epoch=1), {}, None),
        (TrainingState(20, epoch=9, best_epoch=6), {"patience": 4}, None),
        (TrainingState(20, epoch=9, best_epoch=5), {"patience": 4}, "early"),
        # An epoch takes 30 seconds.
        (TrainingState(20, epoch=3, best_epoch=3, training_seconds=90), {"time_budget": 2}, None),
        (
            TrainingState(20, epoch=3, best_epoch=3, training_seconds=90),
            {"time_budget": 1.9},
            "time",
        ),
    ],
)
def test_stop_reason(state: TrainingState, settings: dict[str, float], reason: str | None) -> None:
    assert state.stop_reason(config(**settings), seconds=60) == reason


def test_the_time_budget_includes_the_export() -> None:
    state = TrainingState(20, epoch=2, training_seconds=40, evaluation_seconds=10)
    # An epoch takes 25 seconds. The export and 4 evaluations follow the last epoch.
    needed = 100 + 3 * 25 + EXPORT_SECONDS + 4 * 5
    assert state.epochs_in_budget(config(time_budget=needed / 60 + 0.01), seconds=100) == 3
    assert state.epochs_in_budget(config(time_budget=needed / 60 - 0.01), seconds=100) == 2
    assert state.epochs_in_budget(config(time_budget=1), seconds=100) == 0


def test_speed_excludes_evaluation() -> None:
    summary = TrainingState(
        20, epoch=2, best_epoch=1, seconds=70, training_seconds=40, images=2000
    ).summary("early")
    assert summary == {
        "seconds": 70,
        "images_per_second": 50,
        "epochs": 2,
        "best_epoch": 1,
        "stopped": "early",
    }
