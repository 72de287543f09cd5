"""The page: adding photos, results, the model card, keyboard, screen sizes."""

import json
import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest
from playwright.sync_api import FileChooser, FilePayload, Page, expect

from ml.export.onnx import stamp
from ml.predictor import SHIPPED_MODEL, Predictor
from tests.browser.conftest import (
    DAMAGED,
    PHONE,
    SURE,
    UNSURE,
    Open,
    accessible,
    choose,
    payload,
    serving,
    shoot,
)
from tests.helpers import encoded, picture


def give(page: Page, event: str, kind: str, photo: FilePayload) -> None:
    """Drop or paste a photo."""
    page.evaluate(
        """([event, kind, name, bytes]) => {
          const data = new DataTransfer();
          data.items.add(new File([new Uint8Array(bytes)], name, { type: "image/jpeg" }));
          const carrier = kind === "ClipboardEvent" ? "clipboardData" : "dataTransfer";
          const init = { [carrier]: data, bubbles: true, cancelable: true };
          document.querySelector("main").dispatchEvent(new window[kind](event, init));
        }""",
        [event, kind, photo["name"], list(photo["buffer"])],
    )


def test_a_chosen_photo_is_classified(open_page: Open, shipped: Predictor) -> None:
    expected = shipped.predict(SURE["buffer"])
    page = open_page()
    expect(page.locator("h1")).to_be_visible()
    shoot(page, "start")
    choose(page, SURE)
    expect(page.locator("#label")).to_have_text(expected.label)
    expect(page.locator("#sure")).to_contain_text(f"{100 * expected.confidence:.1f} %")
    expect(page.locator("#classes label")).to_have_count(len(expected.probabilities))
    expect(page.locator("#say")).to_contain_text(f"{SURE['name']}: {expected.label}")
    size = f"{expected.photo.width} × {expected.photo.height}, JPEG"
    expect(page.locator("#facts")).to_contain_text(size)
    answer = json.loads(page.locator("#json").text_content() or "")
    assert answer["probabilities"] == expected.probabilities
    shoot(page, "answer")


@pytest.mark.parametrize(("event", "kind"), [("drop", "DragEvent"), ("paste", "ClipboardEvent")])
def test_a_photo_can_be_dropped_or_pasted(open_page: Open, event: str, kind: str) -> None:
    page = open_page()
    give(page, event, kind, SURE)
    expect(page.locator("#label")).to_have_text("Winged Drones")


def test_each_of_several_photos_has_its_own_result(open_page: Open) -> None:
    page = open_page()
    choose(
        page, SURE, UNSURE, DAMAGED, payload("notes.txt", b"not a photo"), payload("empty.jpg", b"")
    )
    states = [item.get_attribute("data-state") for item in page.locator("#photos li").all()]
    assert states == ["done", "unsure", "failed", "failed", "failed"]
    expect(page.locator("#label")).to_have_text("Winged Drones")
    shoot(page, "several")
    for number, words in (
        (2, "damaged or cut off"),
        (3, "This file is not an image"),
        (4, "is empty"),
    ):
        page.locator("#photos button").nth(number).click()
        expect(page.locator("#sure")).to_contain_text(words)
        expect(page.locator("#details")).to_be_hidden()
    page.locator("#photos button").nth(2).click()
    expect(page.locator("#why")).to_contain_text("unreadable_image")
    shoot(page, "error")
    choose_again = page.locator("#photos button").first
    choose_again.click()
    expect(page.locator("#say")).to_contain_text("Winged Drones")
    expect(page.locator("#say")).to_contain_text("5 of 5 photos are done.")
    expect(choose_again).to_have_attribute("aria-current", "true")
    expect(page.locator("#details")).to_be_visible()


