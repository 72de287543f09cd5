import struct

import numpy as np
import pytest
from PIL import Image, ImageOps

from ml.errors import EmptyImage, TooManyPixels, UnreadableImage, UnsupportedFormat
from ml.images.decode import ImageInfo, decode
from ml.images.limits import MAX_PAGES
from ml.images.pillow import decode_with_pillow
from tests.helpers import encoded, picture
from tests.image_files import png

FORMATS = ["JPEG", "PNG", "WebP", "GIF", "BMP", "TIFF", "AVIF"]
TURNS = {
    1: None,
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}


def close(a: Image.Image, b: Image.Image, tolerance: float) -> bool:
    difference = np.asarray(a, dtype=float) - np.asarray(b, dtype=float)
    return bool(np.abs(difference).mean() <= tolerance)


def flag() -> Image.Image:
    """Four quarters of different colours: no two orientations look alike."""
    image = Image.new("RGB", (60, 40), (200, 30, 30))
    image.paste((30, 200, 30), (30, 0, 60, 20))
    image.paste((30, 30, 200), (0, 20, 30, 40))
    image.paste((220, 220, 90), (30, 20, 60, 40))
    return image


@pytest.mark.parametrize("format", FORMATS)
def test_every_format_is_recognised_by_content(format: str) -> None:
    original = picture()
    photo = decode(encoded(original, format))
    assert photo.info == ImageInfo(*original.size, format, frames=1)
    assert photo.image.mode == "RGB"
    assert photo.image.size == original.size
    assert close(photo.image, original, tolerance=12)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("format", ["JPEG", "PNG", "WebP", "TIFF"])
def test_exif_orientation_is_applied(format: str, orientation: int) -> None:
    upright = flag()
    exif = Image.Exif()
    exif[0x0112] = orientation
    turn = TURNS[orientation]
    stored = upright if turn is None else upright.transpose(turn)
    # Oracle: the stored pixels, turned as the tag says, are the upright ones.
    assert close(decode(encoded(stored, format, exif=exif)).image, upright, tolerance=6)


@pytest.mark.filterwarnings("ignore:Corrupt EXIF")
def test_a_photo_with_damaged_exif_is_decoded() -> None:
    data = encoded(flag(), "JPEG", exif=b"Exif\x00\x00II*\x00\xff\xff\xff\xff broken")
    assert decode(data).image.size == (60, 40)


@pytest.mark.parametrize("mode", ["1", "L", "P", "LA", "RGBA", "CMYK", "I;16"])
def test_every_mode_becomes_rgb(mode: str) -> None:
    gray = ImageOps.grayscale(picture())
    if mode == "I;16":
        image = Image.fromarray(np.asarray(gray).astype(np.uint16) * 257)
    else:
        image = gray.convert("RGB").convert(mode)
    photo = decode(encoded(image, "TIFF"))
    assert photo.image.mode == "RGB"
    tolerance = {"1": 128, "P": 20}.get(mode, 3)  # these two are dithered
    assert close(photo.image, gray.convert("RGB"), tolerance)


def test_alpha_goes_over_white() -> None:
    clear = Image.new("RGBA", (8, 8), (0, 0, 0, 0))
    half = Image.new("RGBA", (8, 8), (0, 0, 0, 128))
    assert decode(encoded(clear, "PNG")).image.getpixel((0, 0)) == (255, 255, 255)
    assert decode(encoded(half, "PNG")).image.getpixel((0, 0)) == (127, 127, 127)


def test_transparent_palette_goes_over_white() -> None:
    image = Image.new("P", (8, 8), 0)
    image.putpalette([10, 20, 30, 40, 50, 60])
    image.putpixel((0, 0), 1)
    decoded = decode(encoded(image, "PNG", transparency=0)).image
    assert decoded.getpixel((5, 5)) == (255, 255, 255)
    assert decoded.getpixel((0, 0)) == (40, 50, 60)


def without_adobe_marker(data: bytes) -> bytes:
    at = data.index(b"\xff\xee")
    (length,) = struct.unpack(">H", data[at + 2 : at + 4])
    return data[:at] + data[at + 2 + length :]


def test_cmyk_jpegs_are_upright_in_colour() -> None:
    cyan = Image.new("CMYK", (16, 16), (255, 0, 0, 0))
    adobe = encoded(cyan, "JPEG", quality=95)  # Pillow writes the marker and inverts
    plain = without_adobe_marker(encoded(Image.new("CMYK", (16, 16), (0, 255, 255, 255)), "JPEG"))
    for data in (adobe, plain):
        assert close(decode(data).image, Image.new("RGB", (16, 16), (0, 255, 255)), tolerance=3)


