"""Bytes to pixels: the one function that decodes a photo, for training, evaluation and serving.

A format is recognised by its content, never by a file's name or a client's word. The pixel
limit is checked on the header, before anything is decoded.
"""

from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import ExifTags, Image, ImageChops, ImageOps

from ml.errors import EmptyImage, TooManyPixels, UnreadableImage, UnsupportedFormat

MAX_PIXELS = 50_000_000
"""Default limit on width x height. Decoding a photo of 49 million was measured to take 380 MB in
RGB, 610 MB with alpha and 700 MB in 16-bit gray."""

MAX_PAGES = 1000
MAX_SCANS = 100
"""Of a JPEG; the usual progressive one has about ten."""

ACCEPTED = ("JPEG", "PNG", "WebP", "GIF", "BMP", "TIFF", "AVIF")

# What a file starts with, as (offset, bytes, format). The formats that are not accepted stand
# here only so that the answer can name them: phones send HEIC, people send PDF.
_SIGNATURES = (
    (0, b"\xff\xd8\xff", "JPEG"),
    (0, b"\x89PNG\r\n\x1a\n", "PNG"),
    (8, b"WEBPVP8", "WebP"),
    (0, b"GIF87a", "GIF"),
    (0, b"GIF89a", "GIF"),
    (0, b"BM", "BMP"),
    (0, b"II*\x00", "TIFF"),
    (0, b"MM\x00*", "TIFF"),
    (0, b"II+\x00", "TIFF"),
    (0, b"MM\x00+", "TIFF"),
    (4, b"ftyphei", "HEIC"),
    (4, b"ftyphev", "HEIC"),
    (4, b"ftypmif1", "HEIC"),
    (0, b"%PDF", "PDF"),
    (0, b"%!PS", "EPS"),
    (0, b"<svg", "SVG"),
    (0, b"8BPS", "PSD"),
    (4, b"jP  ", "JPEG 2000"),
    (0, b"\x00\x00\x01\x00", "ICO"),
)


@dataclass(frozen=True)
class Facts:
    """What a file holds; width and height in pixels, of the upright photo."""

    width: int
    height: int
    format: str
    frames: int


@dataclass(frozen=True)
class Photo:
    """A decoded photo: upright, RGB, eight bits a channel."""

    image: Image.Image
    facts: Facts


def read(path: Path) -> bytes:
    """Read an image file; a film of many gigabytes is refused by its first bytes.

    Raises:
        EmptyImage, UnsupportedFormat, OSError
    """
    with path.open("rb") as opened:
        start = opened.read(64)
        recognise(start)
        return start + opened.read()


def decode(data: bytes, max_pixels: int = MAX_PIXELS) -> Photo:
    """Decode an image file held in memory; of an animation, the first frame.

    Raises:
        EmptyImage, UnsupportedFormat, UnreadableImage, TooManyPixels
    """
    format = recognise(data)
    if format == "JPEG":
        _check_scans(data)
    try:
        # Formats are named so that no other decoder of Pillow's ever sees the bytes.
        with Image.open(BytesIO(data), formats=[format.upper()]) as opened:
            _check_size(opened.width, opened.height, max_pixels)
            opened.load()
            image = to_rgb(_upright(opened))
            return Photo(image, Facts(image.width, image.height, format, _frames(opened, format)))
    except TooManyPixels:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise TooManyPixels(_too_many(max_pixels)) from error
    except Exception as error:
        # Damaged bytes make decoders raise almost anything: OSError, SyntaxError, struct.error…
        raise UnreadableImage(
            f"This {format} file is damaged or cut off. Send the whole, original file."
        ) from error


def recognise(data: bytes) -> str:
    """Name the accepted format that the bytes start like.

    Raises:
        EmptyImage, UnsupportedFormat
    """
    if not data:
        raise EmptyImage("The image is empty: no bytes arrived. Send the file's content.")
    matching = (name for at, start, name in _SIGNATURES if data.startswith(start, at))
    format = next(matching, "")
    if data[4:8] == b"ftyp" and (b"avif" in data[8:40] or b"avis" in data[8:40]):
        format = "AVIF"  # the brand that counts may stand behind generic ones
    if format == "BMP" and not 12 <= int.from_bytes(data[14:18], "little") <= 124:
        format = ""  # a text that begins with BM; the header of a BMP is 12 to 124 bytes long
    if format not in ACCEPTED:
        what = f"This is a file of the format {format}" if format else "This file is no image"
        raise UnsupportedFormat(f"{what}. Send one of {', '.join(ACCEPTED)}.")
    return format


def to_rgb(image: Image.Image) -> Image.Image:
    """Convert any mode to RGB: wide grays are scaled, never clipped; alpha goes over white."""
    if image.mode.startswith("I") or image.mode == "F":
        return _scale_to_8_bits(image).convert("RGB")
    if image.mode == "CMYK" and image.format == "JPEG" and "adobe" not in image.info:
        # Pillow takes every CMYK JPEG for Adobe's inverted kind; without the marker it is not.
        image = ImageChops.invert(image)
    if image.has_transparency_data:
        layer = image.convert("RGBA")
        photo = Image.new("RGB", layer.size, "white")
        photo.paste(layer, mask=layer.getchannel("A"))
        return photo
    return image.convert("RGB")


def _frames(image: Image.Image, format: str) -> int:
    """Count frames or pages; up to a thousand pages of a TIFF, as each must be looked at."""
    if format == "JPEG":  # a phone's may hold a preview beside the photo: still one photo
        return 1
    if format != "TIFF":
        return int(getattr(image, "n_frames", 1))
    for page in range(1, MAX_PAGES):
        try:
            image.seek(page)
        except EOFError:
            return page
    return MAX_PAGES


def _check_scans(data: bytes) -> None:
    """Refuse a JPEG that is drawn over and over: each scan costs as much as a whole photo."""
    if data.count(b"\xff\xda") > MAX_SCANS:
        raise UnreadableImage("This JPEG has too many scans. Send an ordinary one.")


def _check_size(width: int, height: int, max_pixels: int) -> None:
    if width * height > max_pixels:
        raise TooManyPixels(f"The photo has {width}x{height} pixels. {_too_many(max_pixels)}")


def _too_many(max_pixels: int) -> str:
    return f"At most {max_pixels / 1e6:g} million are accepted: send a smaller version."


def _upright(image: Image.Image) -> Image.Image:
    try:
        if image.getexif().get(ExifTags.Base.Orientation, 1) == 1:
            return image
        turned = ImageOps.exif_transpose(image)
    except Exception:
        # Damaged metadata around sound pixels: the photo is taken as it lies.
        return image
    turned.format = image.format  # lost on the way; to_rgb needs it
    turned.info = image.info
    return turned


def _scale_to_8_bits(image: Image.Image) -> Image.Image:
    """Scale 16-bit, 32-bit and float grays by the smallest usual range that holds them all."""
    values = np.nan_to_num(np.asarray(image, dtype=np.float32), posinf=0.0, neginf=0.0)
    peak = float(values.max(initial=0.0))
    ranges = (65535.0,) if image.mode.startswith("I;16") else (1.0, 255.0, 65535.0)
    top = next((top for top in ranges if peak <= top), peak)
    values *= 255 / top  # in place: such photos take the most memory of all
    return Image.fromarray(values.round(out=values).clip(0, 255, out=values).astype(np.uint8))