def test_not_sure_is_explained(open_page: Open, shipped: Predictor) -> None:
    expected = shipped.predict(UNSURE["buffer"])
    assert not expected.accepted
    page = open_page()
    choose(page, UNSURE)
    expect(page.locator("#label")).to_have_text("Not sure")
    expect(page.locator("#sure")).to_contain_text(f"Closest to {expected.label}")
    expect(page.locator("#why")).to_contain_text(
        f"threshold of {100 * shipped.card.threshold:.1f} %"
    )
    shoot(page, "not-sure")


def test_everything_works_by_keyboard(open_page: Open) -> None:
    page = open_page()
    _tab_to(page, "choose")
    _chooser_by_keyboard(page).set_files([SURE])
    expect(page.locator("#say")).to_contain_text("Winged Drones")
    _tab_to(page, "region")
    page.keyboard.press("ArrowRight")
    expect(page.locator("#say")).to_contain_text("Row 4, column 5")
    page.keyboard.press("Tab")
    page.keyboard.press("ArrowDown")
    expect(page.get_by_role("radio", checked=True)).to_have_value("Flying Birds")
    _tab_to(page, "opacity")
    page.keyboard.press("Home")
    assert page.locator("#map").evaluate("map => map.style.opacity") == "0"
    _tab_to(page, "copy-json")
    page.keyboard.press("Enter")
    expect(page.locator("#copy-json")).to_have_text("Copied")


def _chooser_by_keyboard(page: Page) -> FileChooser:
    """Press the space bar; headless Chromium now and then misses the first press after loading."""
    choosers: list[FileChooser] = []
    page.on("filechooser", lambda chooser: choosers.append(chooser))
    for _ in range(5):
        page.keyboard.press("Space")
        page.wait_for_timeout(1000)
        if choosers:
            return choosers[0]
    pytest.fail("the space bar never opened the file chooser")


def _tab_to(page: Page, target: str) -> None:
    for _ in range(12):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.id") == target:
            return
    pytest.fail(f"Tab never came to {target}")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_serious(open_page: Open, scheme: str) -> None:
    page = open_page(color_scheme=scheme, reduced_motion="reduce")
    accessible(page)
    choose(page, SURE, UNSURE, DAMAGED)
    accessible(page)
    shoot(page, f"several-{scheme}")
    for number in (1, 2):
        page.locator("#photos button").nth(number).click()
        accessible(page)
    page.get_by_role("button", name="Model").click()
    expect(page.locator("#card")).to_contain_text("Calibration error")
    expect(page.locator("#card")).to_contain_text("It uses only the middle square of a photo")
    expect(page.locator("#card")).to_contain_text("It always predicts one of its classes")
    accessible(page)
    shoot(page, f"card-{scheme}")
    page.keyboard.press("Escape")
    expect(page.locator("#card")).to_be_hidden()
    light = page.evaluate("getComputedStyle(document.body).backgroundColor")
    brightness = sum(map(int, re.findall(r"\d+", light)[:3])) / 3
    assert (brightness > 128) == (scheme == "light")


