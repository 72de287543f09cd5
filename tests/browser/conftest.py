"""A real Chromium and a real uvicorn. A request to anywhere else fails the test."""

import shutil
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from axe_playwright_python.sync_playwright import Axe
from numpy.typing import NDArray
from PIL import Image
from playwright.sync_api import (
    Browser,
    BrowserContext,
    ConsoleMessage,
    FilePayload,
    Page,
    Route,
    expect,
    sync_playwright,
)
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn import Config, Server

from app.main import create_app
from app.settings import Settings
from tests.helpers import encoded, picture

SCREENSHOTS = Path(__file__).resolve().parents[1] / "screenshots"  # not in git; to look at
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
FLAGS = (
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run "
    "--disable-background-networking --disable-component-update --disable-sync"
)
Open = Callable[..., Page]


def stripping(app: ASGIApp, prefix: str) -> ASGIApp:
    """A proxy that strips `prefix` without telling the app, as API stages do."""

    async def proxy(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            scope["path"] = scope["path"].removeprefix(prefix) or "/"
            scope["raw_path"] = scope["path"].encode()
        await app(scope, receive, send)

    return proxy


@contextmanager
def serving(prefix: str = "", **settings: Any) -> Iterator[str]:
    """The address of a service with these settings."""
    app = create_app(Settings(root_path=prefix, **settings))
    app.state.service.inference.load()
    with socket.create_server(("127.0.0.1", 0)) as listening:
        server = Server(Config(stripping(app, prefix), log_level="warning", lifespan="off"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        try:
            yield f"http://127.0.0.1:{listening.getsockname()[1]}{prefix}"
        finally:
            server.should_exit = True
            thread.join()


@pytest.fixture(scope="module")
def service() -> Iterator[str]:
    with serving() as address:
        yield address


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    if CHROMIUM is None:
        pytest.skip("there is no Chromium: apt-get install chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS.split())
        yield browser
        browser.close()


@pytest.fixture
def open_page(browser: Browser, service: str) -> Iterator[Open]:
    """Opens an address of the service. At the end, the browser must have logged no errors."""
    contexts: list[BrowserContext] = []
    wrong: list[str] = []

    def outside(route: Route) -> None:
        wrong.append(f"requested {route.request.url}")
        route.abort()

    def opened(address: str = f"{service}/", **options: Any) -> Page:
        context = browser.new_context(**{"viewport": {"width": 1280, "height": 800}} | options)
        contexts.append(context)
        origin = "/".join(address.split("/")[:3])
        context.route(lambda url: not url.startswith(origin), outside)
        context.on("console", lambda said: wrong.append(said.text) if _is_wrong(said) else None)
        context.on("weberror", lambda error: wrong.append(str(error.error)))
        context.set_default_timeout(15_000)
        page = context.new_page()
        page.goto(address, wait_until="load")
        return page

    yield opened
    for context in contexts:
        context.close()
    assert wrong == []


# The browser logs each error response; the tests check what the page says about it.
# Swagger UI logs that it has no component for files in lists, but shows a file chooser.
_EXPECTED = ("the server responded with", "Could not find component: JsonSchema_string_binary")


def _is_wrong(said: ConsoleMessage) -> bool:
    expected = any(words in said.text for words in _EXPECTED)
    return said.type in ("error", "warning") and not expected


def accessible(page: Page) -> None:
    """axe must find no serious or critical problems."""
    found = Axe().run(page).response["violations"]
    bad = [one for one in found if one["impact"] in ("serious", "critical")]
    assert [(one["id"], [node["target"] for node in one["nodes"]]) for one in bad] == []


def shoot(page: Page, name: str, selector: str | None = None) -> Image.Image:
    """Take a screenshot of the page, or of one element."""
    SCREENSHOTS.mkdir(exist_ok=True)
    path = SCREENSHOTS / f"{name}.png"
    size = page.viewport_size
    if selector:
        page.locator(selector).screenshot(path=path, animations="disabled")
    elif size and page.evaluate("matchMedia('(pointer: coarse)').matches"):
        # A full-page screenshot would switch off touch: enlarge the screen instead.
        height = page.evaluate("document.documentElement.scrollHeight")
        page.set_viewport_size({"width": size["width"], "height": height})
        page.screenshot(path=path, animations="disabled")
        page.set_viewport_size(size)
    else:
        whole = page.locator("dialog[open]").count() == 0  # not what is behind a dialog
        page.screenshot(path=path, full_page=whole, animations="disabled")
    return Image.open(BytesIO(path.read_bytes())).convert("RGB")


def difference(one: Image.Image, other: Image.Image) -> NDArray[np.float64]:
    """The signed difference of the channels, (height, width, 3)."""
    change: NDArray[np.float64] = np.asarray(one, dtype=float) - np.asarray(other, dtype=float)
    return change


def payload(name: str, data: bytes) -> FilePayload:
    return {"name": name, "mimeType": "image/jpeg", "buffer": data}


def drawn(label: str, seed: int) -> FilePayload:
    return payload(f"{label}-{seed}.jpg", encoded(picture(label, seed), "JPEG", quality=92))


SURE = drawn("Winged Drones", 5)
UNSURE = drawn("Flying Birds", 3)
DAMAGED = payload("damaged.jpg", SURE["buffer"][:4000])
PHONE = {"viewport": {"width": 320, "height": 640}, "has_touch": True, "is_mobile": True}


def choose(page: Page, *photos: FilePayload) -> None:
    """Choose photos and wait for all results."""
    page.set_input_files("#choose", photos)
    settled = page.locator(
        "#photos li:is([data-state=done], [data-state=unsure], [data-state=failed])"
    )
    expect(settled).to_have_count(len(photos))
