"""Reading photos where photos, disks and stores fail."""

import errno
import os
import tempfile
import time
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from ml.errors import ScoringError, UnreadableImage
from ml.scoring.local import Chosen, choose, here, score
from ml.scoring.retry import Reader
from ml.scoring.sources import fetch
from tests.ml.scoring.helpers import QUIET, answers, fail, many

DENIED = OSError("AWS Error ACCESS_DENIED: the token has expired")  # as Arrow says it
PASSING = [DENIED, TimeoutError("timed out"), OSError(errno.EIO, "I/O error"), RuntimeError("?")]


@pytest.mark.parametrize("fault", PASSING, ids=repr)
def test_a_fault_that_passes_costs_no_photo(
    one: Path, model: Path, fault: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    faults = [fault, fault]
    monkeypatch.setattr("ml.scoring.retry.sleep", lambda _: None)

    def at_last(name: str) -> bytes:
        fail(faults)
        return fetch(name)

    monkeypatch.setattr("ml.scoring.retry.fetch", at_last)
    (row,) = answers(one, model)
    assert (row["label"], row["error"]) == ("red", None)


@pytest.mark.parametrize("fault", PASSING, ids=repr)
def test_a_fault_that_stays_ends_the_run_and_costs_no_photo(
    one: Path, model: Path, fault: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    pauses: list[float] = []
    with monkeypatch.context() as broken:
        broken.setattr("ml.scoring.retry.sleep", pauses.append)
        broken.setattr("ml.scoring.retry.fetch", lambda _: fail([fault]))
        with pytest.raises(
            ScoringError, match=r"00000\.jpg cannot be read on .+: .+ again to go on"
        ):
            answers(one, model)
    assert pauses == sorted(pauses)
    assert len(pauses) == 3
    (row,) = answers(one, model)
    assert (row["label"], row["error"]) == ("red", None)


@pytest.mark.parametrize("fault", PASSING, ids=repr)
def test_a_fault_that_stays_is_a_row_where_others_can_be_read(
    model: Path, fault: Exception, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def bad(name: str) -> bytes:
        fail([fault] if name.endswith("00001.jpg") else [])
        return fetch(name)

    monkeypatch.setattr("ml.scoring.retry.sleep", lambda _: time.sleep(0.1))
    monkeypatch.setattr("ml.scoring.retry.fetch", bad)
    rows = answers(many(tmp_path / "photos", 4), model)
    assert [row["label"] is None for row in rows] == [False, True, False, False]
    assert str(rows[1]["error"]).startswith("The file cannot be read: ")
    assert fault.args[-1] in str(rows[1]["error"])


@pytest.mark.parametrize("scheme", ["", "file://"])
@pytest.mark.parametrize("left", ["an empty folder", "nothing", "another file"])
def test_a_disk_that_is_gone_ends_the_run_and_costs_no_photo(
    one: Path, model: Path, scheme: str, left: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    sources, output, away = [f"{scheme}{one}"], one.parent / "out.parquet", one.with_name("away")

    def lost(chosen: Chosen, parts: Any) -> Any:
        one.rename(away)
        if left == "an empty folder":
            one.mkdir()
        if left == "another file":
            one.touch()
        yield from here(chosen, parts)

    monkeypatch.setattr("ml.scoring.retry.sleep", lambda _: None)
    with pytest.raises(ScoringError, match="as where a disk is not mounted"):
        score(sources, output, choose(model), QUIET, lost)
    if one.is_dir():
        one.rmdir()
    one.unlink(missing_ok=True)
    away.rename(one)
    score(sources, output, choose(model), QUIET, here)
    assert pq.read_table(output)["label"].to_pylist() == ["red"]


def test_a_dead_disk_is_not_taken_for_bad_photos(
    one: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What memory still has of it can be read for ever."""
    reader, good = Reader(), str(one / "00000.jpg")
    reader.read(good)

    def dead(name: str) -> bytes:
        fail([] if name == good else [OSError(errno.EIO, "I/O error")])
        return fetch(name)

    monkeypatch.setattr("ml.scoring.retry.sleep", lambda _: None)
    monkeypatch.setattr("ml.scoring.retry.fetch", dead)
    with pytest.raises(OSError, match="I/O error"):
        reader.read(str(one / "1.jpg"))
    with pytest.raises(ScoringError):
        reader.read(str(one / "2.jpg"))


def test_one_store_is_no_witness_for_another(one: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reader = Reader()
    reader.read(str(one / "00000.jpg"))
    monkeypatch.setattr("ml.scoring.retry.sleep", lambda _: None)
    bad = "s3://bucket/bad.jpg"
    monkeypatch.setattr("ml.scoring.retry.fetch", lambda n: fail([DENIED] if n == bad else []))
    reader.read("s3://another/photo.jpg")
    with pytest.raises(ScoringError, match="expired"):
        reader.read(bad)
    reader.read("s3://bucket/photo.jpg")
    for _ in range(20):  # as of keys that nobody may read
        with pytest.raises(OSError, match="expired"):
            reader.read(bad)


@pytest.mark.parametrize("number", ["ENOENT", "EISDIR", "ENOTDIR", "ELOOP", "EACCES", "EPERM"])
def test_what_is_wrong_with_a_file_itself_is_its_row(
    one: Path, model: Path, number: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    code = getattr(errno, number)
    fault = OSError(code, os.strerror(code), "photo.jpg")
    monkeypatch.setattr("ml.scoring.retry.fetch", lambda _: fail([fault]))
    (row,) = answers(one, model)
    assert row["error"] == f"The file cannot be read: {os.strerror(code)}."


def test_what_many_others_of_another_store_do_not_push_out(
    one: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (one / "alone").mkdir()  # nothing lies beside the bad one
    reader, bad = Reader(), str(one / "alone" / "bad.jpg")
    monkeypatch.setattr("ml.scoring.retry.sleep", lambda _: None)
    monkeypatch.setattr("ml.scoring.retry.fetch", lambda n: fail([DENIED] if n == bad else []))
    reader.read(str(one / "00000.jpg"))
    for number in range(100):
        reader.read(f"s3://bucket/{number}.jpg")
    with pytest.raises(OSError, match="expired"):
        reader.read(bad)


def test_what_lies_beside_a_bad_photo_is_asked_where_nothing_was_read_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A job that was killed goes on, even if all that is left of it is bad."""
    photos = many(tmp_path / "photos", 21)
    bad = str(photos / "00020.jpg")

    def broken(name: str) -> bytes:
        fail([OSError(errno.EIO, "I/O error")] if name == bad else [])
        return fetch(name)

    monkeypatch.setattr("ml.scoring.retry.sleep", lambda _: None)
    monkeypatch.setattr("ml.scoring.retry.fetch", broken)
    reader = Reader()
    for _ in range(20):  # each counts once, for memory may be all that is left of them
        with pytest.raises(OSError, match="I/O error"):
            reader.read(bad)
    with pytest.raises(ScoringError):
        reader.read(bad)


@pytest.mark.parametrize("beside", ["empty", "loop"])
def test_only_what_has_bytes_is_a_witness(
    beside: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An empty file can be read from a dead disk; a link in a circle hides no other file."""
    photos = many(tmp_path / "photos", 2)
    bad, good = sorted(map(str, photos.iterdir()))
    if beside == "empty":
        Path(good).write_bytes(b"")
    monkeypatch.setattr("ml.scoring.retry.sleep", lambda _: None)
    real = os.scandir

    def broken(name: str) -> bytes:
        fail([OSError(errno.EIO, "I/O error")] if name == bad else [])
        return fetch(name)

    monkeypatch.setattr("ml.scoring.retry.fetch", broken)
    if beside == "loop":
        loop = photos / "loop"
        loop.symlink_to(loop)
        first = sorted(real(photos), key=lambda entry: not entry.is_symlink())
        monkeypatch.setattr("ml.scoring.sources.os.scandir", lambda _: nullcontext(first))
    with pytest.raises(ScoringError if beside == "empty" else OSError, match="I/O error"):
        Reader().read(bad)


def test_short_memory_is_no_fault_of_a_photo(one: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ml.scoring.retry.fetch", lambda _: fail([MemoryError()]))
    with pytest.raises(ScoringError, match=r"short of memory for .*00000\.jpg"):
        Reader().read(str(one / "00000.jpg"))


def test_a_file_far_too_large_is_no_photo(one: Path) -> None:
    huge = one / "huge.tiff"
    with huge.open("wb") as opened:
        opened.write(b"II*\0")
        opened.truncate(8 << 40)
    with pytest.raises(UnreadableImage, match="more than 2 GB"):
        Reader().read(str(huge))


def test_what_is_no_photo_shows_that_the_disk_can_be_read(
    one: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (one / "00000.jpg").unlink()
    (one / "notes.txt").write_text("notes")
    bad = str(one / "bad.jpg")

    def broken(name: str) -> bytes:
        fail([DENIED] if name == bad else [])
        return fetch(name)

    monkeypatch.setattr("ml.scoring.retry.sleep", lambda _: None)
    monkeypatch.setattr("ml.scoring.retry.fetch", broken)
    with pytest.raises(OSError, match="expired"):
        Reader().read(bad)


def test_a_photo_is_no_witness_for_what_only_its_links_lie_beside(
    one: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = Path("/dev/shm")
    if not elsewhere.is_dir() or elsewhere.stat().st_dev == one.stat().st_dev:
        pytest.skip("there is no second disk here")
    with tempfile.TemporaryDirectory(dir=elsewhere) as folder:
        target, link = Path(folder, "photo.jpg"), one / "link.jpg"
        target.write_bytes(b"")
        link.symlink_to(target)

        def broken(name: str) -> bytes:
            fail([DENIED] if name == str(link) else [])
            return fetch(name)

        monkeypatch.setattr("ml.scoring.retry.sleep", lambda _: None)
        monkeypatch.setattr("ml.scoring.retry.fetch", broken)
        with pytest.raises(ScoringError):
            Reader().read(str(link))
