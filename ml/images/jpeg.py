"""Decode JPEG with libjpeg-turbo directly, at a reduced scale if that is enough.

Pillow decodes JPEG with the same library, to the same pixels, but takes longer.
"""

import simplejpeg

from ml.images.colour import Pixels
from ml.images.exif import jpeg_orientation, jpeg_segments
from ml.images.limits import check_scans
from ml.images.photo import Photo, check_size, reduced_scale, upright

_PILLOW_FRAMES = {*range(0xC3, 0xD0)} - {0xC4, 0xC8, 0xCC}  # such as arithmetic and lossless


def decode_jpeg(data: bytes, max_pixels: int, needed_side: int | None = None) -> Photo | None:
    """Decode a JPEG; None if Pillow must do it.

    Pillow must decode CMYK, arithmetic coding, and every file for which libjpeg-turbo has a
    warning: the cause may be that half the photo is missing, or that nothing is wrong at all.

    Raises:
        TooManyPixels
        UnreadableImage: if the file has too many scans.
    """
    try:
        height, width, colours, _ = simplejpeg.decode_jpeg_header(data)
    except (ValueError, KeyError):  # KeyError: a colour space unknown to simplejpeg
        return None
    check_size(width, height, max_pixels, "JPEG")
    check_scans(data, width, height)
    if colours in ("CMYK", "YCCK") or _PILLOW_FRAMES & dict(jpeg_segments(data)).keys():
        return None
    # libjpeg-turbo has scales in between, which cost more than they save.
    scale = reduced_scale(min(width, height), needed_side)
    least = {"min_width": -(-width // scale), "min_height": -(-height // scale)}
    try:
        pixels: Pixels = simplejpeg.decode_jpeg(data, "RGB", **(least if scale > 1 else {}))
    except (ValueError, KeyError):
        return None
    return upright(pixels, (width, height), "JPEG", 1, jpeg_orientation(data))
