"""Splitting an image folder into train, validation and test."""

from dataclasses import replace

import numpy as np

from ml.data.image_folder import ImageFolder
from ml.data.sample import Sample
from ml.models.card import Split


def split_folder(folder: ImageFolder, split: Split) -> ImageFolder:
    """Split a folder into train, validation and test; its own train and test are kept."""
    if split.test > 0:
        folder = _deal(folder, {"train": 1 - split.test, "test": split.test}, split.seed, of="")
    else:
        folder = _deal(folder, {"train": 1.0}, split.seed, of="")
    shares = {"train": 1 - split.validation, "validation": split.validation}
    return _deal(folder, shares, split.seed, of="train") if split.validation > 0 else folder


def _deal(folder: ImageFolder, shares: dict[str, float], seed: int, of: str) -> ImageFolder:
    """Deal the samples whose split is `of` out to named shares, class by class.

    Groups stay whole: a group goes to the share that is furthest from full, and where it fits
    in none, to the first. So name the training share first.
    """
    random = np.random.default_rng(seed)
    chosen: dict[str, str] = {}  # of each group; one that spans classes follows its first
    members_of: dict[str, dict[str, list[Sample]]] = {label: {} for label in folder.classes}
    for sample in folder.samples:
        if sample.split == of:
            members_of[sample.label].setdefault(sample.group, []).append(sample)
    for groups in members_of.values():
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
