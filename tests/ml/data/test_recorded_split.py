import json
from collections import Counter
from pathlib import Path

import pytest
from rich.console import Console

from ml.data.image_folder import scan
from ml.data.recorded_split import drop_unreadable, limit_samples, restore_split, split_as_trained
from ml.data.split import split_folder
from ml.errors import DataError
from ml.models.card import Split
from tests.helpers import picture

QUIET = Console(quiet=True)


def test_limit_samples_keeps_some_of_each_class(drawn: Path) -> None:
    folder = scan(drawn)
    few = limit_samples(folder, 3)
    assert set(Counter(sample.label for sample in few.samples).values()) == {3}
    assert limit_samples(folder, 0) == folder
    assert limit_samples(folder, 99).samples == folder.samples


def test_a_resumed_run_uses_the_recorded_photos(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = [f"{s.label}/{s.path.name}" for s in scan(photos).samples]
    grouped = "".join(f"{file},shoot {i // 2}\n" for i, file in enumerate(files))
    (photos / "index.csv").write_text("file,group\n" + grouped, encoding="utf-8")
    started = split_folder(scan(photos), Split(validation=0.4))
    assert len({sample.group for sample in started.samples}) == len(files) // 2
    record = tmp_path / "data.json"
    record.write_text(json.dumps(started.summary()), encoding="utf-8")
    assert (
        restore_split(photos, record, 0, Console(width=500)).summary()["files"]
        == started.summary()["files"]
    )
    assert capsys.readouterr().out == ""
    missing, damaged = started.samples[1], started.samples[6]
    missing.path.unlink()
    damaged.path.write_bytes(b"")
    picture(seed=77).save(missing.path.with_name("new.png"))
    again = restore_split(photos, record, 0, Console(width=500))
    assert "1 new file ignored, 1 file missing (" in capsys.readouterr().out
    described = [(s.path, s.label, s.split, s.group) for s in started.samples]
    assert [(s.path, s.label, s.split, s.group) for s in again.samples] == described
    assert (again.dropped, again.near_duplicates) == (started.dropped, started.near_duplicates)


def test_an_old_record_without_ood_photos_and_groups(photos: Path, tmp_path: Path) -> None:
    summary = split_folder(scan(photos), Split()).summary()
    del summary["others"], summary["groups"]
    (tmp_path / "data.json").write_text(json.dumps(summary), encoding="utf-8")
    started = restore_split(photos, tmp_path / "data.json", 0, QUIET)
    assert started.ood == ()
    assert {sample.group for sample in started.samples} == {""}


def test_unreadable_photos_are_dropped(photos: Path) -> None:
    """Training photos are not opened again."""
    folder = split_folder(scan(photos), Split(validation=0.4))
    lost, trained, tested, validated = (
        folder.of(split)[i].path
        for split, i in (("train", 0), ("train", 1), ("test", 0), ("validation", 0))
    )
    trained.write_bytes(b"")
    tested.unlink()
    validated.write_bytes(b"")
    left = {s.path for s in drop_unreadable(folder, unreadable={lost}).samples}
    assert {s.path for s in folder.samples} - left == {lost, tested, validated}


def test_a_folder_with_new_photos_is_split_as_recorded(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    split = Split(validation=0.4)
    before = split_folder(scan(photos), split)
    for number in range(8):
        place = photos / "Flying Birds" / f"new {number}.png"
        picture(seed=70 + number).save(place)
    grown, console = scan(photos), Console(width=500)
    fresh = split_as_trained(grown, tmp_path, split, console)
    assert fresh == split_folder(grown, split)  # there is no record
    (tmp_path / "data.json").write_text(json.dumps(before.summary()), encoding="utf-8")
    known = split_as_trained(grown, tmp_path, split, console)
    assert "8 photos" in capsys.readouterr().out
    for name in ("train", "validation", "test"):
        assert {s.path for s in known.of(name)} == {s.path for s in before.of(name)}
    assert {s.path for s in fresh.of("test")} & {s.path for s in before.of("train")}
    assert len(known.of("all")) == len(before.samples) + 8
    photos.rename(tmp_path / "moved")
    moved = scan(tmp_path / "moved")
    assert len(split_as_trained(moved, tmp_path, split, console).of("test")) == len(
        before.of("test")
    )


def test_a_folder_is_split_anew_if_the_record_lists_none_of_its_photos(
    photos: Path, drawn: Path, tmp_path: Path
) -> None:
    others = split_folder(scan(photos), Split()).summary() | {"files": {"Kite/1.jpg": "train"}}
    (tmp_path / "data.json").write_text(json.dumps(others), encoding="utf-8")
    folder = scan(drawn)
    assert split_as_trained(folder, tmp_path, Split(), QUIET) == split_folder(folder, Split())


@pytest.mark.parametrize("content", [None, "{"])
def test_a_run_without_a_record_cannot_be_resumed(
    drawn: Path, tmp_path: Path, content: str | None
) -> None:
    if content is not None:
        (tmp_path / "data.json").write_text(content)
    with pytest.raises(DataError, match="start a new run"):
        restore_split(drawn, tmp_path / "data.json", 0, QUIET)
