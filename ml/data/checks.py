"""Warnings about an image folder, given before training on it."""

from collections import Counter

from ml.data.image_folder import ImageFolder
from ml.errors import listing

FEW, LOPSIDED, SMALL = 20, 10, 64
"""Warn of classes with fewer photos; of classes this many times another; of shorter sides."""


def warnings(folder: ImageFolder) -> list[str]:
    """What to know before training on a folder that is split; a sentence each."""
    counts = Counter(sample.label for sample in folder.samples)
    found = [f"Not a class: {name}, {why}" for name, why in folder.classes_left_out.items()]
    if len(folder.classes) < 2:
        found.append("At least 2 classes are needed: one folder per class with its photos inside.")
    if few := [label for label in folder.classes if counts[label] < FEW]:
        found.append(f"Fewer than {FEW} photos of: {listing(few)}. Figures of them say little.")
    if counts and max(counts.values()) >= LOPSIDED * min(counts.values()):
        most, least = max(counts, key=counts.__getitem__), min(counts, key=counts.__getitem__)
        found.append(
            f"Lopsided: {counts[most]} photos of {most}, {counts[least]} of {least}. "
            "Rare classes weigh more in training, yet more photos of them are better."
        )
    for split in ("validation", "test"):
        unseen = set(folder.classes) - {sample.label for sample in folder.of(split)}
        if len(unseen) == len(folder.classes):
            found.append(f"There are no photos for {split}.")
        elif unseen:
            found.append(f"No photos for {split} of: {listing(sorted(unseen))}.")
    if small := sum(0 < min(sample.size) < SMALL for sample in folder.samples):
        found.append(f"{small} photos are less than {SMALL} pixels wide or high.")
    return found
