"""Find the files that paths, folders and patterns name; read and write files safely."""

import json
import os
import stat
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ml.errors import DataError, Rejected, sentence

NO_MATCH = Rejected("There is no such file, and no file matches it as a pattern.")


def walk(folder: Path) -> Iterator[tuple[Path, Rejected | None]]:
    """List the files below a folder, folder by folder, each sorted by name.

    Hidden files and folders are skipped. A path that cannot be used is listed with the reason.
    Links to folders are not followed, because they may form a loop.
    """
    errors: list[OSError] = []
    for here, folders, names in os.walk(folder, onerror=errors.append):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for path in (Path(here, name) for name in folders):
            if path.is_symlink():
                yield path, Rejected("This is a link to a folder: put the folder itself here.")
        for name in sorted(names):
            if not name.startswith("."):
                yield Path(here, name), _check_regular(Path(here, name))
    yield from ((Path(str(error.filename)), Rejected(sentence(error))) for error in errors)


def find(patterns: Iterable[str]) -> Iterator[tuple[Path, Rejected | None]]:
    """List the files that paths, folders and patterns such as `photos/**/*.jpg` name, in order.

    A pattern that names no file is listed itself, with the reason.
    """
    for pattern in patterns:
        path, nothing = Path(pattern), NO_MATCH
        if os.path.isdir(pattern):
            found, nothing = walk(path), Rejected("There is no file in this folder.")
        elif os.path.lexists(pattern):
            found = iter([(path, None)])  # a pipe is allowed if the user names it
        else:
            found = _match(path) if pattern else iter(())
        yield next(found, (path, nothing))
        yield from found


def _match(pattern: Path) -> Iterator[tuple[Path, Rejected | None]]:
    try:
        matches = Path(pattern.anchor).glob(str(pattern.relative_to(pattern.anchor)))
        for match in sorted(match for match in matches if not match.name.startswith(".")):
            if os.path.isfile(match):
                yield match, None
            elif "**" not in str(pattern):  # `**` matches the files of a folder too
                yield from walk(match)
    except ValueError as error:  # an invalid pattern, such as `**.jpg`
        yield pattern, Rejected(f"{error}.")


def _check_regular(path: Path) -> Rejected | None:
    try:
        regular = stat.S_ISREG(path.stat().st_mode)
    except OSError as error:  # a broken or circular link, or no permission
        return Rejected(sentence(error))
    return None if regular else Rejected("This is a pipe, a socket or a device, not a file.")


@contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """Yield a temporary path; when the block ends, the file written there replaces `path`.

    If the block fails, or the machine crashes, the old file stays as it was.
    """
    partial = path.with_name(f".{path.name}.partial")
    try:
        yield partial
        with partial.open("rb") as written:
            os.fsync(written.fileno())
        # safetensors makes files that only their owner can read; servers run as another user.
        partial.chmod(0o644)
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Write a JSON file atomically."""
    with atomic_write(path) as partial:
        partial.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def read_json(path: Path) -> dict[str, Any]:
    """Read a run folder's JSON file; empty if it is missing. Raise DataError if it is damaged."""
    try:
        return dict(json.loads(path.read_text(encoding="utf-8"))) if path.is_file() else {}
    except (ValueError, TypeError) as error:
        raise DataError(f"{path} is damaged: `train --resume` writes it again.") from error
