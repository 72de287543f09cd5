"""Resize a box of a photo to the network's size: bilinear and antialiased, as in Pillow."""

import numpy as np
from PIL import Image

from ml.images.colour import Pixels

try:
    import cykooz_resizer as simd
except ImportError:  # there are no wheels for some machines
    simd = None


def resize(pixels: Pixels, box: tuple[float, float, float, float], size: int) -> Pixels:
    """Resize a box (left, top, right, bottom) within an RGB photo (H, W, 3) to (size, size, 3).

    `cykooz_resizer` uses vector instructions and takes a fifth of Pillow's time. No value differs
    from Pillow's by more than 1.
    """
    if simd is None:
        return resize_with_pillow(pixels, box, size)
    height, width = pixels.shape[:2]
    left, top = max(0, box[0]), max(0, box[1])
    right, bottom = min(width, box[2]), min(height, box[3])
    source = simd.ImageData(width, height, simd.PixelType.U8x3, pixels.tobytes())
    target = simd.ImageData(size, size, simd.PixelType.U8x3)
    options = simd.ResizeOptions(
        simd.ResizeAlg.convolution(simd.FilterType.bilinear),
        crop_box=simd.CropBox(left, top, right - left, bottom - top),
    )
    simd.Resizer().resize(source, target, options)
    return np.frombuffer(target.get_buffer(), np.uint8).reshape(size, size, 3)


def resize_with_pillow(pixels: Pixels, box: tuple[float, float, float, float], size: int) -> Pixels:
    """Do the same with Pillow, which runs on any machine."""
    resized = Image.fromarray(pixels).resize((size, size), Image.Resampling.BILINEAR, box=box)
    return np.asarray(resized)
