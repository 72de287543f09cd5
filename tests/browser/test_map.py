"""The displayed photo, and the evidence map over it."""

import re
import shutil
from base64 import b64decode
from collections.abc import Iterator
from io import BytesIO
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Page, expect

from ml.data.synthetic import draw
from ml.evidence import PALETTE
from ml.export.onnx import stamp
from ml.images.preprocessing import Preprocessing
from ml.predictor import SHIPPED_MODEL, Predictor
from tests.browser.conftest import (
    PHONE,
    SURE,
    Open,
    choose,
    difference,
    payload,
    serving,
    shoot,
)
from tests.helpers import encoded, picture

# The transposition that makes an upright picture need each EXIF orientation.
TRANSPOSED = {
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
}


def rotated(image: Image.Image, format: str, orientation: int) -> bytes:
    """An image file that needs its EXIF orientation to be upright."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    turned = image if orientation == 1 else image.transpose(TRANSPOSED[orientation])
    quality = {} if format == "PNG" else {"quality": 92}
    return encoded(turned, format, exif=exif, **quality)


def frame(page: Page, opacity: int, name: str | None = None) -> Image.Image:
    page.locator("#opacity").fill(str(opacity))
    return shoot(page, name or f"evidence-{opacity}", "#frame")


def bare(page: Page) -> Image.Image:
    """The photo without the map and the outlines."""
    page.locator("#views").evaluate("views => (views.style.display = 'none')")
    return frame(page, 0, "bare")


def canvas(page: Page, selector: str) -> np.ndarray[Any, np.dtype[np.float64]]:
    """The pixels of a canvas, (height, width, 4)."""
    uri = page.locator(selector).evaluate("canvas => canvas.toDataURL()")
    with Image.open(BytesIO(b64decode(uri.split(",")[1]))) as image:
        return np.asarray(image.convert("RGBA"), dtype=float)


def asked(service: str, photo: bytes, kind: str) -> dict[str, Any]:
    """The service's answer, requested without the page."""
    reply = httpx.post(f"{service}/predict?evidence={kind}", files={"file": photo})
    answer: dict[str, Any] = reply.json()
    return answer


@pytest.mark.parametrize("orientation", [1, 3, 4, 5, 6])
@pytest.mark.parametrize("format", ["JPEG", "PNG", "WebP"])
@pytest.mark.parametrize("size", [(420, 300), (300, 300)], ids=["wide", "square"])
def test_the_photo_is_shown_upright(
    open_page: Open, format: str, orientation: int, size: tuple[int, int]
) -> None:
    upright = Image.new("RGB", size, (110, 160, 220))
    upright.paste(picture("Winged Drones", 5).resize((110, 80)), (160, 20))  # above the middle
    page = open_page(reduced_motion="reduce")
    choose(page, payload("photo", rotated(upright, format, orientation)))
    photo = bare(page)
    change = abs(difference(photo, upright.resize(photo.size)))
    corner = photo.height // 12  # they are round
    assert change[corner:-corner, corner:-corner].mean() < 4


