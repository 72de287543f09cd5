"""Hostile and unusual files, generated on the fly, each with its expected outcome.

The service may predict or return the expected error. It must not crash, hang or leak memory.
"""

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

from PIL import Image

from ml.errors import EmptyImage, ImageError, TooManyPixels, UnreadableImage, UnsupportedFormat
from tests.helpers import encoded
from tests.image_files import (
    animated,
    directories,
    gray16,
    interlaced_png,
    jpeg_with,
    pattern,
    png,
    png_with,
    shared_directories,
)

FORMATS = ("JPEG", "PNG", "WebP", "GIF", "BMP", "TIFF", "AVIF")


@dataclass(frozen=True)
class Case:
    """A file and its expected outcome: an error, or None if the file is a valid photo.

    With `or_photo` it may also be decoded, because decoders may not notice the damage.
    """

    name: str
    data: bytes
    expected: type[ImageError] | None
    or_photo: bool = False

    def allows(self, outcome: type[ImageError] | None) -> bool:
        """Whether this outcome is allowed."""
        if outcome is None:
            return self.or_photo or self.expected is None
        return self.expected is not None and issubclass(outcome, self.expected)


def samples() -> dict[str, bytes]:
    """Small valid files of every format, in several variants."""
    image = pattern()
    files = {format: encoded(image, format) for format in FORMATS}
    return files | {
        "JPEG, progressive": encoded(image, "JPEG", progressive=True),
        "JPEG, gray": encoded(image.convert("L"), "JPEG"),
        "JPEG, CMYK": encoded(image.convert("CMYK"), "JPEG"),
        "JPEG, restart markers": encoded(image, "JPEG", restart_marker_blocks=2),
        "PNG, palette": encoded(image.convert("P"), "PNG", transparency=0),
        "PNG, alpha": encoded(image.convert("RGBA"), "PNG"),
        "PNG, 16 bits": encoded(gray16(), "PNG"),
        "PNG, interlaced": interlaced_png(),
        "PNG, animated": animated("PNG"),
        "WebP, lossless": encoded(image, "WebP", lossless=True),
        "WebP, animated": animated("WebP"),
        "GIF, animated": animated("GIF"),
        "BMP, 1 bit": encoded(image.convert("1"), "BMP"),
        "TIFF, LZW": encoded(image, "TIFF", compression="tiff_lzw"),
        "TIFF, deflate": encoded(image, "TIFF", compression="tiff_adobe_deflate"),
        "TIFF, JPEG inside": encoded(image, "TIFF", compression="jpeg"),
        "TIFF, fax": encoded(image.convert("1"), "TIFF", compression="group4"),
        "TIFF, 16 bits": encoded(gray16(), "TIFF"),
        "TIFF, float": encoded(image.convert("F"), "TIFF"),
        "TIFF, pages": animated("TIFF"),
    }


def corpus() -> Iterator[Case]:
    """All cases: over two thousand files, most of a few kilobytes."""
    for make in (_valid, _oriented, _shapes, _not_images, _bombs, _metadata, _broken, _cut):
        yield from make()


def _valid() -> Iterator[Case]:
    for name, data in samples().items():
        yield Case(name, data, None)
        yield Case(f"{name}, then rubbish", data + bytes(range(256)) * 8, None)


def _oriented() -> Iterator[Case]:
    for orientation in (0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 65535):
        exif = Image.Exif()
        exif[0x0112] = orientation
        for format in ("JPEG", "PNG", "WebP", "TIFF", "AVIF"):
            data = encoded(pattern(), format, exif=exif)
            yield Case(f"{format}, orientation {orientation}", data, None)


def _shapes() -> Iterator[Case]:
    for width, height in ((1, 1), (2, 20000), (20000, 2), (3, 1)):
        for format in FORMATS:
            # WebP allows at most 16383 pixels a side.
            size = (min(width, 16383), min(height, 16383)) if format == "WebP" else (width, height)
            name = f"{format}, {size[0]}x{size[1]}"
            yield Case(name, encoded(Image.new("RGB", size, "red"), format), None)


