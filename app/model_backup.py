"""The last sound model, kept for a worker that starts when the file of it no longer is sound.

Without it, a worker that is replaced after a damaged file was refused would have no model, and
answer 503 faster than the others answer 200: it would draw most requests.
"""

import logging
import os
import shutil
from pathlib import Path

from ml.engines.loader import int8_beside

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
        pairs = list(zip(_files(model), _files(self._model), strict=True))
        copies = {kept: kept.with_name(f"{kept.name}.{os.getpid()}") for _, kept in pairs}
        try:
            for source, kept in pairs:
                if seen[source]:
                    shutil.copyfile(source, copies[kept])
            if look(model) != seen:
                raise OSError(f"{model} has changed meanwhile")
            for source, kept in pairs:  # whoever reads finds the old file or the new one, whole
                copies[kept].replace(kept) if seen[source] else kept.unlink(missing_ok=True)
        except OSError as error:
            log.warning("no copy of the model is kept for workers that start later: %s", error)
        finally:
            for copy in copies.values():
                copy.unlink(missing_ok=True)


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
