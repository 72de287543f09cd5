"""Failing files, disks and stores."""

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from ml.engines.loader import Opened, open_best
from ml.errors import Rejected, ScoringError
from ml.scoring.job import ScoringItem
from ml.scoring.local import score, score_locally
from ml.scoring.retry import MAX_FAILURES, ReadFailed, read_with_retries, stop_on_failures
from ml.scoring.sources import fetch
from tests.ml.scoring.helpers import QUIET, many_photos, raise_next, score_folder

EXPIRED = OSError("AWS Error ACCESS_DENIED: the token has expired")  # the text is Arrow's
BAD_DISK = OSError(errno.EIO, "I/O error")
TEMPORARY = [EXPIRED, TimeoutError("timed out"), BAD_DISK, RuntimeError("?")]


@pytest.fixture(autouse=True)
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The pauses between attempts, which take no time."""
    pauses: list[float] = []
    monkeypatch.setattr("ml.scoring.retry.sleep", pauses.append)
    return pauses


@pytest.fixture
def fail_if(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Make reading fail for some files."""

    def patch(error: Exception, is_bad: Callable[[str], bool]) -> None:
        def failing_fetch(name: str) -> bytes:
            raise_next([error] if is_bad(name) else [])
            return fetch(name)

        monkeypatch.setattr("ml.scoring.retry.fetch", failing_fetch)

    return patch


def number(name: str) -> int:
    """The number of a photo of `many_photos`."""
    return int(Path(name).stem)


