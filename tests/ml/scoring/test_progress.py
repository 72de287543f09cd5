from io import StringIO

import pytest
from rich.console import Console

from ml.scoring.progress import ScoringProgress


def test_rate_and_time_left_if_parts_finish_minutes_apart(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    log = Console(file=StringIO(), width=200)
    progress = ScoringProgress(log, 256, 1024)
    now = progress.get_time()
    for minute in (1, 2):
        monkeypatch.setattr(progress, "get_time", lambda minute=minute: now + 60 * minute)
        progress.add(256)
    said = log.file.getvalue()  # type: ignore[attr-defined]
    assert said == (
        "512 of 1024 photos, 4.3 photos/s, 0:02:00 left\n"
        "768 of 1024 photos, 4.3 photos/s, 0:01:00 left\n"
    )
