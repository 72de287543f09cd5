import os
import re
from pathlib import Path

import pytest

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
    assert all(not fault for _, fault in found)
    return [path.as_posix() for path, _ in found]


def test_walk_names_every_file_and_follows_no_loop(tree: Path) -> None:
    found = {path.relative_to(tree).as_posix(): fault for path, fault in walk(tree)}
    assert list(found) == ["a.jpg", "b.jpg", "odd[1].jpg", "sub/loop", "sub/c.jpg"]
    assert [name for name, fault in found.items() if fault] == ["sub/loop"]


def test_files_and_patterns(tree: Path) -> None:
    assert names("b.jpg", "a.jpg") == ["b.jpg", "a.jpg"]
    assert names("?.jpg") == ["a.jpg", "b.jpg"]
    assert names("**/*.jpg") == ["a.jpg", "b.jpg", "odd[1].jpg", "sub/c.jpg"]
    assert names(f"{tree}/**/c.*") == [f"{tree}/sub/c.jpg"]
    assert names("odd[1].jpg") == ["odd[1].jpg"]  # a file of that name before a pattern
    assert names("[ab].jpg") == ["a.jpg", "b.jpg"]


@pytest.mark.parametrize(
    ("pattern", "reason"),
    [
        ("missing.jpg", "no such file"),
        ("*.png", "no such file"),
        ("empty", "no file in this folder"),
        ("**.jpg", "Invalid pattern|no such file"),  # the latter from Python 3.13 on
        ("", "no such file"),
    ],
)
def test_what_stands_for_nothing_is_named(tree: Path, pattern: str, reason: str) -> None:
    ((path, fault),) = find([pattern])
    assert path == Path(pattern)
    assert re.search(reason, fault)


def test_a_folder_that_may_not_be_read_is_named(
    tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scandir = os.scandir

    def refusing(path: str) -> object:
        if str(path).endswith("sub"):
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refusing)  # as root may read everything
    assert (tree / "sub", "The file cannot be read: Permission denied.") in list(walk(tree))


def test_a_pipe_in_a_folder_is_named_and_one_by_name_is_taken(tree: Path) -> None:
    os.mkfifo(tree / "empty" / "pipe")
    ((_, fault),) = walk(tree / "empty")
    assert "pipe" in fault
    assert names("empty/pipe") == ["empty/pipe"]
