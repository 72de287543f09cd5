"""Which files a folder, a path or a pattern stands for; what cannot be used is named, with why."""

import os
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path

from ml.errors import sentence

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
