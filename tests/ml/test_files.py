import os
import re
from pathlib import Path

import pytest

from ml.errors import Rejected
from ml.files import find, walk


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("b.jpg", "a.jpg", ".hidden", "sub/c.jpg", ".git/d", "odd[1].jpg"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("x")
    (tmp_path / "sub" / "loop").symlink_to("..")
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path)
    return tmp_path


def names(*patterns: str) -> list[str]:
    found = list(find(patterns))
    assert all(rejected is None for _, rejected in found)
    return [path.as_posix() for path, _ in found]


def test_walk_lists_every_file_and_follows_no_loop(tree: Path) -> None:
    found = {path.relative_to(tree).as_posix(): rejected for path, rejected in walk(tree)}
    assert list(found) == ["a.jpg", "b.jpg", "odd[1].jpg", "sub/loop", "sub/c.jpg"]
    assert [name for name, rejected in found.items() if rejected] == ["sub/loop"]


def test_files_and_patterns(tree: Path) -> None:
    assert names("b.jpg", "a.jpg") == ["b.jpg", "a.jpg"]
    assert names("?.jpg") == ["a.jpg", "b.jpg"]
    assert names("**/*.jpg") == ["a.jpg", "b.jpg", "odd[1].jpg", "sub/c.jpg"]
    assert names(f"{tree}/**/c.*") == [f"{tree}/sub/c.jpg"]
    assert names("odd[1].jpg") == ["odd[1].jpg"]  # a file with this name comes before the pattern
    assert names("[ab].jpg") == ["a.jpg", "b.jpg"]


@pytest.mark.parametrize(
    ("pattern", "reason"),
    [
        ("missing.jpg", "no such file"),
        ("*.png", "no such file"),
        ("empty", "no file in this folder"),
        ("**.jpg", "Invalid pattern|no such file"),  # the second from Python 3.13 on
        ("", "no such file"),
    ],
)
def test_a_pattern_without_files_is_rejected(tree: Path, pattern: str, reason: str) -> None:
    ((path, rejected),) = find([pattern])
    assert path == Path(pattern)
    assert rejected
    assert re.search(reason, rejected.reason)


def test_a_folder_without_permission_is_rejected(
    tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scandir = os.scandir

    def denying(path: str) -> object:
        if str(path).endswith("sub"):
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", denying)  # root may read everything
    rejected = dict(walk(tree))[tree / "sub"]
    assert rejected == Rejected("The file cannot be read: Permission denied.")


def test_a_pipe_is_rejected_in_a_folder_and_accepted_by_name(tree: Path) -> None:
    os.mkfifo(tree / "empty" / "pipe")
    ((_, rejected),) = walk(tree / "empty")
    assert rejected
    assert "pipe" in rejected.reason
    assert names("empty/pipe") == ["empty/pipe"]
