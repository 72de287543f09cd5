import json
from collections import Counter
from pathlib import Path

import pytest
from rich.console import Console

from ml.card import Split
from ml.errors import DataError
from ml.folder import divide, scan
from ml.roster import as_it_was, limited, readable
from tests.conftest import picture

QUIET = Console(quiet=True)


def test_so_many_photos_of_each_class(drawn: Path) -> None:
    folder = scan(drawn)
    few = limited(folder, 3)
    assert set(Counter(sample.label for sample in few.samples).values()) == {3}
    assert limited(folder, 0) == folder
    assert limited(folder, 99).samples == folder.samples


def test_a_run_goes_on_with_the_photos_it_began_with(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    begun = divide(scan(photos), Split(validation=0.4))
    record = tmp_path / "data.json"
    record.write_text(json.dumps(begun.summary()), encoding="utf-8")
    assert as_it_was(scan(photos), record, 0, QUIET).samples == begun.samples
    gone, damaged = begun.samples[1], begun.samples[6]
    gone.path.unlink()
    damaged.path.write_bytes(b"")
    picture(seed=77).save(gone.path.with_name("new.png"))
    again = as_it_was(scan(photos), record, 0, Console(width=500))
    assert "1 new photos are left out, 2 are gone" in capsys.readouterr().out
    described = [(s.path, s.label, s.split) for s in begun.samples]
    assert [(s.path, s.label, s.split) for s in again.samples] == described
    left = readable(again, unreadable={damaged.path})
    assert {s.path for s in again.samples} - {s.path for s in left.samples} == {
        gone.path,
        damaged.path,
    }


@pytest.mark.parametrize("content", [None, "{"])
def test_without_a_record_a_run_cannot_go_on(
    drawn: Path, tmp_path: Path, content: str | None
) -> None:
    if content is not None:
        (tmp_path / "data.json").write_text(content)
    with pytest.raises(DataError, match="start a new run"):
        as_it_was(scan(drawn), tmp_path / "data.json", 0, QUIET)
