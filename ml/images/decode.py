"""Decode image files. Training, evaluation and serving all use `decode`.

The format is recognised by the file's content, not by its name or by what the client says. The
pixel limit is checked on the header, before anything is decoded.
"""

from contextlib import suppress
from ctypes import CDLL
from dataclasses import dataclass
from io import BytesIO
from os import fstat
from pathlib import Path

import numpy as np
from PIL import ExifTags, Image, _imaging

from ml.errors import ImageError, TooManyPixels, UnreadableImage
from ml.images.colour import Pixels, to_rgb
from ml.images.formats import recognise
from ml.images.jpeg import decode_jpeg
from ml.images.limits import check_scans, check_structure, count_pages

MAX_PIXELS = 50_000_000
"""Default limit on width x height. A photo of 49 million pixels was measured to need this memory:
decoded for 512 pixels of the shorter side, 8 MB as JPEG (144 MB if progressive), 245 MB as PNG and
753 MB as WebP; decoded at full size, 423 MB as JPEG or PNG and 772 MB as WebP."""

MAX_BYTES = 2_000_000_000
"""Limit on the size of a file that is read."""

# The operation that makes a photo upright, by its EXIF orientation; at 1 it is upright already.
_TO_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}

# libtiff would write a message to standard error for each damaged line of pixels.
with suppress(AttributeError, OSError):  # libtiff is linked differently, or missing
    CDLL(_imaging.__file__).TIFFSetErrorHandler(None)


@dataclass(frozen=True)
class ImageInfo:
    """Properties of an image file. Width and height are those of the upright photo at full size."""

    width: int
    height: int
    format: str
    frames: int
    orientation: int = 1
    """EXIF orientation of the file, 1 to 8. The decoded photo is already upright."""


@dataclass(frozen=True)
class Photo:
    """A decoded photo: upright, RGB, eight bits per channel, possibly at a reduced scale."""

    pixels: Pixels  # (H, W, 3)
    info: ImageInfo

    @property
    def image(self) -> Image.Image:
        """The pixels as a new Pillow image."""
        return Image.fromarray(self.pixels)


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
    """Refuse a file of more than `MAX_BYTES`.

    Raises:
        UnreadableImage
    """
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
    try:
        # With the format named, Pillow tries no other decoder on the bytes.
        with Image.open(BytesIO(data), formats=[format.upper()]) as opened:
            _check_size(opened.width, opened.height, max_pixels)
            if format == "JPEG":
                check_scans(data, opened.width, opened.height)
            scale = _scale(min(opened.size), needed_side)
            pixels = decode_jpeg(data, opened, scale) if format == "JPEG" else None
            if pixels is None:
                opened.load()
                pixels = to_rgb(opened, scale)
            orientation = _orientation(opened)
            width, height = opened.size if orientation < 5 else opened.size[::-1]
            if orientation > 1:
                pixels = np.asarray(Image.fromarray(pixels).transpose(_TO_UPRIGHT[orientation]))
            frames = _frames(data, opened, format)
            return Photo(pixels, ImageInfo(width, height, format, frames, orientation))
    except (ImageError, MemoryError):  # a lack of memory is not the file's fault
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise TooManyPixels(f"The photo has too many pixels. {_limit(max_pixels)}") from error
    except Exception as error:
        # Decoders raise almost any exception on damaged bytes: OSError, SyntaxError, struct.error…
        raise UnreadableImage(
            f"This {format} file is damaged or cut off. Send the whole, original file."
        ) from error


def _frames(data: bytes, image: Image.Image, format: str) -> int:
    if format == "JPEG":  # a preview that a phone stores beside the photo is not a frame
        return 1
    return count_pages(data) if format == "TIFF" else int(getattr(image, "n_frames", 1))


def _check_size(width: int, height: int, max_pixels: int) -> None:
    if width * height > max_pixels:
        raise TooManyPixels(f"The photo has {width}x{height} pixels. {_limit(max_pixels)}")


def _scale(side: int, needed: int | None) -> int:
    return next((scale for scale in (8, 4, 2) if needed and side >= scale * needed), 1)


def _limit(max_pixels: int) -> str:
    return f"At most {max_pixels / 1e6:g} million are accepted: send a smaller version."


def _orientation(image: Image.Image) -> int:
    """Return the EXIF orientation, 1 to 8; 1 if the metadata is missing or damaged."""
    try:
        orientation = image.getexif().get(ExifTags.Base.Orientation)
        return orientation if orientation in _TO_UPRIGHT else 1
    except Exception:
        return 1