@pytest.mark.parametrize("dtype", [np.uint16, np.int32, np.float32])
def test_wide_grays_are_scaled_not_clipped(dtype: type) -> None:
    ramp = np.tile(np.arange(256, dtype=np.uint8), (8, 1))
    wide = ramp / 255 if dtype is np.float32 else ramp.astype(float) * 257
    decoded = decode(encoded(Image.fromarray(wide.astype(dtype)), "TIFF"))
    assert np.abs(np.asarray(decoded.image)[..., 0].astype(int) - ramp).max() <= 1


def test_big_endian_16_bit_png_and_tiff() -> None:
    ramp = np.tile(np.arange(256, dtype=np.uint16) * 257, (8, 1))
    for format in ("PNG", "TIFF"):
        decoded = decode(encoded(Image.fromarray(ramp), format))
        assert np.asarray(decoded.image)[0, ::85, 0].tolist() == [0, 85, 170, 255]


def test_not_finite_floats_are_harmless() -> None:
    values = np.array([[np.nan, np.inf, -np.inf, 0.5]], dtype=np.float32)
    assert decode(encoded(Image.fromarray(values), "TIFF")).image.size == (4, 1)


@pytest.mark.parametrize("format", ["GIF", "WebP", "PNG", "AVIF", "TIFF"])
def test_first_frame_of_an_animation(format: str) -> None:
    red, blue = Image.new("RGB", (32, 32), "red"), Image.new("RGB", (32, 32), "blue")
    photo = decode(encoded(red, format, save_all=True, append_images=[blue, red.rotate(9)]))
    assert photo.info.frames == 3
    assert close(photo.image, red, tolerance=4)


@pytest.mark.parametrize(
    "data",
    [
        b"hello, I am a text file",
        b"<!doctype html><title>Not found</title>",
        b"<svg xmlns='http://www.w3.org/2000/svg'/>",
        b"%PDF-1.7",
        b"%!PS-Adobe-3.0 EPSF-3.0",
        b"\x00\x00\x00\x18ftypheic\x00\x00\x00\x00mif1heic",
        b"\x00",
    ],
)
def test_files_of_other_formats_are_refused(data: bytes) -> None:
    with pytest.raises(UnsupportedFormat, match="Send one of JPEG, PNG"):
        decode(data)


def test_the_error_names_heic() -> None:
    with pytest.raises(UnsupportedFormat, match="HEIC"):
        decode(b"\x00\x00\x00\x18ftypheic\x00\x00\x00\x00mif1heic")


def test_an_empty_file() -> None:
    with pytest.raises(EmptyImage):
        decode(b"")


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("share", [0.02, 0.3, 0.7])
def test_truncated_files(format: str, share: float) -> None:
    data = encoded(picture(), format)
    with pytest.raises((UnreadableImage, UnsupportedFormat)):
        decode(data[: max(16, int(len(data) * share))])


def test_pixel_limit_is_checked_on_the_header() -> None:
    bomb = png(30_000, 30_000)
    assert len(bomb) < 50_000
    with pytest.raises(TooManyPixels, match="50 million"):
        decode(bomb)


def test_pixel_limit_between_ours_and_pillows() -> None:
    with pytest.raises(TooManyPixels, match="At most 1e"):
        decode(png(9_000, 9_000), max_pixels=10)
    with pytest.raises(TooManyPixels):
        decode(png(14_000, 14_000), max_pixels=10**9)


def test_limit_is_inclusive() -> None:
    data = encoded(Image.new("RGB", (10, 10)), "PNG")
    assert decode(data, max_pixels=100).info.width == 10
    with pytest.raises(TooManyPixels, match="10x10"):
        decode(data, max_pixels=99)


@pytest.mark.parametrize("pages", [1, 2, MAX_PAGES])
def test_pages_of_a_tiff_are_counted(pages: int) -> None:
    page = Image.new("L", (1, 1))
    data = encoded(page, "TIFF", save_all=True, append_images=[page] * (pages - 1))
    assert decode(data).info.frames == pages


def test_a_lack_of_memory_is_not_an_image_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr("ml.images.pillow.to_rgb", full)
    with pytest.raises(MemoryError):
        decode_with_pillow(encoded(picture(), "PNG"), "PNG", 50_000_000)


@pytest.mark.parametrize("brand", [b"avif", b"mif1", b"msf1"])
def test_avif_by_any_of_its_brands(brand: bytes) -> None:
    data = encoded(picture(), "AVIF")
    assert data[8:12] == b"avif"
    assert decode(data[:8] + brand + data[12:]).info.format == "AVIF"


def test_a_text_that_begins_like_a_bmp() -> None:
    with pytest.raises(UnsupportedFormat):
        decode(b"BMW is a maker of cars.")
