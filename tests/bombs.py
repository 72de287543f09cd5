"""Image files that cost far more than their bytes and pixels allow, one per kind."""

import struct
import zlib
from collections.abc import Callable
from typing import Any

from PIL import Image

from tests.helpers import encoded, picture
from tests.image_files import jpeg_with

RATIONALS = 1_000_000


def tiff(entries: dict[int, tuple[int, list[int]]], data: bytes) -> bytes:
    """A TIFF of one page; its data begins at byte 8. Kinds are 1 (BYTE), 3 (SHORT), 4 (LONG)."""
    data += b"\0" * (len(data) & 1)
    at, tail = 8 + len(data), b""
    directory = struct.pack("<H", len(entries))
    for tag, (kind, values) in sorted(entries.items()):
        raw = struct.pack(f"<{len(values)}{ {1: 'B', 3: 'H', 4: 'I'}[kind] }", *values)
        if len(raw) > 4:
            start = at + 6 + 12 * len(entries) + len(tail)
            raw, tail = struct.pack("<I", start), tail + raw
        directory += struct.pack("<HHI", tag, kind, len(values)) + raw.ljust(4, b"\0")
    return b"II*\0" + struct.pack("<I", at) + data + directory + bytes(4) + tail


def _gray(width: int, height: int, compression: int) -> dict[int, tuple[int, list[int]]]:
    values = {256: width, 257: height, 258: 8, 259: compression, 262: 1, 277: 1}
    return {tag: (3, [value]) for tag, value in values.items()}


def strips(kind: int, count: int = 1_000_000) -> bytes:
    """A TIFF of 1x2 pixels and a million strips."""
    return tiff(_gray(1, 2, 1) | {278: (4, [1]), 273: (kind, [8] * count), 279: (4, [1])}, b"U" * 8)


def tiles() -> bytes:
    """A TIFF of 16x32 pixels and eight million tiles."""
    sides = {322: (3, [16]), 323: (3, [16])}
    places = {324: (1, [8] * 8_000_000), 325: (4, [256])}
    return tiff(_gray(16, 32, 1) | sides | places, bytes(256))


def large_tile() -> bytes:
    """A TIFF of 64x64 pixels in a tile of 30000x30000."""
    pack = zlib.compressobj(9)
    data = b"".join(pack.compress(bytes(30_000)) for _ in range(30_000)) + pack.flush()
    sides = {322: (3, [30_000]), 323: (3, [30_000])}
    return tiff(_gray(64, 64, 8) | sides | {324: (4, [8]), 325: (4, [len(data)])}, data)


def hidden_size() -> bytes:
    """An AVIF whose container says 64x64 and whose content has 5000x5000 pixels."""
    image = Image.new("RGB", (5000, 5000), (1, 200, 3))
    data = encoded(image, "AVIF", speed=10, quality=10, subsampling="4:4:4")
    return data.replace(struct.pack(">II", 8000, 8000), struct.pack(">II", 64, 64), 1)


def comments() -> bytes:
    """A GIF with ten million blocks of one byte."""
    data = encoded(picture().convert("P"), "GIF")
    at = 13 + 3 * 2 ** ((data[10] & 7) + 1)
    return data[:at] + b"!\xfe" + b"\x01a" * 9_000_000 + b"\0" + data[at:]


def runs(width: int = 7000, height: int = 7000) -> bytes:
    """A BMP that stores one pixel of each row."""
    palette = bytes(value for i in range(256) for value in (i, 255 - i, i, 0))
    data, at = b"\1\5\0\0" * height + b"\0\1", 54 + len(palette)
    info = struct.pack("<IiiHHIIiiII", 40, width, height, 1, 8, 1, len(data), 0, 0, 256, 0)
    return b"BM" + struct.pack("<IHHI", at + len(data), 0, 0, at) + info + palette + data


def rationals(order: str = "<") -> bytes:
    """EXIF with the orientation 6 and a resolution of a million numbers."""
    mark = b"II" if order == "<" else b"MM"
    entries = struct.pack(f"{order}HHIHH", 0x0112, 3, 1, 6, 0)
    entries += struct.pack(f"{order}HHII", 0x011A, 5, RATIONALS, 8 + 2 + 24 + 4)
    numbers = struct.pack(f"{order}II", 1, 3) * RATIONALS
    return b"Exif\0\0" + mark + struct.pack(f"{order}HIH", 42, 8, 2) + entries + bytes(4) + numbers


def tiff_rationals() -> bytes:
    """A TIFF of which one tag has a million numbers."""
    data = tiff(_gray(16, 16, 1) | {273: (4, [8]), 279: (4, [256]), 282: (4, [1] * 2)}, bytes(256))
    entry = data.index(struct.pack("<HHI", 282, 4, 2))
    place = struct.pack("<HHII", 282, 5, RATIONALS, len(data))
    return data[:entry] + place + data[entry + 12 :] + struct.pack("<II", 1, 3) * RATIONALS


def flat(mode: str, size: tuple[int, int], format: str, **options: Any) -> bytes:
    """A black image."""
    return encoded(Image.new(mode, size), format, **options)


_COSTLY, _SIZE, _ANSWERED = "than a file of its size may", "pixels", ""

BOMBS: dict[str, tuple[Callable[[], bytes], str]] = {
    "TIFF, strips as BYTE": (lambda: strips(1, 8_000_000), _COSTLY),
    "TIFF, strips as SHORT": (lambda: strips(3), _COSTLY),
    "TIFF, strips as LONG": (lambda: strips(4), _COSTLY),
    "TIFF, tiles": (tiles, _COSTLY),
    "TIFF, a large tile": (large_tile, _COSTLY),
    "TIFF, rationals": (tiff_rationals, _COSTLY),
    "TIFF of floats, 1xN": (lambda: flat("F", (1, 40_000), "TIFF"), _SIZE),
    "TIFF of floats": (lambda: flat("F", (6000, 6000), "TIFF", compression="packbits"), _ANSWERED),
    "AVIF, another size inside": (hidden_size, _SIZE),
    "PNG, 1xN": (lambda: flat("L", (1, 49_000_000), "PNG"), _SIZE),
    "PNG, large": (lambda: flat("RGBA", (7000, 7000), "PNG", compress_level=1), _ANSWERED),
    "PNG, EXIF": (lambda: flat("L", (64, 48), "PNG", exif=rationals()), _ANSWERED),
    "WebP, EXIF": (lambda: flat("RGB", (64, 48), "WebP", exif=rationals(">")), _ANSWERED),
    "WebP, large": (lambda: flat("RGB", (7000, 7000), "WebP", lossless=True, method=0), _SIZE),
    "JPEG, EXIF": (lambda: jpeg_with(0xE1, rationals()[:65_000], times=300), _ANSWERED),
    "JPEG, long": (lambda: flat("L", (65_500, 760), "JPEG", progressive=True), _SIZE),
    "JPEG, large": (lambda: flat("RGB", (7000, 7000), "JPEG", progressive=True), _ANSWERED),
    "GIF, comments": (comments, _COSTLY),
    "BMP, runs": (runs, _COSTLY),
}
"""The worst file of each kind, and part of the error message; empty if it is accepted."""
