"""Recognise the format of a file by its content, not by its name or by what the client says."""

from ml.errors import EmptyImage, UnsupportedFormat

ACCEPTED = ("JPEG", "PNG", "WebP", "GIF", "BMP", "TIFF", "AVIF")

# The first bytes of each format, as (offset, bytes, format). Formats that are not accepted are
# listed only so that the error can name them: phones send HEIC, people send PDF.
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
    """Return the accepted format whose signature is in the first bytes.

    Raises:
        EmptyImage, UnsupportedFormat
    """
    if not data:
        raise EmptyImage("The image is empty: no bytes arrived. Send the file's content.")
    matching = (name for at, start, name in _SIGNATURES if data.startswith(start, at))
    format = next(matching, "")
    if data[4:8] == b"ftyp" and (b"avif" in data[8:40] or b"avis" in data[8:40]):
        format = "AVIF"  # the AVIF brand may come after generic ones
    if format == "BMP" and not 12 <= int.from_bytes(data[14:18], "little") <= 124:
        format = ""  # a text that begins with BM: the header of a BMP has 12 to 124 bytes
    if format not in ACCEPTED:
        what = f"{format} is not supported" if format else "This file is not an image"
        raise UnsupportedFormat(f"{what}. Send one of {', '.join(ACCEPTED)}.")
    return format
