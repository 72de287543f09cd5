"""Bytes to pixels: the one function that decodes a photo, for training, evaluation and serving.

A format is recognised by its content, never by a file's name or a client's word. The pixel
limit is checked on the header, before anything is decoded.
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
"""Default limit on width x height. A photo of 49 million was measured to take, reduced for 512
pixels a side, 8 MB as JPEG (144 MB if progressive), 245 MB as PNG and 753 MB as WebP; at full size,
423 MB as JPEG or PNG and 772 MB as WebP."""

MAX_BYTES = 2_000_000_000
"""No photo's file that is read whole is larger."""

# What turns a photo upright, by its EXIF orientation; 1 is upright already.
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


# libtiff would write a line to standard error for each line of pixels that is damaged.
with suppress(AttributeError, OSError):  # it is elsewhere, or not there
    CDLL(_imaging.__file__).TIFFSetErrorHandler(None)


@dataclass(frozen=True)
class ImageInfo:
    """What a file holds; width and height in pixels, of the upright photo at full size."""

    width: int
    height: int
    format: str
    frames: int
    orientation: int = 1
    """As the file's EXIF has it, 1 to 8; the photo has been turned upright by it."""


@dataclass(frozen=True)
class Photo:
    """A decoded photo: upright, RGB, eight bits a channel; at a reduced scale if that was asked."""

    pixels: Pixels  # (H, W, 3)
    info: ImageInfo

    @property
    def image(self) -> Image.Image:
        """The pixels as an image of Pillow's, made anew."""
        return Image.fromarray(self.pixels)


def read(path: Path) -> bytes:
    """Read an image file; a film of many gigabytes is refused by its first bytes.

    Raises:
        EmptyImage, UnsupportedFormat, OSError
        UnreadableImage: where it is far too large.
    """
    with path.open("rb") as opened:
        start = opened.read(64)
        recognise(start)
        check_length(fstat(opened.fileno()).st_size)
        return start + opened.read()


def check_length(count: int) -> None:
    """Refuse a file of too many bytes.

    Raises:
        UnreadableImage
    """
    if count > MAX_BYTES:
        raise UnreadableImage(
            f"A file of more than {MAX_BYTES / 1e9:g} GB is no photo that can be read."
        )


def decode(data: bytes, max_pixels: int = MAX_PIXELS, needed_side: int | None = None) -> Photo:
    """Decode an image file held in memory; of an animation, the first frame.

    Args:
        data: the file.
        max_pixels: larger photos are refused before they are decoded.
        needed_side: how many pixels of the shorter side are needed. A photo with twice as many
            or more comes back at a half, a quarter or an eighth. None: every pixel is needed.

    Raises:
        EmptyImage, UnsupportedFormat, UnreadableImage, TooManyPixels
    """
    format = recognise(data)
    check_structure(data, format)
    try:
        # Formats are named so that no other decoder of Pillow's ever sees the bytes.
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
                pixels = np.asarray(Image.fromarray(pixels).transpose(_TURNS[orientation]))
            frames = _frames(data, opened, format)
            return Photo(pixels, ImageInfo(width, height, format, frames, orientation))
    except (ImageError, MemoryError):  # memory that is short is no fault of the file's
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise TooManyPixels(_too_many(max_pixels)) from error
    except Exception as error:
        # Damaged bytes make decoders raise almost anything: OSError, SyntaxError, struct.error…
        raise UnreadableImage(
            f"This {format} file is damaged or cut off. Send the whole, original file."
        ) from error


def _frames(data: bytes, image: Image.Image, format: str) -> int:
    if format == "JPEG":  # a phone's may hold a preview beside the photo: still one photo
        return 1
    return count_pages(data) if format == "TIFF" else int(getattr(image, "n_frames", 1))


def _check_size(width: int, height: int, max_pixels: int) -> None:
    if width * height > max_pixels:
        raise TooManyPixels(f"The photo has {width}x{height} pixels. {_too_many(max_pixels)}")


def _scale(side: int, needed: int | None) -> int:
    return next((scale for scale in (8, 4, 2) if needed and side >= scale * needed), 1)


def _too_many(max_pixels: int) -> str:
    return f"At most {max_pixels / 1e6:g} million are accepted: send a smaller version."


def _orientation(image: Image.Image) -> int:
    """EXIF orientation, 1 to 8; behind damaged metadata the photo is taken as it lies."""
    try:
        orientation = image.getexif().get(ExifTags.Base.Orientation)
        return orientation if orientation in _TURNS else 1
    except Exception:
        return 1
