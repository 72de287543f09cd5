from pathlib import Path

import numpy as np

from ml.data.duplicates import Duplicates, find_duplicates
from ml.data.sample import Sample
from ml.data.similarity import Fingerprint

FRAME = 70  # brightness that a photo of its own has more than another
SHADE = 4  # that near-duplicates differ in


def find(*photos: tuple[str, str, int], groups: tuple[str, ...] = ()) -> Duplicates:
    """Of (place, content of the file, brightness), with `split/class/name` for a place."""
    samples, prints = [], []
    for (place, content, brightness), group in zip(
        photos, groups or [""] * len(photos), strict=True
    ):
        split, label, name = place.split("/")
        samples.append(Sample(Path(label, name), label, split, group))
        thumbnail = np.full((24, 24, 3), brightness, np.uint8)
        prints.append(Fingerprint(content, np.zeros(8, np.uint64), thumbnail))
    return find_duplicates(samples, prints)


def test_the_first_of_each_picture_stays() -> None:
    found = find(("/a/0", "x", 0), ("/a/1", "x", 0), ("/a/2", "y", 1), ("/b/3", "z", FRAME))
    assert found.out == {1: "A copy of 0.", 2: "A copy of 0."}
    assert found.groups == [0, 0, 0, 3]
    assert found.near == []


def test_one_file_in_two_classes_is_in_neither() -> None:
    found = find(("/a/0", "x", 0), ("/a/1", "x", 0), ("/b/2", "x", 0), ("/a/3", "y", FRAME))
    assert found.out == dict.fromkeys(
        range(3), "The same picture stands in two classes: a/0 and b/2."
    )


def test_one_picture_in_two_classes_is_in_neither() -> None:
    found = find(("/a/0", "x", 0), ("/b/1", "y", 1), ("/a/2", "z", FRAME))
    assert found.out == dict.fromkeys(
        range(2), "The same picture stands in two classes: a/0 and b/1."
    )


def test_near_duplicates_are_listed_once_each_with_the_first() -> None:
    found = find(*((f"/a/{i}", f"{i}", SHADE if i % 2 else 0) for i in range(2)), ("/a/2", "2", 9))
    assert found.out == {}
    assert found.near == [(0, 1), (1, 2)]
    assert found.groups == [0, 0, 0]


def test_what_looks_like_a_test_photo_leaves_training() -> None:
    found = find(("train/a/0", "x", 0), ("train/a/1", "y", SHADE), ("test/a/2", "x", 0))
    assert found.out == dict.fromkeys((0, 1), "Looks like 2 of the test set.")


def test_what_is_of_a_test_photos_group_leaves_training() -> None:
    places = ("train/a/0", "train/b/1", "test/a/2", "train/a/3", "test/a/4")
    photos = ((place, place, i * 60) for i, place in enumerate(places))
    found = find(*photos, groups=("video", "video", "video", "other", ""))
    assert found.out == dict.fromkeys((0, 1), "Of the same group as 2 of the test set.")


def test_a_placeholder_that_stands_there_thousands_of_times() -> None:
    """Compared pair by pair this would be 200 million pairs."""
    found = find(*((f"/a/{i}", "not available", 0) for i in range(20_000)), ("/b/x", "y", FRAME))
    assert len(found.out) == 19_999
    assert set(found.groups) == {0, 20_000}
