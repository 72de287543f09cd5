"""JPEG straight through libjpeg-turbo, at a reduced scale where that is enough.

Pillow decodes JPEG with the same library, to the same pixels, and takes longer for it.
"""

import simplejpeg
from PIL import Image

from ml.images.colour import Pixels


def decode_jpeg(data: bytes, header: Image.Image, scale: int = 1) -> Pixels | None:
    """Decode to RGB, (H, W, 3), as the photo lies; None where that is better left to Pillow.

    So it is with CMYK, and where libjpeg-turbo has a warning: half the photo may be missing,
    or nothing at all.

    Args:
        data: the file.
        header: the same, as Pillow opened it.
        scale: 1, 2, 4 or 8: the sides come out that much shorter. libjpeg-turbo has scales in
            between, which cost more than they save.
    """
    width, height = header.size
    least = {"min_width": -(-width // scale), "min_height": -(-height // scale)}
    try:
        if header.mode == "CMYK" or simplejpeg.decode_jpeg_header(data)[:2] != (height, width):
            return None
        pixels: Pixels = simplejpeg.decode_jpeg(data, "RGB", **(least if scale > 1 else {}))
    except (ValueError, KeyError):  # KeyError: a colour space that it has no name for
        return None
    return pixels