def test_the_first_frame_of_an_animation_is_shown(open_page: Open) -> None:
    frames = [Image.new("RGB", (300, 200), colour) for colour in ("teal", "maroon", "olive")]
    data = encoded(frames[0], "GIF", save_all=True, append_images=frames[1:], duration=40, loop=0)
    page = open_page(reduced_motion="reduce")
    choose(page, payload("film.gif", data))
    expect(page.locator("#facts")).to_contain_text("3; only the first is used")
    middles = set()
    for _ in range(4):
        photo = bare(page)
        middles.add(photo.getpixel((photo.width // 2, photo.height // 2)))
        page.wait_for_timeout(50)
    assert middles == {(0, 128, 128)}


@pytest.mark.parametrize("orientation", [1, 6])
def test_the_evidence_lies_on_the_object(open_page: Open, orientation: int) -> None:
    image, (x0, y0, x1, y1) = draw("Winged Drones", np.random.default_rng(5))
    page = open_page(reduced_motion="reduce")
    choose(page, payload("turned.jpg", rotated(image, "JPEG", orientation)))
    expect(page.locator("#label")).to_have_text("Winged Drones")
    fully, without = (frame(page, opacity) for opacity in (100, 0))
    change = difference(fully, without)
    orange = np.clip(change[..., 0], 0, None) + np.clip(-change[..., 2], 0, None)  # (height, width)
    strong = np.argwhere(orange > 0.8 * orange.max())
    across, down = image.width / without.width, image.height / without.height
    y, x = strong.mean(axis=0) * (down, across)
    assert x0 < x < x1
    assert y0 < y < y1


@pytest.fixture(scope="module")
def many_views(
    shipped: Predictor, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[str, str]]:
    """Services with one view and with nine."""
    model = tmp_path_factory.mktemp("model") / "model.onnx"
    shutil.copy(SHIPPED_MODEL, model)
    stamp(model, shipped.card.model_copy(update={"preprocessing": Preprocessing(grid=3)}))
    with serving() as one, serving(model=model) as nine:
        yield one, nine


@pytest.mark.parametrize("views", [1, 9])
def test_the_map_is_what_the_service_draws(
    open_page: Open, many_views: tuple[str, str], views: int
) -> None:
    address = many_views[views > 1]
    answer = asked(address, SURE["buffer"], "png")
    with Image.open(BytesIO(b64decode(answer["evidence"].split(",")[1]))) as drawn:
        over_photo = drawn.convert("RGBA")
    boxes = np.array(asked(address, SURE["buffer"], "grid")["evidence"]["views"])
    seen = (*boxes[:, :2].min(axis=0), *boxes[:, 2:].max(axis=0))
    page = open_page(f"{address}/")
    choose(page, SURE)
    on_page = canvas(page, "#map")
    size = on_page.shape[1::-1]
    expected = np.asarray(over_photo.resize(size, Image.Resampling.BILINEAR, seen), dtype=float)
    assert expected[..., 3].max() > 200
    change = on_page[2:-2, 2:-2] - expected[2:-2, 2:-2]  # at the edges it was resized with nothing
    assert abs(change[..., 3]).max() < 8
    strong = expected[2:-2, 2:-2, 3] > 60
    assert abs(change[strong][:, :3]).max() < 12


def test_the_legend_has_the_colours_of_the_map(open_page: Open) -> None:
    page = open_page()
    choose(page, SURE)
    legend = canvas(page, "#scale")[0]
    np.testing.assert_allclose(legend[:, 3], PALETTE[1:, 3], atol=1)
    strong = legend[:, 3] > 60
    np.testing.assert_allclose(legend[strong], PALETTE[1:][strong], atol=4)
    expect(page.locator("#share")).to_have_text("70 %")


def test_numbers_of_a_region_and_of_another_class(open_page: Open, service: str) -> None:
    answer = asked(service, SURE["buffer"], "grid")
    page = open_page()
    choose(page, SURE)
    for name in ("Winged Drones", "Flying Birds"):
        page.get_by_role("radio", name=name).check()
        page.mouse.move(*middle_of(page, answer, 1, 4))
        expect_number(page, answer, name, 1, 4)
    shoot(page, "region")


def test_nine_views_are_outlined_and_have_one_grid(
    open_page: Open, many_views: tuple[str, str]
) -> None:
    page = open_page(f"{many_views[1]}/")
    choose(page, SURE)
    expect(page.locator("#views i")).to_have_count(9)
    expect(page.locator("#caption")).to_contain_text("used 9 overlapping crops, outlined")
    answer = asked(many_views[1], SURE["buffer"], "grid")
    row, column = answer["evidence"]["rows"] - 2, answer["evidence"]["columns"] - 3
    page.mouse.move(*middle_of(page, answer, row, column))
    expect_number(page, answer, "Winged Drones", row, column)
    shoot(page, "nine-views")


def test_touching_a_region_shows_its_value(open_page: Open, service: str) -> None:
    answer = asked(service, SURE["buffer"], "grid")
    page = open_page(**PHONE)
    choose(page, SURE)
    expect(page.locator("#caption")).to_contain_text("Touch a region to see its value")
    page.locator("#region").scroll_into_view_if_needed()
    page.touchscreen.tap(*middle_of(page, answer, 2, 3))
    expect_number(page, answer, "Winged Drones", 2, 3)


def middle_of(page: Page, answer: dict[str, Any], row: int, column: int) -> tuple[float, float]:
    """The centre of a cell, in pixels of the screen."""
    box = page.locator("#frame").bounding_box()
    assert box is not None
    grid, scale = answer["evidence"], box["width"] / answer["image"]["width"]
    left, top, right, bottom = grid["region"]
    x = left + (right - left) * (column + 0.5) / grid["columns"]
    y = top + (bottom - top) * (row + 0.5) / grid["rows"]
    return box["x"] + scale * x, box["y"] + scale * y


def expect_number(page: Page, answer: dict[str, Any], name: str, row: int, column: int) -> None:
    number = f"{answer['evidence']['values'][name][row][column]:+.2f}".replace("-", "−")
    said = re.compile(rf"Row {row + 1}, column {column + 1}: {re.escape(number)} .*{name}")
    expect(page.locator("#caption")).to_have_text(said)
    expect(page.locator("#cell")).to_have_text(number)


def test_a_format_that_the_browser_cannot_show(open_page: Open) -> None:
    page = open_page()
    upright = picture("Winged Drones", 5).resize((150, 300))
    choose(
        page,
        payload("photo.tiff", rotated(upright, "TIFF", 6)),
        payload("b.png", encoded(upright, "PNG")),
    )
    expect(page.locator("#photos canvas")).to_have_count(1)  # of the second
    expect(page.locator("#caption")).to_contain_text("cannot show the file")
    expect(page.locator("#region")).to_be_visible()
    box = page.locator("#frame").bounding_box()
    assert box is not None
    assert box["width"] / box["height"] == pytest.approx(0.5, rel=0.02)
    page.locator("#clear").click()
    choose(page, payload("notes.txt", b"not a photo"))
    expect(page.locator("#sure")).to_contain_text("This file is not an image")
    expect(page.locator("figure")).to_be_hidden()
