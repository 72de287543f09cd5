from base64 import b64decode
from collections.abc import Iterator
from io import BytesIO

import numpy as np
import pytest
import simplejpeg
from PIL import Image

from ml.errors import UnreadableImage
from ml.images.decode import decode
from ml.images.jpeg import decode_jpeg
from tests.helpers import encoded, picture
from tests.image_files import pattern

# 16 x 16 pixels, by `cjpeg -arithmetic`: nothing that the tests run on writes this kind.
ARITHMETIC = b64decode(
    "/9j/4AAQSkZJRgABAQAAAQABAAD/2wBDAAMCAgMCAgMDAwMEAwMEBQgFBQQEBQoHBwYIDAoMDAsKCwsNDhIQDQ4R"
    "DgsLEBYQERMUFRUVDA8XGBYUGBIUFRT/2wBDAQMEBAUEBQkFBQkUDQsNFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQU"
    "FBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBT/yQARCAAQABADASIAAhEBAxEB/8wACgAQEAUBEBEF/9oADAMBAAIR"
    "AxEAPwD/AMg2oRStTu/+qxCyEZ1Uyb8NPkpH6t6ZiYzxzj3xeWJAJ5dPVW8pLwxJ4a3RjZRc8HSxf0T/2Q=="
)


def zoo() -> Iterator[tuple[str, bytes]]:
    """JPEG files of many kinds, all sound."""
    for width, height in [(64, 48), (61, 45), (17, 13), (16, 1), (1, 16), (1, 1), (8, 8), (500, 3)]:
        for subsampling in ("4:4:4", "4:2:2", "4:2:0"):
            image = pattern(width, height)
            name = f"{width}x{height} {subsampling}"
            yield name, encoded(image, "JPEG", subsampling=subsampling, quality=85)
            yield (
                f"{name} progressive",
                encoded(image, "JPEG", subsampling=subsampling, progressive=True),
            )
    image = pattern(61, 45)
    for subsampling in ("440", "411"):
        yield subsampling, simplejpeg.encode_jpeg(np.asarray(image), 80, "RGB", subsampling)
    yield "gray", encoded(image.convert("L"), "JPEG")
    yield "gray, progressive", encoded(image.convert("L"), "JPEG", progressive=True)
    yield "stored as RGB", encoded(image, "JPEG", keep_rgb=True)
    yield "CMYK", encoded(image.convert("CMYK"), "JPEG")
    yield "restart markers by blocks", encoded(image, "JPEG", restart_marker_blocks=2)
    yield "restart markers by rows", encoded(image, "JPEG", restart_marker_rows=1)
    yield "best quality", encoded(image, "JPEG", quality=100, subsampling=0)
    yield "worst quality", encoded(image, "JPEG", quality=1)
    yield "comment", encoded(image, "JPEG", comment=b"\xff\xd8\xff\xda not a scan")
    yield "other resolution", encoded(image, "JPEG", dpi=(300, 72))
    yield "colour profile", encoded(image, "JPEG", icc_profile=bytes(range(256)) * 300)
    yield "two pictures", encoded(image, "MPO", save_all=True, append_images=[image.rotate(90)])
    yield "thumbnail", encoded(image, "JPEG", exif=thumbnail(encoded(pattern(16, 12), "JPEG")))
    yield "trailing zeros", encoded(image, "JPEG") + bytes(1000)
    yield "trailing rubbish", encoded(image, "JPEG") + np.random.default_rng(0).bytes(5000)
    yield "trailing JPEG", encoded(image, "JPEG") + encoded(pattern(90, 90), "JPEG")
    yield "arithmetic coding", ARITHMETIC


def thumbnail(data: bytes) -> bytes:
    """EXIF with a picture in it."""
    exif = Image.Exif()
    exif[0x0112] = 1
    block = exif.tobytes()
    return block + data


ZOO = dict(zoo())


@pytest.mark.parametrize("name", ZOO)
def test_pixels_are_those_of_pillow(name: str) -> None:
    with Image.open(BytesIO(ZOO[name])) as opened:
        expected = np.asarray(opened.convert("RGB"))
    assert (np.asarray(decode(ZOO[name]).image) == expected).all()


def fast(data: bytes) -> bool:
    """Whether Pillow was not needed."""
    return decode_jpeg(data, 50_000_000) is not None


def test_cmyk_and_arithmetic_coding_are_left_to_pillow() -> None:
    left = [name for name, data in ZOO.items() if not fast(data)]
    assert left == ["CMYK", "arithmetic coding"]


@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize("subsampling", ["4:4:4", "4:2:0"])
def test_cut_off_at_every_percent(progressive: bool, subsampling: str) -> None:
    data = encoded(picture(), "JPEG", progressive=progressive, subsampling=subsampling)
    for percent in range(1, 100):
        with pytest.raises(UnreadableImage):
            decode(data[: len(data) * percent // 100])
        with pytest.raises(UnreadableImage):
            decode(data[: len(data) * percent // 100], needed_side=32)


def test_pillow_decodes_files_that_libjpeg_warns_about() -> None:
    sound = encoded(pattern(64, 48), "JPEG")
    odd = sound[:-2] + bytes(5) + sound[-2:]  # zeros between the last scan and the end
    assert fast(sound)
    assert not fast(odd)
    assert (np.asarray(decode(odd).image) == np.asarray(decode(sound).image)).all()


@pytest.mark.parametrize(("shorter", "reduced"), [(511, 511), (512, 256), (1023, 512), (1024, 256)])
def test_reduced_as_far_as_is_enough(shorter: int, reduced: int) -> None:
    data = encoded(picture().resize((shorter + 77, shorter)), "JPEG")
    photo = decode(data, needed_side=256)
    assert photo.image.height == reduced
    assert (photo.info.width, photo.info.height) == (shorter + 77, shorter)
