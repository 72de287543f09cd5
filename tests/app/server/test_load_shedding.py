"""Refusals of the server's own, before the app hears of a request."""

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

from app.middleware.security_headers import HEADERS
from tests.app.helpers import Listening, check, connect, listening, received, until

HEAD = "POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n{more}\r\n"


@pytest.fixture
def full() -> Iterator[Listening]:
    """A service whose places are all taken."""
    with listening() as service:
        service.service.admission.inside = service.service.admission.places
        yield service
        service.service.admission.inside = 0


def head(length: int, *more: str, path: str = "/predict") -> bytes:
    lines = "".join(f"{line}\r\n" for line in more)
    return HEAD.format(path=path, length=length, more=lines).encode()


def answer(connection: socket.socket) -> tuple[HTTPResponse, Any]:
    response = HTTPResponse(connection)
    response.begin()
    return response, json.loads(response.read())


def statuses(answers: bytes) -> list[str]:
    return re.findall(r"HTTP/1.1 (\d+)", answers.decode())


def test_who_finds_no_place_is_refused_at_the_head(full: Listening) -> None:
    with connect(full.address) as connection:
        for own_id in ("mine", "a" * 32, "f0e1d2c3-b4a5-9687-7869-5a4b3c2d1e0f"):
            connection.sendall(head(1000, f"X-Request-ID: {own_id}"))
            response, told = answer(connection)  # before anything of the body is sent
            assert (response.status, response.reason) == (503, "Service Unavailable")
            assert (told["code"], told["request_id"]) == ("overloaded", own_id)
            assert response.headers["X-Request-ID"] == own_id
            assert int(response.headers["Retry-After"]) >= 1
            assert {name: response.headers[name] for name in HEADERS} == HEADERS
            connection.sendall(bytes(1000))  # the connection goes on after it


def test_it_answers_as_the_app_does(full: Listening, photo: bytes) -> None:
    """Pages need the app's own headers, so what comes from one is refused by the app."""
    url = f"{full.address}/predict"
    by_door = httpx.post(url, content=photo, headers={"X-Request-ID": "one"})
    by_app = httpx.post(url, content=photo, headers={"X-Request-ID": "one", "Origin": "http://x"})
    check(by_door, 503, "overloaded")
    assert by_door.json() == by_app.json()
    assert set(by_app.headers) - set(by_door.headers) == {"date", "server"}
    assert not set(by_door.headers) - set(by_app.headers)


def test_only_photos_are_refused(full: Listening) -> None:
    for path in ("/health/live", "/health", "/metrics", "/model", "/"):
        assert httpx.get(f"{full.address}{path}").status_code == 200
    for path, status, code in (
        ("/predict/batch", 503, "overloaded"),
        ("/health", 405, "method_not_allowed"),
        ("/nothing", 404, "not_found"),
    ):
        check(httpx.post(f"{full.address}{path}", content=b"x"), status, code)


def test_a_prefix_that_no_proxy_strips_is_known() -> None:
    with listening(root_path="/prod", queue_limit=0) as service:
        service.service.admission.inside = service.service.admission.places
        for path in ("/prod/predict", "/predict"):
            answer = httpx.post(f"{service.address}{path}", content=b"x")
            check(answer, 503, "overloaded")
            assert "server" not in answer.headers  # by the door
        service.service.admission.inside = 0


def test_who_asks_before_sending_is_told_by_the_app_and_sends_nothing(full: Listening) -> None:
    with connect(full.address) as connection:
        connection.sendall(head(1000, "Expect: 100-continue"))
        response, told = answer(connection)
        assert (response.status, told["code"]) == (503, "overloaded")


@pytest.mark.parametrize("more", [["Connection: close"], []])
def test_a_connection_that_shall_end_ends_once_the_body_has_come(
    full: Listening, more: list[str]
) -> None:
    with connect(full.address) as connection:
        sent = head(10, *more)
        connection.sendall(sent if more else sent.replace(b"HTTP/1.1", b"HTTP/1.0"))
        assert answer(connection)[0].status == 503
        connection.sendall(bytes(10))
        assert connection.recv(1) == b""


def test_a_refused_body_that_does_not_come_ends_the_connection(
    full: Listening, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "app.server.protocol.GRACE_SECONDS", 0.5 - full.service.settings.timeout_seconds
    )
    with connect(full.address) as connection:
        connection.sendall(head(10))
        assert answer(connection)[0].status == 503
        assert connection.recv(1) == b""


def test_a_slow_body_is_waited_for_so_that_the_answer_is_read(full: Listening) -> None:
    with connect(full.address) as connection:
        connection.sendall(head(2))
        time.sleep(2.5)
        connection.sendall(b"ab" + head(0, "Connection: close"))
        assert statuses(received(connection)) == ["503", "503"]


def test_who_does_not_read_refusals_gets_no_more_of_them(full: Listening) -> None:
    """They would all have to be kept."""
    with connect(full.address) as connection:
        connection.settimeout(1)
        with suppress(OSError):  # it is read no more, or cut off
            for _ in range(1000):
                connection.sendall(head(0) * 500)
        kept = [
            one.transport.get_write_buffer_size() for one in full.server.server_state.connections
        ]
    assert sum(kept) < 1_000_000


def test_a_chunked_body_is_passed_over(full: Listening) -> None:
    chunked = b"POST /predict HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
    with connect(full.address) as connection:
        for _ in range(2):
            connection.sendall(chunked + b"3\r\nabc\r\n0\r\n\r\n")
            assert answer(connection)[0].status == 503


def test_one_that_waits_behind_another_is_answered_in_its_turn(full: Listening) -> None:
    probe = b"GET /health/live HTTP/1.1\r\nHost: x\r\n\r\n"
    with connect(full.address) as connection:
        connection.sendall(probe + head(0) + probe + head(0, "Connection: close"))
        assert statuses(received(connection)) == ["200", "503", "200", "503"]


def test_refusals_are_counted_and_told_together(
    full: Listening, caplog: pytest.LogCaptureFixture
) -> None:
    for path in ("/predict", "/predict", "/predict/batch"):
        check(httpx.post(f"{full.address}{path}", content=b"x"), 503, "overloaded")
    until(lambda: b"skyspotter_refused_total 3.0" in full.service.metrics.text())
    told = full.service.metrics.text().decode()
    for route, count in (("/predict", 2), ("/predict/batch", 1)):
        series = f'{{code="overloaded",route="{route}",status="503"}} {count}.0'
        assert f"skyspotter_requests_total{series}" in told
    [line] = [one for one in caplog.records if one.getMessage() == "refused at the door"]
    assert line.__dict__["facts"] == {"code": "overloaded", "requests": 3}


def test_where_there_is_place_again_photos_are_answered(full: Listening, photo: bytes) -> None:
    check(httpx.post(f"{full.address}/predict", content=photo), 503, "overloaded")
    full.service.admission.inside = 0
    assert httpx.post(f"{full.address}/predict", content=photo).status_code == 200