@pytest.mark.parametrize("width", [320, 375, 3840])
def test_screens_from_phone_to_4k(open_page: Open, width: int) -> None:
    page = open_page(**PHONE | {"viewport": {"width": width, "height": width * 9 // 16 + 500}})
    shoot(page, f"start-{width}")
    choose(page, SURE, DAMAGED)
    page.get_by_text("Response as JSON").click()
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    frame, photo = (page.locator(name).bounding_box() for name in ("#frame", "#photo"))
    assert frame == photo
    label, figure = (page.locator(name).bounding_box() for name in ("#label", "figure"))
    assert label is not None
    assert figure is not None
    assert width > 900 or label["y"] < figure["y"], "the result is not above the photo"
    shoot(page, f"answer-{width}")
    accessible(page)
    page.get_by_role("button", name="Model").tap()
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    table = page.locator("#card .scroll")
    assert table.evaluate("table => table.scrollWidth - table.clientWidth") <= 0
    shoot(page, f"card-{width}")


@pytest.mark.parametrize("width", [320, 1280])
def test_long_names_stay_within_the_page(
    open_page: Open, shipped: Predictor, tmp_path: Path, width: int
) -> None:
    photo = payload(f"{'a_long_name_' * 12}.jpg", SURE["buffer"])
    card = shipped.card
    names = ["Winged" * 12, *card.classes[1:-1], f"{'many words and ' * 12}one"]
    shutil.copy(SHIPPED_MODEL, tmp_path / "model.onnx")
    stamp(tmp_path / "model.onnx", card.model_copy(update={"classes": tuple(names)}))
    with serving(model=tmp_path / "model.onnx") as address:
        page = open_page(f"{address}/", **PHONE | {"viewport": {"width": width, "height": 640}})
        expect(page.locator("#lede")).to_contain_text(names[0])
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        choose(page, photo, photo)
        expect(page.locator("#label")).to_have_text(names[-1])
        for text in page.locator("#label, #file, #classes span, #facts dd").all():
            box = text.bounding_box()
            assert box is not None
            assert box["x"] + box["width"] <= width
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        page.get_by_text("Send with curl").click()
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        shoot(page, f"long-{width}")
        page.get_by_role("button", name="Model").click()
        expect(page.locator("#card-body")).to_contain_text(names[0])
        wide = "card => card.scrollWidth - card.clientWidth"
        assert page.locator("#card").evaluate(wide) <= 0
        shoot(page, f"long-card-{width}")


def test_clear_removes_all_photos(open_page: Open) -> None:
    page = open_page()
    expect(page.locator("#clear")).to_be_hidden()
    choose(page, SURE, DAMAGED)
    expect(page.locator("h1")).to_have_count(1)  # hidden, but there for screen readers
    page.locator("#clear").click()
    expect(page.locator("#result")).to_be_hidden()
    expect(page.locator("#photos")).to_be_hidden()
    expect(page.locator("#choose")).to_be_focused()
    shoot(page, "cleared")
    choose(page, UNSURE)
    expect(page.locator("#label")).to_have_text("Not sure")


def test_a_narrow_photo_stays_visible(open_page: Open) -> None:
    page = open_page()
    choose(page, payload("strip.png", encoded(picture().resize((8, 900)), "PNG")))
    box = page.locator("#frame").bounding_box()
    assert box is not None
    assert box["width"] >= 64
    assert box["height"] < 800


def test_dragged_text_is_ignored(open_page: Open) -> None:
    page = open_page()
    free = page.evaluate(
        """() => {
          const data = new DataTransfer();
          data.setData("text/plain", "words");
          const init = { dataTransfer: data, bubbles: true, cancelable: true };
          return document.body.dispatchEvent(new DragEvent("dragover", init));
        }"""
    )
    assert free
    assert page.locator(".dragged-over").count() == 0


def test_a_phone_offers_its_camera(open_page: Open) -> None:
    assert open_page(**PHONE).locator("#take-label").is_visible()
    assert not open_page().locator("#take-label").is_visible()


@pytest.mark.parametrize("end", ["", "/"])
def test_behind_a_prefix(open_page: Open, end: str) -> None:
    with serving(prefix="/prod") as address:
        page = open_page(f"{address}{end}")
        choose(page, SURE)
        expect(page.locator("#label")).to_have_text("Winged Drones")


@pytest.mark.skipif(shutil.which("curl") is None, reason="there is no curl")
def test_the_curl_command_works(open_page: Open, tmp_path: Path) -> None:
    name = """it's "one"; photo.jpg"""
    (tmp_path / name).write_bytes(SURE["buffer"])
    page = open_page()
    choose(page, payload(name, SURE["buffer"]))
    page.get_by_text("Send with curl").click()
    line = shlex.split(page.locator("#curl").inner_text())
    run = subprocess.run([*line, "--silent"], cwd=tmp_path, capture_output=True, check=True)
    assert json.loads(run.stdout)["label"] == "Winged Drones"
