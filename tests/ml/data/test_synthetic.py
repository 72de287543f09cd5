"""The synthetic set is reproducible and complete, and its boxes are correct."""

import csv
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ml.data.synthetic import CLASSES, draw, synthesize


def _contents(folder: Path) -> dict[str, bytes]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def _index(folder: Path) -> list[dict[str, str]]:
    with (folder / "index.csv").open(newline="", encoding="utf-8") as index:
        return list(csv.DictReader(index))


def test_same_seed_gives_the_same_bytes(tmp_path: Path) -> None:
    synthesize(tmp_path / "once", images_per_class=3, seed=7)
    synthesize(tmp_path / "again", images_per_class=3, seed=7)
    assert _contents(tmp_path / "once") == _contents(tmp_path / "again")


def test_another_seed_gives_other_pictures(tmp_path: Path) -> None:
    synthesize(tmp_path / "one", images_per_class=1, seed=1)
    synthesize(tmp_path / "two", images_per_class=1, seed=2)
    one, two = _contents(tmp_path / "one"), _contents(tmp_path / "two")
    assert all(one[name] != two[name] for name in one)


def test_asking_for_more_keeps_the_first_images(tmp_path: Path) -> None:
    synthesize(tmp_path / "few", images_per_class=2)
    synthesize(tmp_path / "many", images_per_class=4)
    few, many = _contents(tmp_path / "few"), _contents(tmp_path / "many")
    assert all(many[name] == few[name] for name in few if name != "index.csv")


def test_index_lists_every_image_once_with_a_box_inside_it(tmp_path: Path) -> None:
    synthesize(tmp_path, images_per_class=5)
    rows = _index(tmp_path)
    images = sorted(path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*.jpg"))
    assert sorted(row["file"] for row in rows) == images
    assert len(images) == 5 * len(CLASSES)
    for row in rows:
        with Image.open(tmp_path / row["file"]) as image:
            image.load()
        x0, y0, x1, y1 = (int(row[side]) for side in ("x0", "y0", "x1", "y1"))
        assert 0 <= x0 < x1 <= image.width
        assert 0 <= y0 < y1 <= image.height


def test_folders_are_the_classes(tmp_path: Path) -> None:
    synthesize(tmp_path, images_per_class=1)
    assert {path.name for path in tmp_path.iterdir() if path.is_dir()} == set(CLASSES)
    assert (tmp_path / "Flying Birds" / "flying-birds-0001.jpg").is_file()


@pytest.mark.parametrize("label", CLASSES)
def test_the_box_contains_the_object(label: str) -> None:
    for seed in range(20):
        image, (x0, y0, x1, y1) = draw(label, np.random.default_rng(seed))
        steps = np.gradient(np.asarray(image.convert("L"), dtype=float))
        energy = np.square(steps).sum(axis=0)
        inside = np.zeros(energy.shape, dtype=bool)
        inside[y0:y1, x0:x1] = True
        assert energy[inside].mean() > energy[~inside].mean(), f"seed {seed}"
