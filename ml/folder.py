"""An image folder: what is in it, what is left out and why, and how it is split. No torch.

`root/<class>/*` is split here; `root/{train,test}/<class>/*` is kept as it stands. A file
`root/index.csv` with the columns `file` and `group` may name photos that belong together (one
video, one shoot): they stay on one side of the split. Its other columns can be reported by.
"""

import csv
import hashlib
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import track

from ml.card import Split
from ml.cpus import usable_cpus
from ml.errors import DataError, ImageError
from ml.image import decode
from ml.similarity import Fingerprint, Pair, fingerprint, similar_pairs

Look = tuple[Fingerprint, tuple[int, int]] | str
OWN_SPLITS = ("train", "test")
NO_CLASS = ""


@dataclass(frozen=True)
class Sample:
    """One photo that is kept. `split` is empty until the folder is split."""

    path: Path
    label: str
    split: str = ""
    group: str = ""
    size: tuple[int, int] = (0, 0)
    columns: dict[str, str] = field(default_factory=dict, hash=False)


@dataclass(frozen=True)
class Dropped:
    """One file that is left out, and why."""

    path: Path
    reason: str


@dataclass(frozen=True)
class Folder:
    """A folder after a look at every file in it."""

    root: Path
    classes: tuple[str, ...]
    samples: tuple[Sample, ...]
    dropped: tuple[Dropped, ...]
    near_duplicates: tuple[tuple[Path, Path], ...]

    def of(self, split: str) -> list[Sample]:
        """Return the samples of one split, or of `all`."""
        return [sample for sample in self.samples if split in ("all", sample.split)]

    def summary(self) -> dict[str, Any]:
        """What `data.json` holds: counts, every photo's split, every file left out."""

        def name(path: Path) -> str:
            return path.relative_to(self.root).as_posix()

        counts = Counter((sample.split, sample.label) for sample in self.samples)
        return {
            "classes": list(self.classes),
            "counts": {
                split: {label: counts[split, label] for label in self.classes}
                for split in sorted({sample.split for sample in self.samples})
            },
            "sizes": _sizes(self.samples),
            "dropped": [{"file": name(d.path), "reason": d.reason} for d in self.dropped],
            "near_duplicates": [[name(a), name(b)] for a, b in self.near_duplicates],
            "files": {name(sample.path): sample.split for sample in self.samples},
        }


def _sizes(samples: tuple[Sample, ...]) -> dict[str, Any]:
    """Smallest, middle and largest of the photos' sides, in pixels."""
    sides = np.sort([sample.size for sample in samples], axis=1)  # (N, 2), the shorter first
    return {
        name: {"smallest": int(of.min()), "middle": int(np.median(of)), "largest": int(of.max())}
        for name, of in zip(("shorter_side", "longer_side"), sides.T, strict=True)
    } | {"share_under_224": float((sides[:, 0] < 224).mean())}


def scan(root: Path) -> Folder:
    """Decode every file once, leave out what is no photo, and group what looks alike.

    Of a picture that stands there several times the first is kept; of one file in two classes,
    neither. Near-duplicates that are no copies are kept, listed, and share a group; where the
    folder has a split of its own, those of its test photos leave its training photos.

    Raises:
        DataError: where there are not at least two classes with photos.
    """
    if not root.is_dir():
        raise DataError(f"There is no folder {root}.")
    files = _list(root)
    index = _read_index(root)
    samples, prints, dropped = [], [], []
    for file, look in zip(files, _look_at([file.path for file in files]), strict=True):
        if isinstance(look, str):
            dropped.append(Dropped(file.path, look))
        else:
            row = index.get(file.path.relative_to(root).as_posix(), {})
            group = row.get("group", "")
            samples.append(replace(file, group=group, size=look[1], columns=row))
            prints.append(look[0])
    pairs = similar_pairs(prints)
    samples = _grouped(samples, pairs)
    out = _copies(samples, pairs) | _leaks(samples, pairs)
    kept = tuple(sample for i, sample in enumerate(samples) if i not in out)
    return Folder(
        root,
        _classes(root, kept),
        kept,
        tuple(dropped) + tuple(Dropped(samples[i].path, why) for i, why in out.items()),
        tuple(
            (samples[pair.first].path, samples[pair.second].path)
            for pair in pairs
            if pair.first not in out and pair.second not in out
        ),
    )


def pictures_of_no_class(root: Path) -> list[Sample]:
    """Pictures that show none of the classes, from anywhere under a folder; what is none is not.

    Raises:
        DataError: where there is not one picture.
    """
    files = sorted(path for path in root.rglob("*") if path.is_file())
    looks = zip(files, _look_at(files), strict=True)
    samples = [Sample(file, NO_CLASS) for file, look in looks if not isinstance(look, str)]
    if not samples:
        raise DataError(f"There is no picture in {root}.")
    return samples


