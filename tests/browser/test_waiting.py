"""The page if the service is busy, slow or failing, or needs an API key."""

import re
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import httpx
import pytest
from playwright.sync_api import expect

from tests.browser.conftest import SURE, UNSURE, Open, accessible, payload, serving, shoot

# Records every text that a screen reader would announce.
LISTEN = """() => {
  window.said = [];
  const say = document.getElementById("say");
  new MutationObserver(() => said.push(say.textContent)).observe(say, { childList: true });
}"""


def test_an_overloaded_service_is_retried(open_page: Open) -> None:
    with serving(threads=1, queue_limit=0) as address, occupied(address) as upload:
        page = open_page(f"{address}/")
        page.evaluate(LISTEN)
        page.set_input_files("#choose", [SURE])
        expect(page.locator("#why")).to_have_text("Trying again in 1 s")
        expect(page.locator("#sure")).to_have_text(
            "Too many photos are waiting. Try again after Retry-After seconds."
        )
        page.wait_for_timeout(2500)  # it waits more than once
        upload.close()
        expect(page.locator("#label")).to_have_text("Winged Drones")
        expect(page.locator("#say")).to_contain_text("Winged Drones")
        waited, answered = page.evaluate("said")
        assert "Trying again" in waited
        assert "Winged Drones" in answered


@contextmanager
def occupied(address: str) -> Iterator[socket.socket]:
    """Keep the service busy with an upload that does not end until the socket is closed."""
    host, port = address.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port))) as sending:
        sending.sendall(
            f"POST /predict HTTP/1.1\r\nHost: {host}\r\nContent-Length: 999\r\n\r\nphoto".encode()
        )
        while httpx.post(f"{address}/predict", content=SURE["buffer"]).status_code != 503:
            time.sleep(0.02)
        yield sending


@pytest.mark.parametrize(
    ("asked", "seconds"),
    [
        ("120", 120),
        ("0.2", 1),
        (lambda now: format_datetime(now + timedelta(seconds=90), usegmt=True), 90),
        ("soon", 1),
        (None, 2),
    ],
)
def test_retry_after_decides_the_wait(
    open_page: Open, asked: str | Callable[[datetime], str] | None, seconds: int
) -> None:
    now = datetime.now(UTC) - timedelta(days=1)  # the clocks may differ
    headers = {"Date": format_datetime(now, usegmt=True)}
    if asked is not None:
        headers["Retry-After"] = asked if isinstance(asked, str) else asked(now)
    words = {"detail": "The model is not loaded.", "code": "not_ready", "request_id": "1"}
    page = open_page()
    page.route("**/predict?*", lambda to: to.fulfill(status=503, headers=headers, json=words))
    page.set_input_files("#choose", [SURE])
    expect(page.locator("#why")).to_have_text(f"Trying again in {seconds} s")
    expect(page.locator("#sure")).to_have_text("The model is not loaded.")
    page.locator("#clear").click()
    expect(page.locator("#result")).to_be_hidden()


def test_progress_on_a_slow_connection(open_page: Open) -> None:
    page = open_page()
    line = page.context.new_cdp_session(page)
    line.send("Network.enable")
    slow = {"latency": 100, "downloadThroughput": 50_000, "uploadThroughput": 100_000}
    line.send("Network.emulateNetworkConditions", {"offline": False, **slow})
    large = payload("large.jpg", SURE["buffer"] + bytes(250_000))
    page.set_input_files("#choose", [large])
    expect(page.locator("#sure")).to_have_text(re.compile(r"Sending, [1-9]\d?\s%"))
    expect(page.locator("#progress")).to_be_visible()
    expect(page.locator("#label")).to_have_text("Winged Drones")


def test_a_failed_request_can_be_repeated(open_page: Open) -> None:
    page = open_page()
    page.route("**/predict?*", lambda route: route.fulfill(status=502, body="<html>"), times=1)
    page.set_input_files("#choose", [SURE])
    expect(page.locator("#sure")).to_contain_text("The service answered 502")
    expect(page.locator("#photo canvas")).to_be_visible()  # the message is beside the photo
    shoot(page, "failed")
    page.get_by_role("button", name="Try again").click()
    expect(page.locator("#label")).to_have_text("Winged Drones")


def test_the_key_is_requested_and_kept_for_the_tab(open_page: Open) -> None:
    with serving(api_keys=("right",)) as address:
        page = open_page(f"{address}/")
        sent: list[str] = []
        page.on("request", lambda request: sent.append(request.url.split("/")[-1]))
        page.set_input_files("#choose", [SURE, UNSURE])
        detail = page.locator("#key-detail")
        expect(detail).to_have_text(re.compile("^This service requires an API key[^`]+$"))
        assert not [url for url in sent if url.startswith("predict")], (
            "a photo is sent without a key"
        )
        accessible(page)
        page.get_by_label("Key", exact=True).fill("wrong")
        page.keyboard.press("Enter")
        expect(detail).to_contain_text("This key was refused.")
        shoot(page, "key")
        page.get_by_label("Key", exact=True).fill("right")
        page.keyboard.press("Enter")
        expect(page.locator("#label")).to_have_text("Winged Drones")
        expect(page.locator("#photos li").nth(1)).to_have_attribute("data-state", "unsure")
        page.get_by_role("button", name="Model").click()
        expect(page.locator("#card")).to_contain_text("Calibration error")
        assert page.evaluate("Object.values(sessionStorage)") == ["right"]
        assert page.evaluate("localStorage.length + document.cookie.length") == 0
        assert "right" not in (page.locator("#curl").text_content() or "")


def test_without_a_key_the_page_says_so(open_page: Open) -> None:
    with serving(api_keys=("right",)) as address:
        page = open_page(f"{address}/")
        page.set_input_files("#choose", [SURE])
        page.get_by_role("button", name="Cancel").click()
        expect(page.locator("#sure")).to_contain_text("requires an API key")
        expect(page.get_by_role("button", name="Try again")).to_be_visible()
        page.get_by_role("button", name="Model").click()
        page.get_by_role("button", name="Cancel").click()
        expect(page.locator("#card-body")).to_contain_text("requires an API key")


def test_a_missing_model_card_is_explained(open_page: Open) -> None:
    page = open_page()
    words = {"detail": "Not loaded; `/health` says more.", "code": "not_ready", "request_id": "1"}
    page.route("**/model", lambda to: to.fulfill(status=503, json=words))
    page.reload()
    page.get_by_role("button", name="Model").click()
    expect(page.locator("#card-body")).to_have_text("Not loaded; /health says more.")
