"""Scan an image folder: its classes, photos and unused files. Does not import torch.

`root/<class>/*` is split later; the split of `root/{train,test}/<class>/*` is kept. The columns
`file` and `group` of `root/index.csv` may group photos, such as those of one video: all photos of
a group are in the same split. Metrics can be reported by the other columns.
"""

import csv
import hashlib
from collections import Counter
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from ml.cpus import in_threads
from ml.data.class_folders import list_class_folders, list_files
from ml.data.duplicates import find_duplicates
from ml.data.sample import Dropped, Sample
from ml.data.similarity import Fingerprint, fingerprint
from ml.errors import DataError, ImageError, Rejected, plural, sentence
from ml.files import walk
from ml.images.decode import decode, read
from ml.progress import track_progress

OOD_LABEL = ""


@dataclass(frozen=True)
class ImageFolder:
    """A folder after every file in it was inspected."""

    root: Path
    classes: tuple[str, ...]
    samples: tuple[Sample, ...]
    dropped: tuple[Dropped, ...]
    near_duplicates: tuple[tuple[Path, Path], ...]
    """Near-duplicates that are kept: once for each photo, (earliest similar photo, photo)."""
    classes_left_out: dict[str, str] = field(default_factory=dict)
    """Class folders without a usable photo, and why."""
    ood: tuple[Sample, ...] = ()
    """Out-of-distribution (OOD) photos from another folder, which show none of the classes."""

    def of(self, split: str) -> list[Sample]:
        """Return the samples of one split, or of all splits for `all`."""
        return [sample for sample in self.samples if split in ("all", sample.split)]

    def summary(self) -> dict[str, Any]:
        """Return the content of `data.json`: counts, splits, groups and dropped files."""

        def name(path: Path) -> str:
            return path.relative_to(self.root).as_posix()

        counts = Counter((sample.split, sample.label) for sample in self.samples)
        return {
            "classes": list(self.classes),
            "classes_left_out": self.classes_left_out,
            "counts": {
                split: {label: counts[split, label] for label in self.classes}
                for split in sorted({sample.split for sample in self.samples})
            },
            "sizes": _sizes(self.samples),
            "dropped": [{"file": name(d.path), "reason": d.reason} for d in self.dropped],
            "near_duplicates": [[name(a), name(b)] for a, b in self.near_duplicates],
            "files": {name(sample.path): sample.split for sample in self.samples},
            "groups": {
                name(sample.path): name(Path(sample.group))
                for sample in self.samples
                if sample.group not in ("", str(sample.path))
            },
            "others": [sample.path.absolute().as_posix() for sample in self.ood],
        }


def _sizes(samples: tuple[Sample, ...]) -> dict[str, Any]:
    """Return the smallest, median and largest side of the photos, in pixels."""
    if not samples:
        return {}
    sides = np.sort([sample.size for sample in samples], axis=1)  # (N, 2), the shorter first
    return {
        key: {"smallest": int(row.min()), "middle": int(np.median(row)), "largest": int(row.max())}
        for key, row in zip(("shorter_side", "longer_side"), sides.T, strict=True)
    } | {"share_under_224": float((sides[:, 0] < 224).mean())}


def scan(root: Path) -> ImageFolder:
    """Decode every file, drop unusable files and copies, and group near-duplicates.

    `find_duplicates` says which copies are dropped. Near-duplicates that are kept share a group.

    Raises:
        DataError: if there is no folder, its own split is incomplete, or a name is not UTF-8.
    """
    files, dropped = list_files(root)
    index = _read_index(root)
    samples, prints = [], []
    for file, found in zip(files, _inspect_files(files), strict=True):
        if isinstance(found, Rejected):
            dropped.append(Dropped(file.path, found.reason, file.label))
        else:
            sample, own_print = found
            row = index.get(file.path.relative_to(root).as_posix(), {})
            samples.append(replace(sample, group=row.get("group", ""), columns=row))
            prints.append(own_print)
    with Console(stderr=True).status("Comparing the photos"):
        duplicates = find_duplicates(samples, prints)
    dropped += [
        Dropped(samples[i].path, reason, samples[i].label)
        for i, reason in duplicates.dropped.items()
    ]
    kept = tuple(
        replace(sample, group=str(samples[first].path))
        for i, (sample, first) in enumerate(zip(samples, duplicates.groups, strict=True))
        if i not in duplicates.dropped
    )
    return ImageFolder(
        root,
        tuple(sorted({sample.label for sample in kept})),
        kept,
        tuple(dropped),
        tuple((samples[first].path, samples[second].path) for first, second in duplicates.near),
        _find_unused_classes(root, kept, dropped),
    )


def scan_ood(root: Path) -> list[Sample]:
    """Return the usable photos below a folder as OOD samples; raise DataError if there are none."""
    files = sorted(path for path, rejected in walk(root) if rejected is None)
    found = _inspect_files([Sample(path, OOD_LABEL) for path in files])
    samples = [photo[0] for photo in found if not isinstance(photo, Rejected)]
    if not samples:
        raise DataError(f"There is no photo in {root}.")
    return samples


def _find_unused_classes(
    root: Path, kept: tuple[Sample, ...], dropped: list[Dropped]
) -> dict[str, str]:
    """Find the class folders without a usable photo, and why."""
    unused = Counter(file.label for file in dropped)
    reasons = {file.label: file.reason for file in reversed(dropped)}
    names = {folder.name for _, folder in list_class_folders(root)}
    return {
        name: f"{plural(unused[name], 'file')} but no usable photo. The first: {reasons[name]}"
        if unused[name]
        else "there is no file in it."
        for name in sorted(names - {sample.label for sample in kept})
    }


def _read_index(root: Path) -> dict[str, dict[str, str]]:
    path = root / "index.csv"
    if not path.is_file():
        return {}
    try:
        # Excel writes a byte order mark, which utf-8-sig skips.
        with path.open(newline="", encoding="utf-8-sig") as opened:
            return {row["file"]: row for row in csv.DictReader(opened, restval="") if "file" in row}
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not UTF-8: save it as UTF-8.") from error


def _inspect_files(samples: list[Sample]) -> list[tuple[Sample, Fingerprint] | Rejected]:
    """Decode each photo; return the sample with its size and format, and the fingerprint."""

    def inspect(sample: Sample) -> tuple[Sample, Fingerprint] | Rejected:
        try:
            data = read(sample.path)
            photo = decode(data)
        except (ImageError, OSError) as error:
            return Rejected(sentence(error))
        sample = replace(sample, size=photo.image.size, format=photo.info.format)
        return sample, fingerprint(photo.image, hashlib.sha256(data).hexdigest())

    found = in_threads(inspect, samples)
    return list(track_progress(found, "Inspecting the photos", len(samples)))
