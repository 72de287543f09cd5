"""Which format a file has, by its content: never by its name or a client's word."""

from ml.errors import EmptyImage, UnsupportedFormat

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
        what = f"{format} is not supported" if format else "This file is not an image"
        raise UnsupportedFormat(f"{what}. Send one of {', '.join(ACCEPTED)}.")
    return format
