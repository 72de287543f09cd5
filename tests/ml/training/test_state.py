from pathlib import Path

import pytest

from ml.training.config import Config
from ml.training.state import FINISH, Standing


def config(**settings: float) -> Config:
    return Config(data=None, output=Path("run"), **settings)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("standing", "settings", "ends"),
    [
        (Standing(20), {}, None),
        (Standing(20, epoch=20, best_epoch=20), {}, "completed"),
        (Standing(12, epoch=12, best_epoch=11), {}, "time"),
        (Standing(20, epoch=9, best_epoch=1), {}, None),
        (Standing(20, epoch=9, best_epoch=6), {"patience": 4}, None),
        (Standing(20, epoch=9, best_epoch=5), {"patience": 4}, "early"),
        (Standing(20, epoch=3, best_epoch=3, learning_seconds=90), {"time_budget": 2}, None),
        (Standing(20, epoch=3, best_epoch=3, learning_seconds=90), {"time_budget": 1.9}, "time"),
    ],
)
def test_when_a_run_ends(standing: Standing, settings: dict[str, float], ends: str | None) -> None:
    assert standing.over(config(**settings), seconds=60) == ends  # epochs of 30 seconds


def test_the_time_budget_has_room_for_the_end() -> None:
    standing = Standing(20, epoch=2, learning_seconds=40, measuring_seconds=10)
    # An epoch takes 25 seconds, and the end as long as the export and 4 times the measuring.
    needed = 100 + 3 * 25 + FINISH + 4 * 5
    assert standing.affordable(config(time_budget=needed / 60 + 0.01), seconds=100) == 3
    assert standing.affordable(config(time_budget=needed / 60 - 0.01), seconds=100) == 2
    assert standing.affordable(config(time_budget=1), seconds=100) == 0


def test_speed_counts_the_time_of_learning_alone() -> None:
    summary = Standing(
        20, epoch=2, best_epoch=1, seconds=70, learning_seconds=40, images=2000
    ).summary("early")
    assert summary == {
        "seconds": 70,
        "images_per_second": 50,
        "epochs": 2,
        "best_epoch": 1,
        "stopped": "early",
    }
