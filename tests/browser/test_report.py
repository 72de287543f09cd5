"""A training report in a real browser, opened as a file."""

from pathlib import Path

import pytest

from tests.browser.conftest import Open, accessible, shoot
from tests.ml.report.conftest import finished, folder

__all__ = ["finished", "folder"]


def report(run: Path) -> str:
    return (run / "report.html").as_uri()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1280])
def test_it_fits_the_screen_and_is_accessible(
    open_page: Open, finished: Path, width: int, scheme: str
) -> None:
    page = open_page(
        report(finished), viewport={"width": width, "height": 900}, color_scheme=scheme
    )
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    accessible(page)
    shoot(page, f"report-{width}-{scheme}")


def test_all_pictures_load(open_page: Open, finished: Path) -> None:
    page = open_page(report(finished))
    pictures = page.locator("main img")
    assert pictures.count() > 10
    for picture in pictures.all():
        picture.scroll_into_view_if_needed()
        picture.evaluate("image => image.decode()")  # fails if there is none
    drawings = page.locator("main svg").all()
    assert len(drawings) > 10
    boxes = [drawing.bounding_box() for drawing in drawings]
    assert all(box and box["width"] > 100 and box["height"] > 50 for box in boxes)


def test_keyboard_navigation(open_page: Open, finished: Path) -> None:
    page = open_page(report(finished))
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")  # skips to the report
    assert page.evaluate("document.activeElement.id") == "summary"
    links = page.locator("nav a").all()
    assert len(links) > 5
    for link in links:
        link.focus()
        page.keyboard.press("Enter")
        target = link.get_attribute("href")
        assert page.evaluate("document.activeElement.id") == str(target)[1:]
        assert page.locator(str(target)).evaluate("e => e.getBoundingClientRect().top") < 900


def test_it_prints_on_white(open_page: Open, finished: Path) -> None:
    page = open_page(report(finished), color_scheme="dark")
    page.emulate_media(media="print", color_scheme="light")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") in (
        "rgb(255, 255, 255)",
        "rgba(0, 0, 0, 0)",
    )
    assert page.pdf(format="A4").startswith(b"%PDF")
