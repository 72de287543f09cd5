"""Decode with Pillow: every format, and the JPEG files that `ml/images/jpeg.py` leaves to it."""

from collections.abc import Callable
from contextlib import suppress
from ctypes import CDLL
from io import BytesIO

from PIL import Image, _imaging

from ml.errors import ImageError, TooManyPixels, UnreadableImage
from ml.images.colour import to_rgb
from ml.images.exif import jpeg_orientation, orientation
from ml.images.limits import count_pages, webp_size
from ml.images.photo import Photo, check_size, limit_sentence, reduced_scale, upright

# libtiff would write a message to standard error for each damaged line of pixels.
with suppress(AttributeError, OSError):  # libtiff is linked differently, or missing
    CDLL(_imaging.__file__).TIFFSetErrorHandler(None)


LARGE = 12_000_000
"""Pixels from which a JPEG is reduced while it is decoded, to need less memory."""


def decode_with_pillow(
    data: bytes,
    format: str,
    max_pixels: int,
    needed_side: int | None = None,
    on_header: Callable[[int, int], object] = lambda *_: None,
) -> Photo:
    """Decode an image file of a known format. Of an animation, decode the first frame.

    Args:
        on_header: is called with the width and the height once they are accepted.

    Raises:
        UnreadableImage, TooManyPixels
    """
    try:
        if format == "WebP":  # Pillow needs memory for the pixels to open it
            check_size(*webp_size(data), max_pixels, format)
            on_header(*webp_size(data))
        # With the format named, Pillow tries no other decoder on the bytes.
        with Image.open(BytesIO(data), formats=[format.upper()]) as opened:
            kind = "CMYK JPEG" if (format, opened.mode) == ("JPEG", "CMYK") else format
            check_size(*opened.size, max_pixels, kind)
            on_header(*opened.size)
            size, scale = opened.size, reduced_scale(min(opened.size), needed_side)
            if size[0] * size[1] > LARGE:  # decode a JPEG reduced, which changes pixels a little
                opened.draft(None, (size[0] // scale, size[1] // scale))
            opened.load()
            pixels = to_rgb(opened, scale if opened.size == size else 1)
            frames, turn = _frames(data, opened, format), _orientation(data, opened, format)
            return upright(pixels, size, format, frames, turn)
    except (ImageError, MemoryError):  # a lack of memory is not the file's fault
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        sentence = f"The photo has too many pixels. {limit_sentence(max_pixels)}"
        raise TooManyPixels(sentence) from error
    except Exception as error:
        if "memory" in str(error).lower() or str(error) == "decoder error -9":  # libavif, libtiff
            raise MemoryError from error
        # Decoders raise almost any exception on damaged bytes: OSError, SyntaxError, struct.error…
        raise UnreadableImage(
            f"This {format} file is damaged or cut off. Send the whole, original file."
        ) from error


def _frames(data: bytes, image: Image.Image, format: str) -> int:
    if format == "JPEG":  # a preview that a phone stores beside the photo is not a frame
        return 1
    return count_pages(data) if format == "TIFF" else int(getattr(image, "n_frames", 1))


def _orientation(data: bytes, image: Image.Image, format: str) -> int:
    if format == "JPEG":
        return jpeg_orientation(data)
    if format == "TIFF":  # upright already
        return 1
    if raw := image.info.get("Raw profile type exif"):  # of old versions of ImageMagick
        with suppress(ValueError):
            return orientation(bytes.fromhex("".join(raw.split("\n")[3:])))
    info = image.info
    return orientation(info.get("exif", b""), info.get("xmp") or info.get("XML:com.adobe.xmp"))
