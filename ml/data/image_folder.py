"""An image folder: what is in it, what is left out and why, and how it is split. No torch.

`root/<class>/*` is split here; `root/{train,test}/<class>/*` is kept as it stands. A file
`root/index.csv` with the columns `file` and `group` may name photos that belong together (one
video, one shoot): they stay on one side of the split. Its other columns can be reported by.
"""

import csv
import hashlib
from collections import Counter
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from ml.cpus import on_all_cpus
from ml.data.duplicates import find_duplicates
from ml.data.sample import Dropped, Sample
from ml.data.similarity import Fingerprint, fingerprint
from ml.errors import DataError, ImageError, sentence
from ml.files import walk
from ml.images.decode import decode, read
from ml.progress import track_progress

Look = tuple[Fingerprint, tuple[int, int], str] | str  # with size and format; or why there is none
OWN_SPLITS = ("train", "test")
OOD_LABEL = ""


@dataclass(frozen=True)
class ImageFolder:
    """A folder after a look at every file in it."""

    root: Path
    classes: tuple[str, ...]
    samples: tuple[Sample, ...]
    dropped: tuple[Dropped, ...]
    near_duplicates: tuple[tuple[Path, Path], ...]
    """Kept photos that look alike: each once, with the first that it looks like."""
    classes_left_out: dict[str, str] = field(default_factory=dict)
    """Class folders without a photo that can be used, and why."""
    ood: tuple[Sample, ...] = ()
    """Pictures of none of the classes, from elsewhere, that teach to refuse the like of them."""

    def of(self, split: str) -> list[Sample]:
        """Return the samples of one split, or of `all`."""
        return [sample for sample in self.samples if split in ("all", sample.split)]

    def summary(self) -> dict[str, Any]:
        """What `data.json` holds: counts, every photo's split and group, every file left out."""

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
    """Smallest, middle and largest of the photos' sides, in pixels."""
    if not samples:
        return {}
    sides = np.sort([sample.size for sample in samples], axis=1)  # (N, 2), the shorter first
    return {
        name: {"smallest": int(of.min()), "middle": int(np.median(of)), "largest": int(of.max())}
        for name, of in zip(("shorter_side", "longer_side"), sides.T, strict=True)
    } | {"share_under_224": float((sides[:, 0] < 224).mean())}


def scan(root: Path) -> ImageFolder:
    """Decode every file once, leave out what is no photo, and group what looks alike.

    Of a picture that stands there several times the first is kept; of one picture in two classes,
    neither. Near-duplicates that are no copies are kept, listed, and share a group; where the
    folder has a split of its own, those of its test photos leave its training photos, and so does
    what is of their groups.

    Raises:
        DataError: where there is no folder, or half a split.
    """
    listed, dropped = list_files(root)
    index = _read_index(root)
    samples, prints = [], []
    for file, look in zip(listed, _look_at([file.path for file in listed]), strict=True):
        if isinstance(look, str):
            dropped.append(Dropped(file.path, look, file.label))
        else:
            row = index.get(file.path.relative_to(root).as_posix(), {})
            found, size, format = look
            group = row.get("group", "")
            samples.append(replace(file, group=group, size=size, format=format, columns=row))
            prints.append(found)
    with Console(stderr=True).status("Comparing the photos"):
        double = find_duplicates(samples, prints)
    dropped += [Dropped(samples[i].path, why, samples[i].label) for i, why in double.out.items()]
    kept = tuple(
        replace(sample, group=str(samples[first].path))
        for i, (sample, first) in enumerate(zip(samples, double.groups, strict=True))
        if i not in double.out
    )
    return ImageFolder(
        root,
        tuple(sorted({sample.label for sample in kept})),
        kept,
        tuple(dropped),
        tuple((samples[first].path, samples[second].path) for first, second in double.near),
        _left_out(root, kept, dropped),
    )


def class_of(file: str) -> str:
    """The class of a file, by its place in the folder as `data.json` names it."""
    parts = file.split("/")
    return parts[1] if parts[0] in OWN_SPLITS else parts[0]


