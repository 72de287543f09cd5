"""Read the orientation, the only EXIF tag that decoding needs.

Pillow would read all tags and make an object of each number: a file with millions of numbers takes
seconds. Here only the first directory is read, and only a single integer is accepted.
The format is that of TIFF 6.0, section 2.
"""

import struct
from collections.abc import Iterator

ORIENTATION = 0x0112

MAX_TAGS = 512
"""Tags of the directory that are looked at; cameras write about twenty."""

_INTEGERS = {1: "B", 3: "H", 4: "I"}  # BYTE, SHORT, LONG


def orientation(block: bytes) -> int:
    """Return the orientation in an EXIF block, 1 to 8; 1 if it is missing or damaged."""
    block = block.removeprefix(b"Exif\0\0")
    order = {b"II": "<", b"MM": ">"}.get(block[:2])
    if order is None:
        return 1
    try:
        (at,) = struct.unpack_from(f"{order}I", block, 4)
        (count,) = struct.unpack_from(f"{order}H", block, at)
        for entry in range(at + 2, at + 2 + 12 * min(count, MAX_TAGS), 12):
            tag, kind, number = struct.unpack_from(f"{order}HHI", block, entry)
            if tag == ORIENTATION and number == 1 and kind in _INTEGERS:
                (value,) = struct.unpack_from(order + _INTEGERS[kind], block, entry + 8)
                return int(value) if 1 <= value <= 8 else 1
    except struct.error:  # cut off
        pass
    return 1


def jpeg_orientation(data: bytes) -> int:
    """Return the orientation of a JPEG file."""
    exif = (at for marker, at in jpeg_segments(data) if marker == 0xE1)
    blocks = (at for at in exif if data.startswith(b"Exif\0\0", at + 2))
    at = next(blocks, None)
    return orientation(data[at + 2 : at + int.from_bytes(data[at : at + 2])]) if at else 1


def jpeg_segments(data: bytes) -> Iterator[tuple[int, int]]:
    """Yield the marker of each segment before the first scan, and where its length is."""
    at = 2
    while at + 4 <= len(data) and data[at + 1] != 0xDA:
        if data[at] != 0xFF or data[at + 1] == 0xFF:
            at += 1  # garbage or padding
        else:
            yield data[at + 1], at + 2
            at += 2 + max(2, int.from_bytes(data[at + 2 : at + 4]))
