"""Which photos a run uses: some of each class, or the very ones that it began with."""

import json
from collections import defaultdict
from dataclasses import replace
from pathlib import Path

from rich.console import Console

from ml.errors import DataError, ImageError
from ml.folder import Folder, Sample
from ml.image import decode


def limited(folder: Folder, count: int) -> Folder:
    """Keep so many photos of each class and split, or all.

    They are taken at even distances, as neighbours tend to be of one scene.
    """
    if count == 0:
        return folder
    kinds: dict[tuple[str, str], list[Sample]] = defaultdict(list)
    for sample in folder.samples:
        kinds[sample.split, sample.label].append(sample)
    kept = {
        of[i * len(of) // min(count, len(of))].path
        for of in kinds.values()
        for i in range(min(count, len(of)))
    }
    return replace(folder, samples=tuple(s for s in folder.samples if s.path in kept))


def as_it_was(folder: Folder, summary: Path, limit: int, console: Console) -> Folder:
    """Return the photos that stand in `data.json`, in its order, and say what has changed since.

    Args:
        limit: photos of each class that the run began with; 0 is all there were.

    New photos are left out. Those that are gone keep their places, as unreadable ones.

    Raises:
        DataError: where there is no such record.
    """
    try:
        recorded = json.loads(summary.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"{summary} cannot be read: start a new run.") from error
    found = {sample.path.relative_to(folder.root).as_posix(): sample for sample in folder.samples}
    files: dict[str, str] = recorded["files"]
    gone, new = files.keys() - found.keys(), set() if limit else found.keys() - files.keys()
    if gone or new:
        console.print(
            f"{folder.root} has changed since the run began. {len(new)} new photos are left out, "
            f"{len(gone)} are gone: {', '.join(sorted(gone)[:5]) or 'none'}.",
            style="yellow",
            markup=False,
        )
    samples = tuple(
        replace(found.get(file) or _gone(folder.root, file, recorded["classes"]), split=split)
        for file, split in files.items()
    )
    return replace(folder, classes=tuple(recorded["classes"]), samples=samples)


def _gone(root: Path, file: str, classes: list[str]) -> Sample:
    """A photo that is no more: the first folder on its way that is named like a class is its."""
    return Sample(root / file, next(part for part in Path(file).parts if part in classes))


def readable(folder: Folder, unreadable: set[Path]) -> Folder:
    """Leave out what could not be read in training, and what is damaged or gone by now."""
    kept = (s for s in folder.samples if s.path not in unreadable and _opens(s.path))
    return replace(folder, samples=tuple(kept))


def _opens(path: Path) -> bool:
    try:
        decode(path.read_bytes())
    except (OSError, ImageError):
        return False
    return True
