"""Limit the structure of image files: refuse a file whose parts cost far more than its pixels.

Pillow reads the segments of a JPEG and the chunks of a PNG one by one, and joins all EXIF segments
again for each new one: twenty megabytes of tiny segments took minutes. The directories of a TIFF
may share their bytes: a file of 800 kB with a hundred pages of 60,000 entries took 23 s.
"""

import struct

from ml.errors import UnreadableImage

MAX_SCANS = 100
"""Scans in a JPEG; a usual progressive one has about ten."""

MAX_SCANNED_PIXELS = 750_000_000
"""Pixels times scans of a JPEG. A file of 300 kB with 49 million pixels and 100 scans took 7 s."""

MAX_SEGMENTS = 400
"""Segments in a JPEG before its first scan; 400 full ones would hold 26 MB."""

MAX_CHUNKS = 50_000
"""Chunks in a PNG; most programs write 8 kB of pixels in each."""

MAX_PAGES = 1000
"""Pages in a TIFF; a thousand scanned pages would hold far more than 20 MB."""

MAX_ENTRIES = 20_000
"""Entries in all directories of a TIFF together; most programs write about fifteen per page."""

_START_OF_SCAN = 0xDA
_HAS_LENGTH = {*range(0xC0, 0xD0), *range(0xDB, 0xF0), 0xFE} - {0xC8}


def check_structure(data: bytes, format: str) -> None:
    """Raise UnreadableImage for a file with too many parts."""
    if format == "JPEG":
        _check_jpeg(data)
    elif format == "PNG":
        _check_png(data)
    elif format == "TIFF":
        count_pages(data)


def count_pages(data: bytes) -> int:
    """Count the pages of a TIFF by following the chain of its directories.

    The chain ends at a directory that was visited before or that lies outside the file. Headers
    are read as 64-bit in the same cases as in Pillow.

    Raises:
        UnreadableImage: if there are too many pages or entries.
    """
    order, is_64_bit = "<" if data.startswith(b"II") else ">", data[2] == 43
    count, link, size = (
        (order + "Q", order + "Q", 20) if is_64_bit else (order + "H", order + "I", 12)
    )
    pages, entries, at = set[int](), 0, 8 if is_64_bit else 4
    try:
        while (page := struct.unpack_from(link, data, at)[0]) and page not in pages:
            (here,) = struct.unpack_from(count, data, page)
            pages.add(page)
            entries += here
            if len(pages) > MAX_PAGES or entries > MAX_ENTRIES:
                raise _too_many("TIFF", "pages" if len(pages) > MAX_PAGES else "entries")
            at = page + struct.calcsize(count) + here * size
    except (struct.error, OverflowError):
        pass  # outside the file
    return max(1, len(pages))


def webp_size(data: bytes) -> tuple[int, int]:
    """Return the width and height in the header of a WebP; zeros if it is cut off."""

    def number(at: int, bits: int, shift: int = 0) -> int:
        return int.from_bytes(data[at : at + 4], "little") >> shift & (1 << bits) - 1

    match data[12:16]:
        case b"VP8X":
            return number(24, 24) + 1, number(27, 24) + 1
        case b"VP8L":
            return number(21, 14) + 1, number(21, 14, 14) + 1
        case _:
            return number(26, 14), number(28, 14)


def check_scans(data: bytes, width: int, height: int) -> None:
    """Raise UnreadableImage for too many scans in a JPEG: each costs as much as a whole photo."""
    # The zero is the high byte of the length, which is below 256.
    scans = data.count(b"\xff\xda\x00")
    if scans > MAX_SCANS or scans * width * height > MAX_SCANNED_PIXELS:
        raise _too_many("JPEG", "scans")


def _check_jpeg(data: bytes) -> None:
    at = 2
    for _ in range(MAX_SEGMENTS):
        if at + 1 >= len(data) or data[at] == 0xFF and data[at + 1] == _START_OF_SCAN:
            return
        if data[at] != 0xFF or data[at + 1] == 0xFF:
            at += 1  # garbage or padding, which Pillow skips byte by byte
        elif data[at + 1] in _HAS_LENGTH:
            at += 2 + max(2, int.from_bytes(data[at + 2 : at + 4]))
        else:
            at += 2
    raise _too_many("JPEG", "segments")


def _check_png(data: bytes) -> None:
    at = 8
    for _ in range(MAX_CHUNKS):
        if at >= len(data):
            return
        at += 12 + int.from_bytes(data[at : at + 4])  # length, type, content and checksum
    raise _too_many("PNG", "chunks")


def _too_many(format: str, parts: str) -> UnreadableImage:
    return UnreadableImage(
        f"This {format} file has too many {parts}. Save the photo again and send that file."
    )
