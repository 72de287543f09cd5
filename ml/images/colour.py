"""Convert an image of any Pillow mode to RGB with eight bits per channel."""

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageChops

Pixels = npt.NDArray[np.uint8]
"""RGB with the channels last; one photo is (H, W, 3)."""

STRIP = 1 << 22  # pixels


def to_rgb(image: Image.Image, scale: int = 1) -> Pixels:
    """Convert any mode to RGB.

    Greys of more than eight bits are scaled, not clipped. Transparent images are drawn over white.
    The image is converted in strips, so that a large photo is never in memory twice.

    Args:
        image: a loaded image.
        scale: 1, 2, 4 or 8. Each side is divided by it; a pixel is the mean of those it replaces.
    """
    white_level = 65535.0 if image.mode.startswith("I;16") else 0.0
    if image.mode in ("I", "F"):
        peaks = (float(_finite(strip).max(initial=0.0)) for _, strip in _strips(image))
        white_level = _white_level(max(peaks))
    if image.mode == "CMYK" and image.format == "JPEG" and "adobe" not in image.info:
        # Pillow treats every CMYK JPEG as inverted, as Adobe writes it. Without Adobe's marker the
        # colours are not inverted.
        image = ImageChops.invert(image)
    width, height = image.size
    pixels = np.empty((-(-height // scale), -(-width // scale), 3), np.uint8)
    for row, strip in _strips(image):
        rgb = np.asarray(_strip_to_rgb(strip, white_level).reduce(scale))
        pixels[row // scale :][: len(rgb)] = rgb
    return pixels


def _strips(image: Image.Image) -> Iterator[tuple[int, Image.Image]]:
    """Yield strips of the image from top to bottom, and their first rows."""
    width, height = image.size
    rows = max(1, STRIP // width // 8) * 8  # a multiple of every scale
    for row in range(0, height, rows):
        yield row, image.crop((0, row, width, min(row + rows, height)))


def _strip_to_rgb(image: Image.Image, white_level: float) -> Image.Image:
    if white_level:
        image = _scale_to_8_bits(image, white_level)
    if not image.has_transparency_data:
        return image.convert("RGB")
    layer = image.convert("RGBA")
    photo = Image.new("RGB", layer.size, "white")
    photo.paste(layer, mask=layer.getchannel("A"))
    return photo


def _white_level(peak: float) -> float:
    """Return the smallest usual maximum (1, 255, 65535) that is not below the peak."""
    return next((level for level in (1.0, 255.0, 65535.0) if peak <= level), peak)


def _finite(image: Image.Image) -> npt.NDArray[np.float32]:
    values = np.array(image, np.float32)
    values[~np.isfinite(values)] = 0
    return values


def _scale_to_8_bits(image: Image.Image, white_level: float) -> Image.Image:
    values = _finite(image)
    values *= 255 / white_level  # in place: these images need the most memory
    return Image.fromarray(values.round(out=values).clip(0, 255, out=values).astype(np.uint8))