@pytest.mark.parametrize("error", TEMPORARY, ids=repr)
def test_a_temporary_error_is_retried(
    photo_folder: Path, model: Path, error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    errors = [error, error]

    def failing_twice(name: str) -> bytes:
        raise_next(errors)
        return fetch(name)

    monkeypatch.setattr("ml.scoring.retry.fetch", failing_twice)
    (row,) = score_folder(photo_folder, model)
    assert (row["label"], row["error"]) == ("red", None)


def test_pauses_between_attempts_grow(
    photo_folder: Path, pauses: list[float], fail_if: Callable[..., None]
) -> None:
    fail_if(BAD_DISK, lambda name: True)
    assert read_with_retries(str(photo_folder)) == ReadFailed("The file cannot be read: I/O error.")
    assert pauses == sorted(pauses)
    assert len(pauses) == 3


@pytest.mark.parametrize("error", TEMPORARY, ids=repr)
@pytest.mark.parametrize("bad", [[0], [1], [3], [1, 3]], ids=str)
def test_single_bad_files_are_error_rows(
    model: Path, error: Exception, bad: list[int], tmp_path: Path, fail_if: Callable[..., None]
) -> None:
    fail_if(error, lambda name: number(name) in bad)
    rows = score_folder(many_photos(tmp_path / "photos", 4), model)
    assert [number(str(row["path"])) for row in rows] == [0, 1, 2, 3]
    assert [i for i, row in enumerate(rows) if row["label"] is None] == bad
    for i in bad:
        assert rows[i]["error"] == f"The file cannot be read: {error.args[-1]}."


@pytest.mark.parametrize("error", TEMPORARY, ids=repr)
@pytest.mark.parametrize("first_bad", [0, 300, 512 - MAX_FAILURES // 2])
def test_a_failing_disk_or_store_stops_the_job_and_a_rerun_scores_all(
    model: Path,
    error: Exception,
    first_bad: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    fail_if: Callable[..., None],
) -> None:
    """Also if the first files that fail are the last of a part."""
    folder = many_photos(tmp_path / "photos", 600)
    fail_if(error, lambda name: number(name) >= first_bad)
    with pytest.raises(ScoringError, match=r"The last 9 files .+ Run the same command again"):
        score_folder(folder, model)
    monkeypatch.setattr("ml.scoring.retry.fetch", fetch)
    assert [row["error"] for row in score_folder(folder, model)] == [None] * 600


def test_expired_credentials_stop_a_job_of_few_files(
    photo_folder: Path, model: Path, monkeypatch: pytest.MonkeyPatch, fail_if: Callable[..., None]
) -> None:
    fail_if(EXPIRED, lambda name: True)
    with pytest.raises(ScoringError, match=r"The last 1 file .*00000\.jpg.*token has expired"):
        score_folder(photo_folder, model)
    monkeypatch.setattr("ml.scoring.retry.fetch", fetch)
    (row,) = score_folder(photo_folder, model)
    assert (row["label"], row["error"]) == ("red", None)


def test_some_bad_files_in_a_row_are_error_rows(
    model: Path, tmp_path: Path, fail_if: Callable[..., None]
) -> None:
    fail_if(BAD_DISK, lambda name: 1 <= number(name) <= MAX_FAILURES)
    rows = score_folder(many_photos(tmp_path / "photos", MAX_FAILURES + 2), model)
    assert [row["label"] is None for row in rows] == [False, *[True] * MAX_FAILURES, False]


def test_failed_files_are_held_back_until_a_file_is_read() -> None:
    items = [ScoringItem(0, name, None) for name in "abc"]
    contents: list[bytes | Rejected] = [ReadFailed("?"), ReadFailed("?"), b"x"]
    taken: list[str] = []

    def files() -> Any:
        for item, content in zip(items, contents, strict=True):
            taken.append(item.name)
            yield item, content

    passed = stop_on_failures(files())
    assert next(passed) == (items[0], contents[0])
    assert taken == ["a", "b", "c"]
    assert list(passed) == list(zip(items[1:], contents[1:], strict=True))


@pytest.mark.parametrize("scheme", ["", "file://"])
@pytest.mark.parametrize("left", ["an empty folder", "nothing", "another file"])
def test_an_unmounted_folder_stops_the_job_and_a_rerun_scores_all(
    photo_folder: Path, model: Path, scheme: str, left: str
) -> None:
    sources, output = [f"{scheme}{photo_folder}"], photo_folder.parent / "out.parquet"
    away = photo_folder.with_name("away")

    def unmounting(model: Opened, parts: Any) -> Any:
        photo_folder.rename(away)
        if left == "an empty folder":
            photo_folder.mkdir()
        if left == "another file":
            photo_folder.touch()
        yield from score_locally(model, parts)

    with pytest.raises(ScoringError, match="Check that its disk is mounted"):
        score(sources, output, open_best(model), QUIET, unmounting)
    if photo_folder.is_dir():
        photo_folder.rmdir()
    photo_folder.unlink(missing_ok=True)
    away.rename(photo_folder)
    score(sources, output, open_best(model), QUIET, score_locally)
    assert pq.read_table(output)["label"].to_pylist() == ["red"]


@pytest.mark.parametrize("code", ["ENOENT", "EISDIR", "ENOTDIR", "ELOOP", "EACCES", "EPERM"])
def test_permanent_errors_of_a_file_are_not_retried(
    photo_folder: Path, model: Path, code: str, pauses: list[float], fail_if: Callable[..., None]
) -> None:
    value = getattr(errno, code)
    fail_if(OSError(value, os.strerror(value), "photo.jpg"), lambda name: True)
    (row,) = score_folder(photo_folder, model)
    assert row["error"] == f"The file cannot be read: {os.strerror(value)}."
    assert pauses == []


def test_permission_denied_by_a_store_is_retried(
    pauses: list[float], fail_if: Callable[..., None]
) -> None:
    """The credentials may have expired."""
    fail_if(PermissionError("Forbidden"), lambda name: True)
    assert isinstance(read_with_retries("s3://bucket/photo.jpg"), ReadFailed)
    assert len(pauses) == 3


def test_a_missing_object_of_a_store_is_not_retried(
    pauses: list[float], fail_if: Callable[..., None]
) -> None:
    fail_if(FileNotFoundError("s3://bucket/photo.jpg"), lambda name: True)
    result = read_with_retries("s3://bucket/photo.jpg")
    assert isinstance(result, Rejected)
    assert not isinstance(result, ReadFailed)
    assert pauses == []


def test_too_little_memory_stops_the_job(
    photo_folder: Path, model: Path, fail_if: Callable[..., None]
) -> None:
    fail_if(MemoryError(), lambda name: True)
    with pytest.raises(ScoringError, match=r"is short of memory for .*00000\.jpg"):
        score_folder(photo_folder, model)


def test_a_huge_file_and_a_file_that_is_not_an_image_are_not_retried(
    photo_folder: Path, pauses: list[float]
) -> None:
    huge, text = photo_folder / "huge.tiff", photo_folder / "notes.txt"
    with huge.open("wb") as opened:
        opened.write(b"II*\0")
        opened.truncate(8 << 40)
    text.write_text("notes")
    results = [read_with_retries(str(path)) for path in (huge, text)]
    for result, reason in zip(results, ("than 2 GB", "Send one of JPEG"), strict=True):
        assert isinstance(result, Rejected)
        assert not isinstance(result, ReadFailed)
        assert reason in result.reason
    assert pauses == []
