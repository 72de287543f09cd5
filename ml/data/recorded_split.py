"""Which photos a run uses: some of each class, or the very ones that it began with."""

import json
from collections import defaultdict
from dataclasses import replace
from pathlib import Path
from typing import Any

from rich.console import Console

from ml.cpus import on_all_cpus
from ml.data.image_folder import OOD_LABEL, ImageFolder, class_of, list_files
from ml.data.sample import Dropped, Sample
from ml.data.split import split_folder
from ml.errors import DataError, ImageError
from ml.images.decode import decode
from ml.models.card import Split


def limit_samples(folder: ImageFolder, count: int) -> ImageFolder:
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


def restore_split(root: Path, summary: Path, limit: int, console: Console) -> ImageFolder:
    """Return the photos that stand in `data.json`, in its order, and say what has changed since.

    Args:
        limit: photos of each class that the run began with; 0 is all there were.

    No file is opened. New ones are left out; those that are gone keep their places, as photos
    that cannot be read.

    Raises:
        DataError: where there is no such folder, or no such record.
    """
    found = {sample.path.relative_to(root).as_posix() for sample in list_files(root)[0]}
    recorded = _record(summary)
    files, dropped = recorded["files"], recorded["dropped"]
    new = set() if limit else found - files.keys() - {of["file"] for of in dropped}
    gone = files.keys() - found
    groups = recorded.get("groups")  # older versions did not write them down
    if gone or new:
        console.print(
            f"{root} has changed since the run began. {len(new)} new photos are left out, "
            f"{len(gone)} are gone: {', '.join(sorted(gone)[:5]) or 'none'}.",
            style="yellow",
            markup=False,
        )
    return ImageFolder(
        root,
        tuple(recorded["classes"]),
        tuple(
            Sample(
                root / file,
                class_of(file),
                split,
                "" if groups is None else str(root / groups.get(file, file)),
            )
            for file, split in files.items()
        ),
        tuple(Dropped(root / of["file"], of["reason"], class_of(of["file"])) for of in dropped),
        tuple((root / one, root / other) for one, other in recorded["near_duplicates"]),
        recorded["classes_left_out"],
        tuple(Sample(Path(file), OOD_LABEL) for file in recorded.get("others", ())),
    )


def split_as_trained(folder: ImageFolder, run: Path, split: Split, console: Console) -> ImageFolder:
    """Split a folder as it was when a model was trained, whatever has come to it since.

    Args:
        run: where the model is. A `data.json` beside it says of each photo which split it was
            of; where it knows none of them, or there is none, they are dealt out by `split`.

    What the record does not know takes part in no split that the folder has not itself.
    """
    files = _record(run / "data.json")["files"] if (run / "data.json").exists() else {}
    names = [sample.path.relative_to(folder.root).as_posix() for sample in folder.samples]
    if not files.keys() & set(names):
        return split_folder(folder, split)
    samples = tuple(
        replace(sample, split=files.get(name, sample.split))
        for sample, name in zip(folder.samples, names, strict=True)
    )
    if new := sum(not sample.split for sample in samples):
        console.print(
            f"{new} photos in {folder.root} are not in the model's data.json: they are new, and of "
            "no split.",
            style="yellow",
            markup=False,
        )
    return replace(folder, samples=samples)


def _record(summary: Path) -> dict[str, Any]:
    try:
        recorded: dict[str, Any] = json.loads(summary.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"{summary} cannot be read: start a new run.") from error
    return recorded


def drop_unreadable(folder: ImageFolder, unreadable: set[Path]) -> ImageFolder:
    """Leave out what could not be read in training, and what of the held-out photos is no more."""
    checked = on_all_cpus(lambda s: s.split == "train" or can_decode(s.path), folder.samples)
    kept = zip(folder.samples, checked, strict=True)
    samples = tuple(sample for sample, fine in kept if fine and sample.path not in unreadable)
    return replace(folder, samples=samples)


def can_decode(path: Path) -> bool:
    """Whether a photo can be decoded."""
    try:
        decode(path.read_bytes())
    except (OSError, ImageError):
        return False
    return True
