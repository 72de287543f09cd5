"""A decoded photo, and the limits on its size that all decoders share."""

from dataclasses import dataclass

import numpy as np
from PIL import Image

from ml.errors import TooManyPixels
from ml.images.colour import Pixels

MAX_PIXELS = 50_000_000
"""Default limit on width x height. A format that needs more memory has a smaller limit."""

MAX_SIDE = 30_000
"""Limit on width and on height. A long narrow photo is decoded at full size."""

ASSUMED_BYTES_PER_PIXEL = {
    "WebP": 16,  # Pillow's decoder holds four images of four bytes per pixel
    "AVIF": 13,
    "TIFF": 8,  # may be a single strip, which libtiff decodes as a whole
    "CMYK JPEG": 12,  # a progressive one is in memory twice if Pillow decodes it
}
_USUAL = 6  # the bytes of all others

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


def upright(
    pixels: Pixels, size: tuple[int, int], format: str, frames: int, orientation: int
) -> Photo:
    """Make decoded pixels upright; `size` is the width and height in the file, at full size."""
    width, height = size if orientation < 5 else size[::-1]
    if orientation > 1:
        pixels = np.asarray(Image.fromarray(pixels).transpose(_TO_UPRIGHT[orientation]))
    return Photo(pixels, ImageInfo(width, height, format, frames, orientation))


def check_size(width: int, height: int, max_pixels: int, kind: str) -> None:
    """Raise TooManyPixels if a photo exceeds a limit; `kind`: its format, or "CMYK JPEG"."""
    found = f"The photo has {width}x{height} pixels."
    most = max_pixels * _USUAL // ASSUMED_BYTES_PER_PIXEL.get(kind, _USUAL)
    if width * height > max_pixels:
        raise TooManyPixels(f"{found} {limit_sentence(max_pixels)}")
    if width * height > most:
        raise TooManyPixels(
            f"{found} At most {most / 1e6:.3g} million are accepted in this kind of file "
            f"({kind}): send a smaller version, or an RGB JPEG."
        )
    if max(width, height) > MAX_SIDE:
        raise TooManyPixels(f"{found} A side may have at most {MAX_SIDE}: send a smaller version.")


def limit_sentence(max_pixels: int) -> str:
    """Return the sentence that states the limit."""
    return f"At most {max_pixels / 1e6:g} million are accepted: send a smaller version."


def reduced_scale(side: int, needed: int | None) -> int:
    """Return 1, 2, 4 or 8: how far a side can be reduced so that `needed` pixels are left."""
    return next((scale for scale in (8, 4, 2) if needed and side >= scale * needed), 1)
