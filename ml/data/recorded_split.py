"""Select some of a folder's photos; separately, restore the split that a run recorded."""

import json
from collections import defaultdict
from dataclasses import replace
from pathlib import Path
from typing import Any

from rich.console import Console

from ml.cpus import in_threads
from ml.data.class_folders import class_of, list_files
from ml.data.image_folder import OOD_LABEL, ImageFolder
from ml.data.sample import Dropped, Sample
from ml.data.split import split_folder
from ml.errors import DataError, ImageError, listing, plural
from ml.images.decode import decode
from ml.models.card import Split


def limit_samples(folder: ImageFolder, count: int) -> ImageFolder:
    """Keep `count` photos of each class and split; 0 keeps all.

    They are evenly spaced in the list, because photos next to each other often show one scene.
    """
    if count == 0:
        return folder
    by_split_and_class: dict[tuple[str, str], list[Sample]] = defaultdict(list)
    for sample in folder.samples:
        by_split_and_class[sample.split, sample.label].append(sample)
    kept = {
        photos[i * len(photos) // min(count, len(photos))].path
        for photos in by_split_and_class.values()
        for i in range(min(count, len(photos)))
    }
    return replace(folder, samples=tuple(s for s in folder.samples if s.path in kept))


def restore_split(root: Path, summary: Path, limit: int, console: Console) -> ImageFolder:
    """Return the photos and the split that `data.json` records, in the same order.

    No photo is opened. New files are ignored. Missing files stay in the list, and are handled as
    unreadable photos later. If files are new or missing, a message says so.

    Args:
        limit: the `--limit-data` of the run; 0: none. With a limit, new files are not reported.

    Raises:
        DataError: if the folder or `data.json` cannot be read.
    """
    found = {sample.path.relative_to(root).as_posix() for sample in list_files(root)[0]}
    recorded = _read_record(summary)
    files, dropped = recorded["files"], recorded["dropped"]
    new = set() if limit else found - files.keys() - {entry["file"] for entry in dropped}
    missing = files.keys() - found
    groups = recorded.get("groups")  # not recorded by older versions
    if missing or new:
        console.print(
            f"{root} has changed since the run started: {plural(len(new), 'new file')} ignored, "
            f"{plural(len(missing), 'file')} missing"
            f"{f' ({listing(sorted(missing), most=5)})' if missing else ''}.",
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
        tuple(Dropped(root / d["file"], d["reason"], class_of(d["file"])) for d in dropped),
        tuple((root / first, root / second) for first, second in recorded["near_duplicates"]),
        recorded["classes_left_out"],
        tuple(Sample(Path(file), OOD_LABEL) for file in recorded.get("others", ())),
    )


def split_as_trained(folder: ImageFolder, run: Path, split: Split, console: Console) -> ImageFolder:
    """Split a folder as it was split when a model was trained.

    `data.json` in the model's folder, `run`, records the split of each photo. Photos that it does
    not list get no split, unless the folder has its own. If there is no `data.json`, or it lists
    none of the photos, the folder is split by `split`.
    """
    files = _read_record(run / "data.json")["files"] if (run / "data.json").exists() else {}
    names = [sample.path.relative_to(folder.root).as_posix() for sample in folder.samples]
    if not files.keys() & set(names):
        return split_folder(folder, split)
    samples = tuple(
        replace(sample, split=files.get(name, sample.split))
        for sample, name in zip(folder.samples, names, strict=True)
    )
    if new := sum(not sample.split for sample in samples):
        console.print(
            f"{folder.root} has {plural(new, 'photo')} that the model's data.json does not list: "
            "they belong to no split.",
            style="yellow",
            markup=False,
        )
    return replace(folder, samples=samples)


def _read_record(summary: Path) -> dict[str, Any]:
    try:
        return dict(json.loads(summary.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise DataError(f"{summary} cannot be read: start a new run.") from error


def drop_unreadable(folder: ImageFolder, unreadable: set[Path]) -> ImageFolder:
    """Drop photos that training could not read, and validation and test photos that fail now."""
    readable = in_threads(lambda s: s.split == "train" or can_decode(s.path), folder.samples)
    checked = zip(folder.samples, readable, strict=True)
    samples = tuple(sample for sample, ok in checked if ok and sample.path not in unreadable)
    return replace(folder, samples=samples)


def can_decode(path: Path) -> bool:
    """Tell whether a photo can be decoded."""
    try:
        decode(path.read_bytes())
    except (OSError, ImageError):
        return False
    return True