def scan_ood(root: Path) -> list[Sample]:
    """Pictures that show none of the classes, from anywhere under a folder; what is none is not.

    Raises:
        DataError: where there is not one picture.
    """
    files = sorted(path for path, fault in walk(root) if not fault)
    looks = zip(files, _look_at(files), strict=True)
    samples = [Sample(file, OOD_LABEL) for file, look in looks if not isinstance(look, str)]
    if not samples:
        raise DataError(f"There is no picture in {root}.")
    return samples


def list_files(root: Path) -> tuple[list[Sample], list[Dropped]]:
    """Find every file of every class folder, in an order that does not depend on the disk.

    Raises:
        DataError: where there is no folder, or half a split.
    """
    if not root.is_dir():
        raise DataError(f"There is no folder {root}.")
    files, dropped = [], []
    for split, folder in _class_folders(root):
        if root.resolve().is_relative_to(folder.resolve()):
            reason = "A link back to the folder that it stands in is not followed."
            dropped.append(Dropped(folder, reason, folder.name))
            continue
        for path, fault in sorted(walk(folder)):
            if not _in_utf8(str(path.relative_to(root))):
                fault = "The name of the file or of its folder is not in UTF-8: rename it."
            if fault:
                dropped.append(Dropped(path, fault, folder.name))
            else:
                files.append(Sample(path, folder.name, split))
    return files, dropped


def _class_folders(root: Path) -> list[tuple[str, Path]]:
    """The class folders, each with the split that it stands in; `""` where there is none."""
    own_split = all((root / name).is_dir() for name in OWN_SPLITS)
    folders = {path.name for path in root.iterdir() if path.is_dir()}
    if not own_split and {"train", "test"} & {name.lower() for name in folders}:
        raise DataError(
            f"{root} holds {', '.join(sorted(folders))}: a folder with a split of its own needs "
            "`train` and `test`, in small letters, with one folder per class in each."
        )
    found = [
        (split, folder)
        for split in (OWN_SPLITS if own_split else ("",))
        for folder in sorted((root / split).iterdir())
        if folder.is_dir() and not folder.name.startswith(".")
    ]
    for _, folder in found:
        if not _in_utf8(folder.name):
            raise DataError(f"The class folder {folder.name!a} is not named in UTF-8: rename it.")
    return found


def _in_utf8(name: str) -> bool:
    return name == name.encode(errors="replace").decode()


def _left_out(root: Path, kept: tuple[Sample, ...], dropped: list[Dropped]) -> dict[str, str]:
    """The class folders of which no photo is kept, and why."""
    unused = Counter(file.label for file in dropped)
    reasons = {file.label: file.reason for file in reversed(dropped)}
    names = {folder.name for _, folder in _class_folders(root)}
    return {
        name: f"none of its {unused[name]} files can be used; the first: {reasons[name]}"
        if unused[name]
        else "there is no file in its folder."
        for name in sorted(names - {sample.label for sample in kept})
    }


def _read_index(root: Path) -> dict[str, dict[str, str]]:
    path = root / "index.csv"
    if not path.is_file():
        return {}
    try:
        with path.open(newline="", encoding="utf-8-sig") as opened:  # Excel writes a BOM
            return {row["file"]: row for row in csv.DictReader(opened, restval="") if "file" in row}
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not in UTF-8. Save it as UTF-8.") from error


def _look_at(paths: list[Path]) -> list[Look]:
    """Look at every file, on all cores."""
    return list(track_progress(on_all_cpus(_look, paths), "Looking at the photos", len(paths)))


def _look(path: Path) -> Look:
    """Fingerprint, size and format of a photo, or why the file is none."""
    try:
        data = read(path)
        photo = decode(data)
    except (ImageError, OSError) as error:
        return sentence(error)
    print = fingerprint(photo.image, hashlib.sha256(data).hexdigest())
    return print, photo.image.size, photo.info.format
