"""Read the orientation, the only EXIF tag that decoding needs.

Pillow would read all tags and make an object of each number: a file with millions of numbers takes
seconds. Here only the first directory is read, and only a single integer is accepted.
The format is that of TIFF 6.0, section 2.
"""

import re
import struct
from collections.abc import Iterator

ORIENTATION = 0x0112
MAX_TAGS = 512  # that are read; cameras write about twenty
_INTEGERS = {1: "B", 3: "H", 4: "I"}  # BYTE, SHORT, LONG
_EXIF, _XMP_NAME = b"Exif\0\0", b"http://ns.adobe.com/xap/1.0/\0"
_XMP = re.compile(rb"tiff:Orientation(?:=[\"']|>)([1-8])[\"'<]")
MAX_XMP_BYTES = 1_000_000  # that are searched


def orientation(block: bytes, xmp: bytes | str | None = None) -> int:
    """Return the orientation in an EXIF block, else in an XMP block, 1 to 8; 1 if there is none."""
    if found := _exif_orientation(block):
        return found
    text = xmp.encode(errors="replace") if isinstance(xmp, str) else xmp or b""
    return int(match[1]) if (match := _XMP.search(text[:MAX_XMP_BYTES])) else 1


def _exif_orientation(block: bytes) -> int:
    block = block.removeprefix(_EXIF)
    order = {b"II": "<", b"MM": ">"}.get(block[:2])
    if order is None:
        return 0
    try:
        (at,) = struct.unpack_from(f"{order}I", block, 4)
        (count,) = struct.unpack_from(f"{order}H", block, at)
        for entry in range(at + 2, at + 2 + 12 * min(count, MAX_TAGS), 12):
            tag, kind, number = struct.unpack_from(f"{order}HHI", block, entry)
            if tag == ORIENTATION and number == 1 and kind in _INTEGERS:
                (value,) = struct.unpack_from(order + _INTEGERS[kind], block, entry + 8)
                return int(value) if 1 <= value <= 8 else 0
    except struct.error:  # cut off
        pass
    return 0


def jpeg_orientation(data: bytes) -> int:
    """Return the orientation of a JPEG file."""
    blocks = {_EXIF: b"", _XMP_NAME: b""}
    for marker, at in jpeg_segments(data):
        for name, block in blocks.items():
            if marker == 0xE1 and not block and data.startswith(name, at + 2):
                end = at + int.from_bytes(data[at : at + 2])
                blocks[name] = data[at + 2 + len(name) : end]
    return orientation(blocks[_EXIF], blocks[_XMP_NAME])


def jpeg_segments(data: bytes) -> Iterator[tuple[int, int]]:
    """Yield the marker of each segment before the first scan, and where its length is."""
    at = 2
    while at + 4 <= len(data) and data[at + 1] != 0xDA:
        if data[at] != 0xFF or data[at + 1] == 0xFF:
            at += 1  # garbage or padding
        else:
            yield data[at + 1], at + 2
            at += 2 + max(2, int.from_bytes(data[at + 2 : at + 4]))
