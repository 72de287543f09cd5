"""Decode image files. Training, evaluation and serving all use `decode`.

The format is recognised by the file's content, not by its name or by what the client says. The
pixel limit is checked on the header, before anything is decoded. libjpeg-turbo decodes JPEG in this
process; everything else is decoded in a process with limits on CPU time and memory.
"""

from os import fstat
from pathlib import Path

from ml.errors import UnreadableImage
from ml.images.colour import Pixels
from ml.images.formats import recognise
from ml.images.jpeg import decode_jpeg
from ml.images.limits import check_structure
from ml.images.photo import MAX_PIXELS, ImageInfo, Photo
from ml.images.preprocessing import Preprocessing, network_input
from ml.images.sandbox import decode_in_sandbox

__all__ = ["MAX_PIXELS", "ImageInfo", "Photo", "check_length", "decode", "load_input", "read"]

MAX_BYTES = 2_000_000_000
"""Limit on the size of a file that is read."""


def read(path: Path) -> bytes:
    """Read an image file. A file of another kind is refused after its first bytes.

    Raises:
        EmptyImage, UnsupportedFormat, OSError
        UnreadableImage: if the file is larger than `MAX_BYTES`.
    """
    with path.open("rb") as opened:
        start = opened.read(64)
        recognise(start)
        check_length(fstat(opened.fileno()).st_size)
        return start + opened.read()


def check_length(count: int) -> None:
    """Raise UnreadableImage for a file of more than `MAX_BYTES`."""
    if count > MAX_BYTES:
        raise UnreadableImage(
            f"This file is larger than {MAX_BYTES / 1e9:g} GB. Send a smaller one."
        )


def decode(data: bytes, max_pixels: int = MAX_PIXELS, needed_side: int | None = None) -> Photo:
    """Decode an image file in memory. Of an animation, decode the first frame.

    Args:
        data: the file.
        max_pixels: a photo with more pixels is refused before it is decoded.
        needed_side: how many pixels of the shorter side are needed. A photo with at least twice
            as many is decoded at a half, a quarter or an eighth of its size. None: full size.

    Raises:
        EmptyImage, UnsupportedFormat, UnreadableImage, TooManyPixels
    """
    format = recognise(data)
    check_structure(data, format)
    photo = decode_jpeg(data, max_pixels, needed_side) if format == "JPEG" else None
    return photo or decode_in_sandbox(data, format, max_pixels, needed_side)


def load_input(path: Path, preprocessing: Preprocessing) -> Pixels:
    """Read and decode an image file, and cut its views: (V, size, size, 3).

    Raises:
        ImageError, OSError
    """
    photo = decode(read(path), needed_side=preprocessing.needed_side)
    return network_input(photo.pixels, preprocessing)
