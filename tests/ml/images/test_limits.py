from io import BytesIO

import pytest
from PIL import Image

from ml.errors import UnreadableImage
from ml.images.decode import decode
from ml.images.limits import (
    MAX_CHUNKS,
    MAX_ENTRIES,
    MAX_PAGES,
    MAX_SCANS,
    MAX_SEGMENTS,
    check_scans,
    check_structure,
    count_pages,
)
from tests.corpus import samples
from tests.helpers import encoded, picture
from tests.image_files import directories, jpeg_with, png_with, shared_directories


def test_a_jpeg_with_too_many_scans() -> None:
    data = encoded(picture(), "JPEG", progressive=True)
    last = data.rindex(b"\xff\xda")
    assert decode(data).info.format == "JPEG"
    with pytest.raises(UnreadableImage, match="too many scans"):
        decode(data[:-2] + data[last:-2] * (2 * MAX_SCANS) + data[-2:])


def test_a_large_jpeg_may_have_fewer_scans() -> None:
    scans = 20 * b"\xff\xda\x00"
    check_scans(scans, 6000, 6000)
    with pytest.raises(UnreadableImage, match="too many scans"):
        check_scans(scans, 7000, 7000)


@pytest.mark.parametrize("marker", [0xE1, 0xFE, 0xF0])
def test_a_jpeg_with_too_many_segments(marker: int) -> None:
    content = b"Exif\x00\x00" if marker == 0xE1 else b""
    with pytest.raises(UnreadableImage, match="too many segments"):
        decode(jpeg_with(marker, content, times=MAX_SEGMENTS))


@pytest.mark.parametrize("byte", [0x00, 0x20, 0xFF])
def test_a_jpeg_with_garbage_before_its_segments(byte: int) -> None:
    data = samples()["JPEG"]
    few, many = (data[:2] + bytes([byte]) * times + data[2:] for times in (20, MAX_SEGMENTS))
    check_structure(few, "JPEG")
    with pytest.raises(UnreadableImage, match="too many segments"):
        check_structure(many, "JPEG")


def test_a_png_with_too_many_chunks() -> None:
    assert decode(png_with(b"tEXt", b"a\x00b", times=1000)).info.format == "PNG"
    with pytest.raises(UnreadableImage, match="too many chunks"):
        decode(png_with(b"tEXt", b"a\x00b", times=MAX_CHUNKS))


@pytest.mark.parametrize(
    "name", [name for name in samples() if name.startswith(("JPEG", "PNG", "TIFF"))]
)
def test_ordinary_files_pass(name: str) -> None:
    check_structure(samples()[name], name.partition(",")[0])


def test_a_large_profile_and_much_metadata_pass() -> None:
    check_structure(jpeg_with(0xE2, bytes(65_000), times=200), "JPEG")  # 13 MB


@pytest.mark.parametrize(("order", "big"), [("<", False), (">", False), ("<", True)])
def test_a_tiff_of_pages_and_entries(order: str, big: bool) -> None:
    assert count_pages(directories([3, 0, 5], order, big)) == 3
    assert count_pages(directories([20] * MAX_PAGES, order, big)) == MAX_PAGES
    with pytest.raises(UnreadableImage, match="too many pages"):
        count_pages(directories([0] * (MAX_PAGES + 1), order, big))
    with pytest.raises(UnreadableImage, match="too many entries"):
        count_pages(directories([MAX_ENTRIES // 2, MAX_ENTRIES // 2 + 1], order, big))


def test_a_chain_of_pages_that_leads_out_of_the_file() -> None:
    whole = directories([2, 2, 2])
    pages = [count_pages(whole[:end]) for end in range(8, len(whole) + 1)]
    assert pages == sorted(pages)
    assert (pages[0], pages[-1]) == (1, 3)
    big = directories([1], big=True)
    assert count_pages(big[:8] + b"\xff" * 8 + big[16:]) == 1


def test_pages_that_share_their_entries_are_what_pillow_would_read() -> None:
    """Few enough to be let through: all pages are there, so more of them would cost their time."""
    data = shared_directories(pages=20, entries=500)
    assert decode(data).info.frames == count_pages(data) == 21
    with Image.open(BytesIO(data)) as opened:
        assert opened.n_frames == 21  # type: ignore[attr-defined]
    with pytest.raises(UnreadableImage, match="too many entries"):
        decode(shared_directories())
