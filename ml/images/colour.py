"""Convert an image of any Pillow mode to RGB with eight bits per channel."""

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageChops

Pixels = npt.NDArray[np.uint8]
"""RGB with the channels last; one photo is (H, W, 3)."""

STRIP = 1024  # rows; a multiple of every scale


def to_rgb(image: Image.Image, scale: int = 1) -> Pixels:
    """Convert any mode to RGB.

    Greys of more than eight bits are scaled, not clipped. Transparent images are drawn over white.
    The image is converted in strips, so that a large photo is never in memory twice.

    Args:
        image: a loaded image.
        scale: 1, 2, 4 or 8. Each side is divided by it; a pixel is the mean of those it replaces.
    """
    if image.mode in ("I", "F"):
        image = _scale_to_8_bits(image, _top(image))
    if image.mode == "CMYK" and image.format == "JPEG" and "adobe" not in image.info:
        # Pillow treats every CMYK JPEG as inverted, as Adobe writes it. Without Adobe's marker the
        # colours are not inverted.
        image = ImageChops.invert(image)
    width, height = image.size
    pixels = np.empty((-(-height // scale), -(-width // scale), 3), np.uint8)
    for top in range(0, height, STRIP):
        bottom = min(top + STRIP, height)
        strip = _strip_to_rgb(image.crop((0, top, width, bottom))).reduce(scale)
        pixels[top // scale : -(-bottom // scale)] = np.asarray(strip)
    return pixels


def _strip_to_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I;16"):
        image = _scale_to_8_bits(image, 65535)
    if not image.has_transparency_data:
        return image.convert("RGB")
    layer = image.convert("RGBA")
    photo = Image.new("RGB", layer.size, "white")
    photo.paste(layer, mask=layer.getchannel("A"))
    return photo


def _top(image: Image.Image) -> float:
    """Return the smallest usual maximum (1, 255, 65535) that no value of the image exceeds."""
    values = _finite(image)
    peak = float(values.max(initial=0.0))
    return next((top for top in (1.0, 255.0, 65535.0) if peak <= top), peak)


def _finite(image: Image.Image) -> npt.NDArray[np.float32]:
    return np.nan_to_num(np.asarray(image, dtype=np.float32), posinf=0.0, neginf=0.0)


def _scale_to_8_bits(image: Image.Image, top: float) -> Image.Image:
    values = _finite(image)
    values *= 255 / top  # in place: these images need the most memory
    return Image.fromarray(values.round(out=values).clip(0, 255, out=values).astype(np.uint8))
