"""The last sound model, kept for a worker that starts when the file of it no longer is sound.

Without it, a worker that is replaced after a damaged file was refused would have no model, and
answer 503 faster than the others answer 200: it would draw most requests.
"""

import logging
import os
import shutil
from contextlib import suppress
from pathlib import Path

from ml.opening import int8_beside

FOLDER = "SKYSPOTTER_SPARE"
"""The variable by which the workers of one service know where; no setting, and none without it."""

Looks = dict[Path, tuple[int, ...]]

log = logging.getLogger("skyspotter")


class Spare:
    """Copies of a model's files, in a folder that all workers share."""

    def __init__(self, model: Path) -> None:
        folder = os.environ.get(FOLDER)
        self._model = Path(folder, model.name) if folder else None

    def model(self) -> Path | None:
        """Where the copy is, if there is one."""
        return self._model if self._model is not None and self._model.is_file() else None

    def keep(self, model: Path, seen: Looks) -> None:
        """Copy a model's files as they looked before they were opened and found sound.

        What cannot be copied is no reason not to serve.
        """
        if self._model is None:
            return
        try:
            for source, kept in zip(_files(model), _files(self._model), strict=True):
                _copy(source, kept, seen)
        except OSError as error:
            log.warning("no copy of the model is kept for workers that start later: %s", error)


def look(model: Path) -> Looks:
    """Tell a model's files from those that may take their place."""
    return {file: _look(file) for file in _files(model)}


def _look(file: Path) -> tuple[int, ...]:
    try:
        found = file.stat()
    except OSError:
        return ()
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns


def _files(model: Path) -> list[Path]:
    """All that may be opened with a model, which comes last: it never is without the others."""
    return [int8_beside(model), model.with_suffix(".safetensors"), model]


def _copy(source: Path, kept: Path, seen: Looks) -> None:
    """Copy so that whoever reads meanwhile finds the old file or the new one, whole."""
    unfinished = kept.with_name(f"{kept.name}.{os.getpid()}")
    try:
        shutil.copyfile(source, unfinished)
        if _look(source) != seen[source]:
            raise OSError(f"{source} has changed meanwhile")
        unfinished.replace(kept)
    except FileNotFoundError:  # of these there is none
        kept.unlink(missing_ok=True)
    finally:
        with suppress(FileNotFoundError):
            unfinished.unlink()
