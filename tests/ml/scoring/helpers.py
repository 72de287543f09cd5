"""Photos to score, and what became of them."""

from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
from PIL import Image
from rich.console import Console

from ml.scoring.local import choose, here, score
from tests.ml.colours import CLASSES

QUIET = Console(quiet=True)


def colour(path: Path) -> str:
    """What is on a photo of `many`, by its name."""
    return CLASSES[int(path.stem) % 200 % 3]


def many(folder: Path, count: int) -> Path:
    """A folder with so many names for 200 different small photos, each of one colour."""
    folder.mkdir()
    paths = [folder / f"{number:05}.jpg" for number in range(count)]
    for number, path in enumerate(paths):
        if number < 200:
            channels = [200 if name == colour(path) else number // 2 for name in CLASSES]
            Image.new("RGB", (64, 64), tuple(channels)).save(path)
        else:
            path.hardlink_to(paths[number % 200])
    return folder


def answers(source: Path, model: Path) -> list[dict[str, object]]:
    output = source.parent / "out.parquet"
    score([str(source)], output, choose(model), QUIET, here)
    rows: list[dict[str, object]] = pq.read_table(output).to_pylist()
    return rows


def fail(faults: list[Any]) -> None:
    if faults:
        raise faults.pop()
