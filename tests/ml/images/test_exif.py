"""The orientation, read without Pillow and compared with Pillow's own reading."""

from io import BytesIO

import pytest
from PIL import Image, ImageOps, PngImagePlugin

from ml.images.decode import decode
from ml.images.exif import orientation
from tests.helpers import encoded, picture

XMP = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:Description tiff:Orientation="6"/></x:xmpmeta>'


def check(data: bytes, turn: int) -> None:
    """Check the orientation, and the upright size against Pillow's."""
    info = decode(data).info
    upright = ImageOps.exif_transpose(Image.open(BytesIO(data)))
    assert info.orientation == turn
    assert (info.width, info.height) == upright.size


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WebP"])
@pytest.mark.parametrize("order", ["<", ">"])
def test_exif(format: str, order: str) -> None:
    exif = Image.Exif()
    exif.endian = order
    exif[0x010F], exif[0x0112] = "camera", 6
    check(encoded(picture(), format, exif=exif), 6)


@pytest.mark.parametrize("format", ["JPEG", "WebP"])
def test_xmp_counts_if_there_is_no_exif(format: str) -> None:
    check(encoded(picture(), format, xmp=XMP), 6)
    exif = Image.Exif()
    exif[0x0112] = 3
    check(encoded(picture(), format, xmp=XMP, exif=exif), 3)


def test_xmp_in_a_png() -> None:
    info = PngImagePlugin.PngInfo()
    info.add_itxt("XML:com.adobe.xmp", XMP.decode())
    check(encoded(picture(), "PNG", pnginfo=info), 6)


def test_the_raw_profile_of_old_imagemagick() -> None:
    exif = Image.Exif()
    exif[0x0112] = 8
    block = exif.tobytes()
    info = PngImagePlugin.PngInfo()
    info.add_text("Raw profile type exif", f"\nexif\n{len(block):8}\n{block.hex()}\n")
    check(encoded(picture(), "PNG", pnginfo=info), 8)


@pytest.mark.parametrize("block", [b"", b"II", b"II*\0\xff\xff\xff\xff", b"MM\0*\0\0\0\x08\0\x05"])
def test_a_damaged_block_is_ignored(block: bytes) -> None:
    assert orientation(block) == 1
