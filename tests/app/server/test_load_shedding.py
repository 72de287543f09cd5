"""Load shedding: 503 responses that are sent before the app is called."""

import json
import re
import socket
import time
from collections.abc import Iterator
from contextlib import suppress
from http.client import HTTPResponse
from typing import Any

import httpx
import pytest

from app.middleware import SECURITY_HEADERS
from tests.app.helpers import Listening, check, connect, listening, received, until

HEAD = "POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n{more}\r\n"


@pytest.fixture
def full() -> Iterator[Listening]:
    """A service without a free slot."""
    with listening() as service:
        admission = service.service.admission
        admission.in_flight = admission.max_requests
        yield service
        admission.in_flight = 0


def head(length: int, *more: str, path: str = "/predict") -> bytes:
    lines = "".join(f"{line}\r\n" for line in more)
    return HEAD.format(path=path, length=length, more=lines).encode()


def answer(connection: socket.socket) -> tuple[HTTPResponse, Any]:
    response = HTTPResponse(connection)
    response.begin()
    return response, json.loads(response.read())


def statuses(answers: bytes) -> list[str]:
    return re.findall(r"HTTP/1.1 (\d+)", answers.decode())


def test_a_photo_is_rejected_after_the_headers(full: Listening) -> None:
    with connect(full.address) as connection:
        for own_id in ("mine", "a" * 32, "f0e1d2c3-b4a5-9687-7869-5a4b3c2d1e0f"):
            connection.sendall(head(1000, f"X-Request-ID: {own_id}"))
            response, body = answer(connection)  # before the body is sent
            assert (response.status, response.reason) == (503, "Service Unavailable")
            assert (body["code"], body["request_id"]) == ("overloaded", own_id)
            assert response.headers["X-Request-ID"] == own_id
            assert int(response.headers["Retry-After"]) >= 1
            assert {name: response.headers[name] for name in SECURITY_HEADERS} == SECURITY_HEADERS
            connection.sendall(bytes(1000))  # the connection stays open


def test_the_response_is_the_one_of_the_app(full: Listening, photo: bytes) -> None:
    """A request with an Origin is rejected by the app, because it needs CORS headers."""
    url = f"{full.address}/predict"
    by_shedder = httpx.post(url, content=photo, headers={"X-Request-ID": "one"})
    by_app = httpx.post(url, content=photo, headers={"X-Request-ID": "one", "Origin": "http://x"})
    check(by_shedder, 503, "overloaded")
    assert by_shedder.json() == by_app.json()
    assert set(by_app.headers) - set(by_shedder.headers) == {"date", "server"}
    assert not set(by_shedder.headers) - set(by_app.headers)


def test_only_photo_routes_are_rejected(full: Listening) -> None:
    for path in ("/health/live", "/health", "/metrics", "/model", "/"):
        assert httpx.get(f"{full.address}{path}").status_code == 200
    for path, status, code in (
        ("/predict/batch", 503, "overloaded"),
        ("/health", 405, "method_not_allowed"),
        ("/nothing", 404, "not_found"),
    ):
        check(httpx.post(f"{full.address}{path}", content=b"x"), status, code)


def test_routes_with_the_root_path_are_rejected_too() -> None:
    with listening(root_path="/prod", queue_limit=0) as service:
        service.service.admission.in_flight = service.service.admission.max_requests
        for path in ("/prod/predict", "/predict"):
            answer = httpx.post(f"{service.address}{path}", content=b"x")
            check(answer, 503, "overloaded")
            assert "server" not in answer.headers  # so the load shedder sent it
        service.service.admission.in_flight = 0


def test_a_request_that_expects_100_continue_is_rejected_by_the_app(full: Listening) -> None:
    with connect(full.address) as connection:
        connection.sendall(head(1000, "Expect: 100-continue"))
        response, body = answer(connection)
        assert (response.status, body["code"]) == (503, "overloaded")


@pytest.mark.parametrize("more", [["Connection: close"], []])
def test_a_connection_closes_after_the_body_if_the_client_asks_for_it(
    full: Listening, more: list[str]
) -> None:
    with connect(full.address) as connection:
        sent = head(10, *more)
        connection.sendall(sent if more else sent.replace(b"HTTP/1.1", b"HTTP/1.0"))
        assert answer(connection)[0].status == 503
        connection.sendall(bytes(10))
        assert connection.recv(1) == b""


def test_a_connection_closes_if_the_rejected_body_never_arrives(
    full: Listening, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "app.server.protocol.GRACE_SECONDS", 0.5 - full.service.settings.timeout_seconds
    )
    with connect(full.address) as connection:
        connection.sendall(head(10))
        assert answer(connection)[0].status == 503
        assert connection.recv(1) == b""


def test_a_slow_body_does_not_reset_the_connection(full: Listening) -> None:
    with connect(full.address) as connection:
        connection.sendall(head(2))
        time.sleep(2.5)
        connection.sendall(b"ab" + head(0, "Connection: close"))
        assert statuses(received(connection)) == ["503", "503"]


def test_a_client_that_does_not_read_gets_no_more_rejections(full: Listening) -> None:
    """The server would have to buffer all of them."""
    with connect(full.address) as connection:
        connection.settimeout(1)
        with suppress(OSError):  # the server stops reading, or closes the connection
            for _ in range(1000):
                connection.sendall(head(0) * 500)
        kept = [
            one.transport.get_write_buffer_size() for one in full.server.server_state.connections
        ]
    assert sum(kept) < 1_000_000


def test_a_chunked_body_is_skipped(full: Listening) -> None:
    chunked = b"POST /predict HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
    with connect(full.address) as connection:
        for _ in range(2):
            connection.sendall(chunked + b"3\r\nabc\r\n0\r\n\r\n")
            assert answer(connection)[0].status == 503


def test_pipelined_requests_are_answered_in_order(full: Listening) -> None:
    probe = b"GET /health/live HTTP/1.1\r\nHost: x\r\n\r\n"
    with connect(full.address) as connection:
        connection.sendall(probe + head(0) + probe + head(0, "Connection: close"))
        assert statuses(received(connection)) == ["200", "503", "200", "503"]


def test_rejections_are_counted_and_logged_together(
    full: Listening, caplog: pytest.LogCaptureFixture
) -> None:
    for path in ("/predict", "/predict", "/predict/batch"):
        check(httpx.post(f"{full.address}{path}", content=b"x"), 503, "overloaded")
    until(lambda: b"skyspotter_refused_total 3.0" in full.service.metrics.text())
    metrics = full.service.metrics.text().decode()
    for route, count in (("/predict", 2), ("/predict/batch", 1)):
        series = f'{{code="overloaded",route="{route}",status="503"}} {count}.0'
        assert f"skyspotter_requests_total{series}" in metrics
    [line] = [
        one for one in caplog.records if one.getMessage() == "requests rejected by load shedding"
    ]
    assert line.__dict__["fields"] == {"code": "overloaded", "requests": 3}


def test_photos_are_answered_after_a_slot_is_free(full: Listening, photo: bytes) -> None:
    check(httpx.post(f"{full.address}/predict", content=photo), 503, "overloaded")
    full.service.admission.in_flight = 0
    assert httpx.post(f"{full.address}/predict", content=photo).status_code == 200
