"""Helpers for all tests."""

from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from ml.data.synthetic import draw

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
NO_RAY = "Ray: pip install --constraint constraints.txt --editable '.[ray]'"


def encoded(image: Image.Image, format: str, **options: Any) -> bytes:
    """An image file's bytes."""
    buffer = BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()


def picture(label: str = "Flying Birds", seed: int = 1) -> Image.Image:
    """A drawn picture of a class."""
    return draw(label, np.random.default_rng(seed))[0]
