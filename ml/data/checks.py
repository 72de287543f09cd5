"""Warn about problems of an image folder before training on it."""

from collections import Counter

from ml.data.image_folder import ImageFolder
from ml.errors import listing, plural

MIN_PHOTOS = 20  # warn about classes with fewer photos than this
IMBALANCE = 10  # warn if the largest class has this many times the photos of the smallest, or more
MIN_SIDE = 64  # warn about photos whose shorter side has fewer pixels than this


def warnings(folder: ImageFolder) -> list[str]:
    """Check a folder that has been split; return each warning as a sentence."""
    counts = Counter(sample.label for sample in folder.samples)
    found = [
        f"The folder {name} is not used as a class: {reason}"
        for name, reason in folder.classes_left_out.items()
    ]
    if len(folder.classes) < 2:
        found.append(
            "At least 2 classes are needed: put the photos of each class in a folder of their own."
        )
    if few := [label for label in folder.classes if counts[label] < MIN_PHOTOS]:
        found.append(
            f"Fewer than {MIN_PHOTOS} photos of: {listing(few)}. Their metrics are unreliable."
        )
    if counts and max(counts.values()) >= IMBALANCE * min(counts.values()):
        most, least = max(counts, key=counts.__getitem__), min(counts, key=counts.__getitem__)
        found.append(
            f"The classes are imbalanced: {plural(counts[most], 'photo')} of {most}, "
            f"{counts[least]} of {least}. Training gives rare classes more weight, but more "
            "photos of them would be better."
        )
    for split in ("validation", "test"):
        unseen = set(folder.classes) - {sample.label for sample in folder.of(split)}
        if len(unseen) == len(folder.classes):
            found.append(f"There are no {split} photos.")
        elif unseen:
            found.append(f"There are no {split} photos of: {listing(sorted(unseen))}.")
    if small := sum(0 < min(sample.size) < MIN_SIDE for sample in folder.samples):
        found.append(f"Less than {MIN_SIDE} pixels wide or high: {plural(small, 'photo')}.")
    return found
