"""Write handwritten digits as photos of many sizes: a data set on which no default was tuned.

    python weights/digits.py FOLDER
    python -m ml train FOLDER

The digits come with scikit-learn (Alpaydin & Kaynak 1998, https://doi.org/10.24432/C50P49); each
has 8 x 8 grey levels. The classes are imbalanced, from 178 pictures of zero to 35 of nine. The
sides range from 40 to 480 pixels.
"""

import random
from pathlib import Path

import numpy as np
import typer
from PIL import Image
from sklearn.datasets import load_digits

NAMES = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")


def main(folder: Path) -> None:
    """Write the image folder."""
    digits, generator = load_digits(), random.Random(1)
    for digit, name in enumerate(NAMES):
        (folder / name).mkdir(parents=True, exist_ok=True)
        numbers = np.flatnonzero(digits.target == digit)
        for number in numbers[: int(len(numbers) / (1 + 0.45 * digit))]:
            grey = Image.fromarray((255 - digits.images[number] * 255 / 16).astype(np.uint8))
            width = generator.randint(40, 400)
            height = int(width * generator.uniform(0.8, 1.25))
            photo = grey.resize((width, height), Image.Resampling.BICUBIC).convert("RGB")
            photo.save(folder / name / f"{number:04}.jpg", quality=generator.randint(60, 95))


if __name__ == "__main__":
    typer.run(main)
