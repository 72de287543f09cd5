"""Split an image folder into train, validation and test."""

from dataclasses import replace

import numpy as np

from ml.data.image_folder import ImageFolder
from ml.data.sample import Sample
from ml.models.card import Split


def split_folder(folder: ImageFolder, split: Split) -> ImageFolder:
    """Split a folder into train, validation and test; keep its own train and test folders."""
    parts = {"train": 1 - split.test, "test": split.test}
    folder = _assign_groups(folder, parts, split.seed, source="")
    parts = {"train": 1 - split.validation, "validation": split.validation}
    return _assign_groups(folder, parts, split.seed, source="train")


def _assign_groups(
    folder: ImageFolder, parts: dict[str, float], seed: int, source: str
) -> ImageFolder:
    """Divide the samples whose split is `source` into parts of the given fractions, by class.

    A group is never divided. It is assigned to the part with the largest free fraction, or to
    the first part if it fits into none. Pass the training part first.
    """
    random = np.random.default_rng(seed)
    chosen: dict[str, str] = {}  # by group; a group of several classes follows the first class
    groups_of: dict[str, dict[str, list[Sample]]] = {label: {} for label in folder.classes}
    for sample in folder.samples:
        if sample.split == source:
            groups_of[sample.label].setdefault(sample.group, []).append(sample)
    for groups in groups_of.values():
        total = sum(map(len, groups.values()))
        room = {name: fraction * total for name, fraction in parts.items() if fraction}
        for key in random.permutation(sorted(groups)):
            members = groups[key]
            if key in chosen:
                continue
            fits = [name for name in room if room[name] + 0.5 >= len(members)]
            name = max(fits, key=lambda name: room[name] / parts[name]) if fits else [*parts][0]
            room[name] -= len(members)
            chosen[str(key)] = name
    samples = (
        replace(sample, split=chosen[sample.group]) if sample.split == source else sample
        for sample in folder.samples
    )
    return replace(folder, samples=tuple(samples))
