"""Helpers for all tests. Photos are generated."""

import struct
import zlib
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


def png(width: int, height: int) -> bytes:
    """A small PNG whose valid header claims any size."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    data = zlib.compress(bytes(40_000_000))
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")
    )
