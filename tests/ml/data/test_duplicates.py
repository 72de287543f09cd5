from pathlib import Path

import numpy as np

from ml.data.duplicates import Duplicates, find_duplicates
from ml.data.sample import Sample
from ml.data.similarity import Fingerprint

DIFFERENT = 70  # difference of brightness between unrelated photos
SIMILAR = 4  # difference of brightness between near-duplicates


def find(*photos: tuple[str, str, int], groups: tuple[str, ...] = ()) -> Duplicates:
    """Compare photos given as (`split/class/name`, content of the file, brightness)."""
    samples, prints = [], []
    for (place, content, brightness), group in zip(
        photos, groups or [""] * len(photos), strict=True
    ):
        split, label, name = place.split("/")
        samples.append(Sample(Path(label, name), label, split, group))
        thumbnail = np.full((24, 24, 3), brightness, np.uint8)
        prints.append(Fingerprint(content, np.zeros(8, np.uint64), thumbnail))
    return find_duplicates(samples, prints)


def test_the_first_of_several_copies_is_kept() -> None:
    found = find(("/a/0", "x", 0), ("/a/1", "x", 0), ("/a/2", "y", 1), ("/b/3", "z", DIFFERENT))
    assert found.dropped == {1: "A copy of 0.", 2: "A copy of 0."}
    assert found.groups == [0, 0, 0, 3]
    assert found.near == []


def test_identical_files_in_two_classes_are_dropped() -> None:
    found = find(("/a/0", "x", 0), ("/a/1", "x", 0), ("/b/2", "x", 0), ("/a/3", "y", DIFFERENT))
    assert found.dropped == dict.fromkeys(
        range(3), "The same picture is in two classes: a/0 and b/2."
    )


def test_copies_in_two_classes_are_dropped() -> None:
    found = find(("/a/0", "x", 0), ("/b/1", "y", 1), ("/a/2", "z", DIFFERENT))
    assert found.dropped == dict.fromkeys(
        range(2), "The same picture is in two classes: a/0 and b/1."
    )


def test_near_duplicates_are_listed_once_with_the_earliest() -> None:
    found = find(
        *((f"/a/{i}", f"{i}", SIMILAR if i % 2 else 0) for i in range(2)), ("/a/2", "2", 9)
    )
    assert found.dropped == {}
    assert found.near == [(0, 1), (1, 2)]
    assert found.groups == [0, 0, 0]


def test_training_photos_similar_to_test_photos_are_dropped() -> None:
    found = find(("train/a/0", "x", 0), ("train/a/1", "y", SIMILAR), ("test/a/2", "x", 0))
    assert found.dropped == dict.fromkeys((0, 1), "Looks like 2 of the test set.")


def test_training_photos_in_a_group_of_a_test_photo_are_dropped() -> None:
    places = ("train/a/0", "train/b/1", "test/a/2", "train/a/3", "test/a/4")
    photos = ((place, place, i * 60) for i, place in enumerate(places))
    found = find(*photos, groups=("video", "video", "video", "other", ""))
    assert found.dropped == dict.fromkeys((0, 1), "In the same group as 2 of the test set.")


def test_twenty_thousand_identical_files() -> None:
    """Compared pair by pair this would be 200 million pairs."""
    found = find(
        *((f"/a/{i}", "not available", 0) for i in range(20_000)), ("/b/x", "y", DIFFERENT)
    )
    assert len(found.dropped) == 19_999
    assert set(found.groups) == {0, 20_000}
