"""Decode JPEG with libjpeg-turbo directly, at a reduced scale if that is enough.

Pillow decodes JPEG with the same library, to the same pixels, but takes longer.
"""

import simplejpeg
from PIL import Image

from ml.images.colour import Pixels


def decode_jpeg(data: bytes, header: Image.Image, scale: int = 1) -> Pixels | None:
    """Decode to RGB (H, W, 3), without applying the EXIF orientation; None if Pillow must do it.

    Pillow must decode CMYK, and every file for which libjpeg-turbo has a warning: the cause may be
    that half the photo is missing, or that nothing is wrong at all.

    Args:
        data: the file.
        header: the same file, opened by Pillow.
        scale: 1, 2, 4 or 8. Each side is divided by it. libjpeg-turbo has scales in between, which
            cost more than they save.
    """
    width, height = header.size
    least = {"min_width": -(-width // scale), "min_height": -(-height // scale)}
    try:
        if header.mode == "CMYK" or simplejpeg.decode_jpeg_header(data)[:2] != (height, width):
            return None
        pixels: Pixels = simplejpeg.decode_jpeg(data, "RGB", **(least if scale > 1 else {}))
    except (ValueError, KeyError):  # KeyError: a colour space unknown to simplejpeg
        return None
    return pixels
