"""Which files a folder, a path or a pattern stands for; what cannot be used is named, with why."""

import json
import os
import stat
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ml.errors import DataError, sentence

Found = tuple[Path, str]  # a path, and why it cannot be used, or nothing


def walk(folder: Path) -> Iterator[Found]:
    """Every file below a folder but hidden ones, folder by folder, each sorted by name.

    Links to folders are not followed, so a loop of links ends.
    """
    failures: list[OSError] = []
    for here, folders, names in os.walk(folder, onerror=failures.append):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for path in (Path(here, name) for name in folders):
            if path.is_symlink():
                yield path, "A link to a folder is not followed: put the folder itself here."
        for name in sorted(names):
            if not name.startswith("."):
                yield Path(here, name), _fault(Path(here, name))
    yield from ((Path(str(error.filename)), sentence(error)) for error in failures)


def find(patterns: Iterable[str]) -> Iterator[Found]:
    """The files that paths, folders and patterns such as `photos/**/*.jpg` name, in order."""
    for pattern in patterns:
        nothing = "There is no such file, and nothing matches it as a pattern."
        if os.path.isdir(pattern):
            nothing, found = "There is no file in this folder.", walk(Path(pattern))
        elif os.path.lexists(pattern):
            found = iter([(Path(pattern), "")])  # a pipe, too, that the caller named
        else:
            found = _matches(pattern) if pattern else iter(())
        first = next(found, None)
        yield first or (Path(pattern), nothing)
        yield from found


def _matches(pattern: str) -> Iterator[Found]:
    path = Path(pattern)
    try:
        matches = Path(path.anchor).glob(str(path.relative_to(path.anchor)))
        for match in sorted(match for match in matches if not match.name.startswith(".")):
            if os.path.isfile(match):
                yield match, ""
            elif "**" not in pattern:  # as a shell hands it on; `**` brings the files itself
                yield from walk(match)
    except ValueError as error:  # such as `**.jpg`
        yield path, f"{error}."


def _fault(path: Path) -> str:
    try:
        regular = stat.S_ISREG(path.stat().st_mode)
    except OSError as error:  # a link to nowhere or to itself, no right to look
        return sentence(error)
    return "" if regular else "This is a pipe, a socket or a device, and no file."


@contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """Give a file to write that takes the place of `path` in one step, or not at all.

    A crash or a full disk in the middle leaves the old file as it was.
    """
    partial = path.with_name(f".{path.name}.partial")
    try:
        yield partial
        with partial.open("rb") as written:
            os.fsync(written.fileno())
        partial.chmod(0o644)  # safetensors writes for the owner alone, and servers run as others
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Write a file of a run folder, or leave the one that is there."""
    with atomic_write(path) as partial:
        partial.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def read_json(path: Path) -> dict[str, Any]:
    """Return what stands in a file of a run folder; nothing where it is missing.

    Raises:
        DataError: where it is damaged.
    """
    try:
        return dict(json.loads(path.read_text(encoding="utf-8"))) if path.is_file() else {}
    except (ValueError, TypeError) as error:
        raise DataError(f"{path} is damaged: `train --resume` writes it anew.") from error