def _not_images() -> Iterator[Case]:
    yield Case("nothing", b"", EmptyImage)
    for name, data in {
        "one byte": b"\xff",
        "zeros": bytes(5000),
        "text": b"hello, I am a text file",
        "text that begins like a BMP": b"BMW is a maker of cars.",
        "HTML": b"<!doctype html><title>Not found</title>",
        "SVG": b"<svg xmlns='http://www.w3.org/2000/svg'/>",
        "SVG after XML": b"<?xml version='1.0'?><!DOCTYPE svg [<!ENTITY a 'b'>]><svg>&a;</svg>",
        "PDF": b"%PDF-1.7\n1 0 obj",
        "EPS": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 1 1\n(x) run",
        "EPS of DOS": b"\xc5\xd0\xd3\xc6" + bytes(28),
        "ZIP": b"PK\x03\x04" + bytes(50),
        "ELF": b"\x7fELF" + bytes(60),
        "ICO": b"\x00\x00\x01\x00\x01\x00" + bytes(40),
        "HEIC": b"\x00\x00\x00\x18ftypheic\x00\x00\x00\x00mif1heic",
        "JPEG 2000": b"\x00\x00\x00\x0cjP  \r\n\x87\n" + bytes(30),
        "Photoshop": b"8BPS\x00\x01" + bytes(30),
        "netpbm": b"P6 9999999 9999999 255\n",
        "pickle": b"\x80\x04\x95\x0c\x00\x00\x00",
    }.items():
        yield Case(name, data, UnsupportedFormat)
    for format, data in ((format, samples()[format]) for format in FORMATS):
        yield Case(f"{format} after a space", b" " + data, UnsupportedFormat)
    for name, start in (("JPEG", b"\xff\xd8\xff"), ("PNG", b"\x89PNG\r\n\x1a\n")):
        for other in FORMATS[2:]:
            data = start + samples()[other][len(start) :]
            yield Case(f"{other} that begins as {name}", data, UnreadableImage)


def _bombs() -> Iterator[Case]:
    yield Case("PNG bomb", png(30_000, 30_000, zlib.compress(bytes(4_000_000))), TooManyPixels)
    yield Case("PNG, 2^31 wide", png(2**31 - 1, 2**31 - 1), TooManyPixels)
    gif = encoded(pattern(), "GIF")
    yield Case("GIF bomb", gif[:6] + b"\xff\xff\xff\xff" + gif[10:], TooManyPixels)
    bmp = encoded(pattern(), "BMP")
    yield Case("BMP bomb", bmp[:18] + struct.pack("<ii", 50_000, 50_000) + bmp[26:], TooManyPixels)
    for name in ("JPEG", "JPEG, progressive"):
        data = samples()[name]
        at = data.index(b"\xff\xc2" if "progressive" in name else b"\xff\xc0") + 5
        bomb = data[:at] + struct.pack(">HH", 65_500, 65_500) + data[at + 4 :]
        yield Case(f"{name} bomb", bomb, TooManyPixels)
    tiff = encoded(Image.new("1", (40, 40)), "TIFF", compression="group4")
    for tag in (256, 257):  # width and height, of 16 or 32 bits
        for form, bits in (("<HHIH", 3), ("<HHII", 4)):
            claim = struct.pack(form, tag, bits, 1, 40)
            tiff = tiff.replace(claim, struct.pack(form, tag, bits, 1, 65_000))
    yield Case("TIFF bomb", tiff, TooManyPixels)
    webp = animated("WebP")
    yield Case("WebP bomb", webp[:24] + b"\xf0\x3e\x00" * 2 + webp[30:], TooManyPixels)
    avif = encoded(pattern(), "AVIF")
    claim = struct.pack(">II", 48, 40)
    yield Case("AVIF bomb", avif.replace(claim, struct.pack(">II", 60_000, 60_000)), ImageError)


