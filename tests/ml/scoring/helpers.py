"""Make photos to score, and read the results."""

from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
from PIL import Image
from rich.console import Console

from ml.engines.loader import open_best
from ml.scoring.local import score, score_locally
from tests.ml.colours import CLASSES

QUIET = Console(quiet=True)


def colour(path: Path) -> str:
    """Return the colour of a photo of `many_photos` from its name."""
    return CLASSES[int(path.stem) % 200 % 3]


def many_photos(folder: Path, count: int) -> Path:
    """Make a folder of `count` small photos of one colour each; after 200, they are hard links."""
    folder.mkdir()
    paths = [folder / f"{number:05}.jpg" for number in range(count)]
    for number, path in enumerate(paths):
        if number < 200:
            channels = [200 if name == colour(path) else number // 2 for name in CLASSES]
            Image.new("RGB", (64, 64), tuple(channels)).save(path)
        else:
            path.hardlink_to(paths[number % 200])
    return folder


def score_folder(source: Path, model: Path) -> list[dict[str, object]]:
    """Score a folder and return the rows of the result."""
    output = source.parent / "out.parquet"
    score([str(source)], output, open_best(model), QUIET, score_locally)
    rows: list[dict[str, object]] = pq.read_table(output).to_pylist()
    return rows


def raise_next(errors: list[Any]) -> None:
    """Raise the last error of a list and remove it; do nothing if the list is empty."""
    if errors:
        raise errors.pop()