def divide(folder: Folder, split: Split) -> Folder:
    """Split a folder into train, validation and test; its own train and test are kept."""
    if split.test > 0:
        folder = _deal(folder, {"train": 1 - split.test, "test": split.test}, split.seed, of="")
    else:
        folder = _deal(folder, {"train": 1.0}, split.seed, of="")
    shares = {"train": 1 - split.validation, "validation": split.validation}
    return _deal(folder, shares, split.seed, of="train") if split.validation > 0 else folder


def _deal(folder: Folder, shares: dict[str, float], seed: int, of: str) -> Folder:
    """Deal the samples whose split is `of` out to named shares, class by class.

    Groups stay whole: a group goes to the share that is furthest from full, and where it fits
    in none, to the first. So name the training share first.
    """
    random = np.random.default_rng(seed)
    chosen: dict[str, str] = {}  # of each group; one that spans classes follows its first
    for label in folder.classes:
        groups: dict[str, list[Sample]] = {}
        for sample in folder.samples:
            if sample.label == label and sample.split == of:
                groups.setdefault(sample.group, []).append(sample)
        total = sum(map(len, groups.values()))
        room = {name: share * total for name, share in shares.items()}
        for key in random.permutation(sorted(groups)):
            members = groups[key]
            if key in chosen:
                continue
            fits = [name for name in room if room[name] + 0.5 >= len(members)]
            name = max(fits, key=lambda name: room[name] / shares[name]) if fits else [*shares][0]
            room[name] -= len(members)
            chosen[str(key)] = name
    samples = (
        replace(sample, split=chosen[sample.group]) if sample.split == of else sample
        for sample in folder.samples
    )
    return replace(folder, samples=tuple(samples))


def _list(root: Path) -> list[Sample]:
    """Every file of every class folder, in an order that does not depend on the disk."""
    own_split = all((root / name).is_dir() for name in OWN_SPLITS)
    folders = {path.name for path in root.iterdir() if path.is_dir()}
    if not own_split and {"train", "test"} & {name.lower() for name in folders}:
        raise DataError(
            f"{root} holds {', '.join(sorted(folders))}: a folder with a split of its own needs "
            "`train` and `test`, in small letters, with one folder per class in each."
        )
    return [
        Sample(path, label.name, name)
        for name in (OWN_SPLITS if own_split else ("",))
        for label in sorted((root / name).iterdir())
        if label.is_dir() and not label.name.startswith(".")
        for path in sorted(label.rglob("*"))
        if path.is_file() and not _hidden(path.relative_to(label))
    ]


def _hidden(path: Path) -> bool:
    return any(part.startswith(".") for part in path.parts)


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
    with ThreadPoolExecutor(usable_cpus()) as pool:
        looks = track(
            pool.map(_look, paths),
            "Looking at the photos",
            total=len(paths),
            console=Console(stderr=True),
            transient=True,
        )
        return list(looks)


def _look(path: Path) -> Look:
    """Fingerprint and size of a photo, or why the file is none."""
    try:
        data = path.read_bytes()
        image = decode(data).image
        return fingerprint(image, hashlib.sha256(data).hexdigest()), image.size
    except ImageError as error:
        return str(error)
    except OSError as error:
        return f"The file cannot be read: {error.strerror}."


def _copies(samples: list[Sample], pairs: list[Pair]) -> dict[int, str]:
    """Which samples to leave out as copies of another, and why."""
    out: dict[int, str] = {}
    for pair in pairs:
        first, second = samples[pair.first], samples[pair.second]
        if first.label != second.label and pair.identical:
            reason = "The same picture stands in two classes: {} and {}."
            out[pair.first] = out[pair.second] = reason.format(first.path.name, second.path.name)
        elif pair.copy and first.split == second.split:
            out.setdefault(pair.second, f"A copy of {first.path.name}.")
    return out


def _leaks(samples: list[Sample], pairs: list[Pair]) -> dict[int, str]:
    """Which training photos of a folder's own split to leave out, as the test set has the like."""
    return {
        pair.first: f"Looks like {samples[pair.second].path.name} of the test set."
        for pair in pairs  # in a folder's own split, train stands before test
        if samples[pair.first].split != samples[pair.second].split
    }


def _grouped(samples: list[Sample], pairs: list[Pair]) -> list[Sample]:
    """Give every sample its group: what `index.csv` says, joined with what looks alike."""
    parent = list(range(len(samples)))

    def root(i: int) -> int:
        while parent[i] != i:
            parent[i] = i = parent[parent[i]]
        return i

    first_of: dict[str, int] = {}
    links = [(pair.first, pair.second) for pair in pairs]
    for i, sample in enumerate(samples):
        if sample.group:
            links.append((first_of.setdefault(sample.group, i), i))
    for a, b in links:
        parent[max(root(a), root(b))] = min(root(a), root(b))
    return [replace(s, group=str(samples[root(i)].path)) for i, s in enumerate(samples)]


def _classes(root: Path, samples: tuple[Sample, ...]) -> tuple[str, ...]:
    classes = tuple(sorted({sample.label for sample in samples}))
    if len(classes) < 2:
        raise DataError(
            f"{root} holds photos of {len(classes)} classes, and at least 2 are needed: "
            "make one folder per class with its photos inside."
        )
    return classes