def _metadata() -> Iterator[Case]:
    image, text = pattern(), zlib.compress(bytes(100_000_000), 9)
    yield Case("PNG, a text of 100 MB", png_with(b"zTXt", b"a\x00\x00" + text), UnreadableImage)
    yield Case("PNG, a profile of 100 MB", png_with(b"iCCP", b"a\x00\x00" + text), UnreadableImage)
    yield Case("PNG, thousands of texts", png_with(b"tEXt", b"a\x00b", times=20_000), None)
    yield Case("JPEG, 5 MB of comments", jpeg_with(0xFE, bytes(65_000), times=80), None)
    for name, content in (("comments", b""), ("EXIF segments", b"Exif\x00\x00MM")):
        many = jpeg_with(0xE1 if content else 0xFE, content, times=50_000)
        yield Case(f"JPEG, thousands of {name}", many, UnreadableImage)
    padded = samples()["JPEG"].replace(b"\xff\xdb", b"\xff" * 1_000_000 + b"\xff\xdb", 1)
    yield Case("JPEG, a megabyte of padding", padded, UnreadableImage)
    chunks = png_with(b"prVt", b"", times=500_000)
    yield Case("PNG, half a million chunks", chunks, UnreadableImage)
    frame = b"\x2c\0\0\0\0\1\0\1\0\0\x02\x02\x44\x01\0"
    yield Case("GIF, thousands of frames", samples()["GIF"][:-1] + frame * 20_000 + b";", None)
    profile = encoded(image, "JPEG", icc_profile=bytes(300_000))
    yield Case("JPEG, a large colour profile", profile, None)
    yield Case("JPEG, a broken profile", jpeg_with(0xE2, b"ICC_PROFILE\x00"), None)
    broken = jpeg_with(0xE1, b"Exif\x00\x00II*\x00\xff\xff\xff\xff broken")
    yield Case("JPEG, broken EXIF", broken, None)
    loop = b"Exif\x00\x00MM\x00*\x00\x00\x00\x08\x00\x00\x00\x00\x00\x08"
    yield Case("JPEG, EXIF with a circular link", jpeg_with(0xE1, loop), None)
    pictures = jpeg_with(0xE2, b"MPF\x00II*\x00\x08\x00\x00\x00\xff")
    yield Case("JPEG, broken list of pictures", pictures, None)
    yield Case("JPEG, broken Photoshop block", jpeg_with(0xED, b"Photoshop 3.0\x008BIM\x04"), None)
    page = Image.new("L", (1, 1))
    many = encoded(page, "TIFF", save_all=True, append_images=[page] * 200)
    yield Case("TIFF of 201 pages", many, None)
    tiff = encoded(Image.new("L", (4, 4)), "TIFF")
    (directory,) = struct.unpack("<I", tiff[4:8])
    (entries,) = struct.unpack("<H", tiff[directory : directory + 2])
    after = directory + 2 + 12 * entries
    circle = tiff[:after] + struct.pack("<I", directory) + tiff[after + 4 :]
    yield Case("TIFF with a circular list of pages", circle, None)
    yield Case("TIFF whose pages share their entries", shared_directories(), UnreadableImage)
    for name, order in (("TIFF", "<"), ("BigTIFF", "<"), ("TIFF, big-endian", ">")):
        pages = directories([1] * 5000, order, big=name == "BigTIFF")
        yield Case(f"{name} of 5000 pages", pages, UnreadableImage)


def _broken() -> Iterator[Case]:
    for width, height in ((0, 0), (0, 40), (48, 0)):
        empty = png(width, height, zlib.compress(b""))
        yield Case(f"PNG, {width}x{height}", empty, UnreadableImage)
        data = samples()["JPEG"]
        at = data.index(b"\xff\xc0") + 5
        none = data[:at] + struct.pack(">HH", height, width) + data[at + 4 :]
        yield Case(f"JPEG, {width}x{height}", none, UnreadableImage)
        bmp = samples()["BMP"]
        none = bmp[:18] + struct.pack("<ii", width, height) + bmp[26:]
        yield Case(f"BMP, {width}x{height}", none, UnreadableImage)
    scans = samples()["JPEG, progressive"]
    last = scans.rindex(b"\xff\xda")
    over = scans[:-2] + scans[last:-2] * 3000 + scans[-2:]
    yield Case("JPEG with thousands of scans", over, UnreadableImage)
    for name, data in samples().items():
        middle = len(data) // 2
        holed = data[:middle] + bytes(len(data) - middle)
        yield Case(f"{name}, zeros in its second half", holed, UnreadableImage, or_photo=True)


def _cut() -> Iterator[Case]:
    for name, data in samples().items():
        for percent in range(1, 100):
            # The first of several frames may be whole. Some files end with unneeded bytes.
            or_photo = "animated" in name or "pages" in name or percent == 99
            part = data[: len(data) * percent // 100]
            yield Case(f"{name}, cut off at {percent} %", part, ImageError, or_photo)
