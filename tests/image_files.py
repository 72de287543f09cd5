"""Images and image files of unusual structure, built byte by byte."""

import struct
import zlib

import numpy as np
from PIL import Image

from tests.helpers import encoded


def pattern(width: int = 48, height: int = 40) -> Image.Image:
    """An image with colours, edges and noise, on which decoders differ."""
    noise = np.random.default_rng(width * height).integers(0, 60, (height, width, 3))
    noise[: height // 2, : width // 3] += (150, 0, 60)
    noise[height // 3 :, width // 2 :] += (0, 190, 20)
    return Image.fromarray(noise.astype(np.uint8))


def animated(format: str) -> bytes:
    """An animation of three frames."""
    frames = [pattern().rotate(turn) for turn in (0, 90, 180)]
    return encoded(frames[0], format, save_all=True, append_images=frames[1:])


def gray16() -> Image.Image:
    """A grey image with 16 bits per pixel."""
    return Image.fromarray(np.asarray(pattern().convert("L")).astype(np.uint16) * 257)


def directories(entries: list[int], order: str = "<", big: bool = False) -> bytes:
    """A TIFF of directories only; `entries` has the number of empty entries in each directory."""
    count, link, size = ("Q", "Q", 20) if big else ("H", "I", 12)
    at = 16 if big else 8
    data = (b"II" if order == "<" else b"MM") + struct.pack(f"{order}H", 43 if big else 42)
    data += struct.pack(f"{order}HHQ", 8, 0, at) if big else struct.pack(f"{order}I", at)
    for left, many in zip(range(len(entries) - 1, -1, -1), entries, strict=True):
        at += struct.calcsize(f"{order}{count}{link}") + many * size
        data += struct.pack(f"{order}{count}", many) + bytes(many * size)
        data += struct.pack(f"{order}{link}", at if left else 0)
    return data


def shared_directories(pages: int = 100, entries: int = 60_000) -> bytes:
    """A valid TIFF page, then pages that share a list of entries and begin 12 bytes apart."""
    tiff = encoded(Image.new("L", (8, 8)), "TIFF")
    (first,) = struct.unpack("<I", tiff[4:8])
    (own,) = struct.unpack("<H", tiff[first : first + 2])
    own_entries, after = tiff[first + 2 :][: 12 * own], first + 2 + 12 * own
    start = (len(tiff) + 0xFFFF) & ~1  # beyond 16 bits: a link read as an entry is odd
    # The last two bytes of each entry are the count of the directory that begins there.
    filler = struct.pack("<HHII", 50_000, 99, 1, entries << 16)
    listed = bytearray(filler * (entries + pages + 1))
    at = 12 * (pages + 10)
    listed[at : at + len(own_entries)] = own_entries
    for page in range(pages):
        following = start + 12 * (page + 1) if page < pages - 1 else 0
        at = 12 * (page + entries)
        listed[at : at + 4] = struct.pack("<I", following)
    padding = bytes(start - len(tiff))
    linked = tiff[:after] + struct.pack("<I", start) + tiff[after + 4 :]
    return linked + padding + struct.pack("<H", entries) + listed


def chunk(kind: bytes, data: bytes) -> bytes:
    """A chunk of a PNG file."""
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width: int, height: int, content: bytes = b"", interlaced: bool = False) -> bytes:
    """An RGB PNG whose header claims this size; by default it has no pixels."""
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, interlaced)
    parts = chunk(b"IHDR", header), chunk(b"IDAT", content), chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def interlaced_png() -> bytes:
    """A PNG in the seven passes of Adam7, which Pillow reads but does not write."""
    pixels = np.asarray(pattern())
    rows = b""
    for x, y, across, down in (
        (0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2),
        (0, 1, 1, 2),
    ):  # fmt: skip
        rows += b"".join(b"\x00" + row.tobytes() for row in pixels[y::down, x::across])
    return png(pixels.shape[1], pixels.shape[0], zlib.compress(rows), interlaced=True)


def png_with(kind: bytes, data: bytes, times: int = 1) -> bytes:
    """A valid PNG with extra chunks of a given kind."""
    whole = encoded(pattern(), "PNG")
    return whole[:33] + chunk(kind, data) * times + whole[33:]


def jpeg_with(marker: int, data: bytes, times: int = 1) -> bytes:
    """A valid JPEG with extra segments of a given kind."""
    whole = encoded(pattern(), "JPEG")
    segment = bytes((0xFF, marker)) + struct.pack(">H", len(data) + 2) + data
    return whole[:2] + segment * times + whole[2:]
