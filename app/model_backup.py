"""A copy of the last model that loaded, for workers that start after its file was damaged.

If a bad file replaces the model, running workers keep the model that they have. A worker that
starts then would have none, and would answer 503 faster than the others answer 200: it would
receive most of the requests. It loads the copy instead.
"""

import logging
import os
import shutil
from pathlib import Path

from ml.engines.loader import int8_beside

FOLDER_VARIABLE = "SKYSPOTTER_MODEL_BACKUP"
"""Names the folder that the workers of one service share. It is set by `python -m app`, and is not
a setting. Without it, no copy is kept."""

Fingerprints = dict[Path, tuple[int, ...]]

log = logging.getLogger("skyspotter")


class ModelBackup:
    """Copies of a model's files, in a folder that all workers share."""

    def __init__(self, model: Path) -> None:
        folder = os.environ.get(FOLDER_VARIABLE)
        self._copy = Path(folder, model.name) if folder else None

    def path(self) -> Path | None:
        """Return the path of the copy, or None if there is none."""
        return self._copy if self._copy is not None and self._copy.is_file() else None

    def save(self, model: Path, expected: Fingerprints) -> None:
        """Copy a model's files if they still have the fingerprints of the model that loaded.

        A failure is only logged: the service works without a copy.
        """
        if self._copy is None:
            return
        pairs = list(zip(_files(model), _files(self._copy), strict=True))
        temporary = {copy: copy.with_name(f"{copy.name}.{os.getpid()}") for _, copy in pairs}
        try:
            for source, copy in pairs:
                if expected[source]:
                    shutil.copyfile(source, temporary[copy])
            if fingerprints(model) != expected:
                raise OSError(f"{model} changed after it was loaded")
            for source, copy in pairs:  # atomic: a reader finds a whole file, old or new
                temporary[copy].replace(copy) if expected[source] else copy.unlink(missing_ok=True)
        except OSError as error:
            log.warning("cannot keep a copy of the model for new workers: %s", error)
        finally:
            for file in temporary.values():
                file.unlink(missing_ok=True)


def fingerprints(model: Path) -> Fingerprints:
    """Return a fingerprint of each of a model's files; it is empty if the file is missing."""
    return {file: _fingerprint(file) for file in _files(model)}


def _fingerprint(file: Path) -> tuple[int, ...]:
    try:
        found = file.stat()
    except OSError:
        return ()
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns


def _files(model: Path) -> list[Path]:
    """All files of a model. The model is last: its companions are in place before it."""
    return [int8_beside(model), model.with_suffix(".safetensors"), model]
