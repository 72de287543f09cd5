"""Swagger UI, in a browser that can reach only the service."""

import json
import re
from typing import Any

import pytest
from playwright.sync_api import FilePayload, Locator, Page, expect

from tests.browser.conftest import Open, serving, shoot
from tests.helpers import encoded, picture

PHOTO: FilePayload = {
    "name": "drone.jpg",
    "mimeType": "image/jpeg",
    "buffer": encoded(picture("Winged Drones", 5), "JPEG", quality=92),
}


def operation(page: Page, path: str) -> Locator:
    """Open a route."""
    block = page.locator(".opblock").filter(has=page.locator(f'[data-path="{path}"]'))
    block.locator(".opblock-summary-control").click()
    return block


def execute(block: Locator) -> Any:
    """Press Execute and return the response."""
    block.get_by_role("button", name="Execute").click()
    live = block.locator(".live-responses-table")
    return json.loads(live.locator(".response-col_description pre").first.inner_text())


def test_predict_can_be_tried(open_page: Open, service: str) -> None:
    page = open_page(f"{service}/docs")
    assert page.title() == "Skyspotter API"
    block = operation(page, "/predict")
    block.locator("input[type=file]").set_input_files([PHOTO])
    assert execute(block)["label"] == "Winged Drones"
    shoot(page, "docs")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [320, 1280])
def test_light_and_dark_on_small_and_large_screens(
    open_page: Open, service: str, scheme: str, width: int
) -> None:
    page = open_page(
        f"{service}/docs", color_scheme=scheme, viewport={"width": width, "height": 800}
    )
    block = operation(page, "/predict")
    expect(block.locator("input[type=file]")).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    for place in (".opblock-body", "input[type=file]", ".try-out__btn >> nth=-1"):
        box = block.locator(place).bounding_box()
        assert box is not None
        assert box["x"] + box["width"] <= width, place
    colour = page.evaluate("getComputedStyle(document.documentElement).backgroundColor")
    brightness = sum(map(int, re.findall(r"\d+", colour)[:3])) / 3
    transparent = colour == "rgba(0, 0, 0, 0)"  # the browser's own white
    assert (transparent or brightness > 128) == (scheme == "light")
    shoot(page, f"docs-{scheme}-{width}")
    page.get_by_role("link", name="Skyspotter").click()
    expect(page.get_by_role("heading", name="What is flying there?")).to_be_visible()


def test_a_batch_has_a_file_chooser_per_photo(open_page: Open, service: str) -> None:
    page = open_page(f"{service}/docs")
    block = operation(page, "/predict/batch")
    for number in range(2):
        block.locator("input[type=file]").nth(number).set_input_files([PHOTO])
        if number == 0:
            block.get_by_role("button", name="Add string item").click()
    labels = [one["prediction"]["label"] for one in execute(block)["results"]]
    assert labels == ["Winged Drones", "Winged Drones"]
    shoot(page, "docs-batch")


def test_authorization_works_behind_a_prefix(open_page: Open) -> None:
    with serving(prefix="/prod", api_keys=("right",)) as address:
        page = open_page(f"{address}/docs")
        block = operation(page, "/predict")
        block.locator("input[type=file]").set_input_files([PHOTO])
        assert execute(block)["code"] == "unauthorized"
        page.locator(".auth-wrapper .authorize").first.click()
        dialog = page.locator(".modal-ux")
        dialog.locator("input").last.fill("right")
        dialog.get_by_role("button", name="Apply credentials").last.click()
        dialog.get_by_role("button", name="Close").last.click()
        block.get_by_role("button", name="Execute").click()
        expect(block.locator(".live-responses-table")).to_contain_text('"label": "Winged Drones"')
