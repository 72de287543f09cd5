"""Connections: how many, how slow, what they offer, what of them is refused early."""

import gc
import json
import re
import resource
import socket
import struct
import time
from contextlib import ExitStack
from http.client import HTTPResponse
from typing import Any

import httpx
import pytest

from app.server.cli import allowed, raise_file_limit
from app.server.protocol import GOODBYE_SECONDS, BoundedProtocol
from tests.app.helpers import connect, listening, received, until

GET = b"GET /health/live HTTP/1.1\r\nHost: x\r\n\r\n"
OPENAPI = b"GET /openapi.json HTTP/1.1\r\nHost: x\r\n\r\n"


def post(body: bytes, *headers: str, length: int | None = None) -> bytes:
    lines = [f"Content-Length: {len(body) if length is None else length}", *headers]
    head = "POST /predict HTTP/1.1\r\nHost: x\r\n" + "\r\n".join(lines) + "\r\n\r\n"
    return head.encode() + body


def answered(connection: socket.socket) -> int:
    """Status of one answer, which is taken in whole."""
    response = HTTPResponse(connection)
    response.begin()
    response.read()
    return response.status


def test_where_all_connections_are_taken_the_longest_idle_one_goes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(BoundedProtocol, "most", 5)
    with listening() as (address, _, _), ExitStack() as closing:
        idle = [closing.enter_context(connect(address)) for _ in range(5)]
        for connection in idle[1:]:  # the first has sent nothing at all
            connection.sendall(GET)
            assert answered(connection) == 200
        assert httpx.get(f"{address}/health/live").status_code == 200
        assert idle[0].recv(1) == b""
        idle[-1].sendall(GET)
        assert answered(idle[-1]) == 200


def test_files_suffice_for_the_connections(monkeypatch: pytest.MonkeyPatch) -> None:
    limits: list[tuple[int, int]] = []
    monkeypatch.setattr(resource, "setrlimit", lambda _, limit: limits.append(limit))
    for soft, hard in ((1024, 524_288), (1024, 4096), (1024, resource.RLIM_INFINITY)):
        monkeypatch.setattr(resource, "getrlimit", lambda _, now=(soft, hard): now)
        raise_file_limit()
    assert limits == [(8192, 524_288), (4096, 4096), (8192, resource.RLIM_INFINITY)]
    for soft in (524_288, resource.RLIM_INFINITY):  # more than enough
        monkeypatch.setattr(resource, "getrlimit", lambda _, now=(soft, soft): now)
        raise_file_limit()
    assert len(limits) == 3


def test_more_workers_than_cpus_are_not_started(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.server.cli.usable_cpus", lambda: 3)
    assert [allowed(workers) for workers in (1, 3, 4, 100)] == [1, 3, 3, 3]


def test_who_does_not_read_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(BoundedProtocol, "seconds", 0.5)
    with listening() as (address, _, server), socket.socket() as slow:
        slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        host, port = address.removeprefix("http://").split(":")
        slow.connect((host, int(port)))
        slow.sendall(OPENAPI * 1000)  # more answers than fit in all buffers
        until(lambda: server.server_state.connections)
        until(lambda: not server.server_state.connections)
        slow.settimeout(20)
        assert received(slow).count(b"HTTP/1.1 200") < 1000


@pytest.mark.parametrize("protocol", ["h2c", "websocket"])
def test_a_request_that_offers_another_protocol_keeps_its_body(photo: bytes, protocol: str) -> None:
    offers = f"Upgrade: {protocol}", "Connection: Upgrade, HTTP2-Settings", "HTTP2-Settings: AAMA"
    whole = post(photo, *offers)
    with listening() as (address, _, _):
        for cut in (len(whole), len(whole) - 10, whole.index(photo), 20):
            with connect(address) as connection:
                connection.sendall(whole[:cut])
                time.sleep(0.1)
                connection.sendall(whole[cut:])
                assert answered(connection) == 200
                connection.sendall(post(photo))  # and goes on
                assert answered(connection) == 200


def test_many_offers_at_once_are_not_taken_up_one_within_the_other() -> None:
    offer = b"GET /health/live HTTP/1.1\r\nUpgrade:a\r\nConnection:upgrade\r\n\r\n"
    with listening() as (address, _, _), connect(address) as connection:
        connection.sendall(offer * 60)
        answers = b""
        while answers.count(b"HTTP/1.1 200") < 60:
            answers += connection.recv(65_536)
        connection.sendall(offer * 2000)  # more than wait behind one another
        assert received(connection).count(b"HTTP/1.1 200") < 2000
        assert httpx.get(f"{address}/health/live").status_code == 200


def test_nothing_is_kept_of_connections_that_were_reset() -> None:
    at_once = struct.pack("ii", 1, 0)
    with listening() as (address, _, server):
        for _ in range(20):
            with connect(address) as connection:
                connection.sendall(GET)
                assert answered(connection) == 200
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, at_once)
        until(lambda: not server.server_state.connections)
        gc.collect()
        assert not [one for one in gc.get_objects() if type(one) is BoundedProtocol]


def test_a_body_that_ends_late_does_not_hold_up_the_end() -> None:
    with listening() as (address, _, server), connect(address) as connection:
        connection.sendall(post(b"", length=99_000_000))
        assert connection.recv(12) == b"HTTP/1.1 413"
        kept: Any = next(iter(server.server_state.connections))
        server.server_state.default_headers.append((b"connection", b"close"))  # as it stops
        kept.loop.call_soon_threadsafe(kept.shutdown)
        kept.loop.call_soon_threadsafe(kept.on_message_complete)
        started = time.monotonic()
        received(connection)
        assert time.monotonic() - started < 5


@pytest.mark.parametrize("stops_first", [True, False])
def test_an_answer_that_goes_out_slowly_goes_out_whole_though_the_service_stops(
    stops_first: bool,
) -> None:
    with listening() as (address, _, server), socket.socket() as slow:
        slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        host, port = address.removeprefix("http://").split(":")
        slow.connect((host, int(port)))
        until(lambda: server.server_state.connections)
        kept: Any = next(iter(server.server_state.connections))
        held = kept.transport.get_extra_info("socket")
        held.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)  # what is left waits here
        if stops_first:
            server.server_state.default_headers.append((b"connection", b"close"))
        slow.sendall(OPENAPI)
        until(kept.transport.get_write_buffer_size)
        kept.loop.call_soon_threadsafe(kept.shutdown)
        time.sleep(GOODBYE_SECONDS + 1)
        slow.settimeout(20)
        started = time.monotonic()
        head, _, body = received(slow).partition(b"\r\n\r\n")
        assert time.monotonic() - started < 5  # nobody is waited for who has read it all
        length = re.search(rb"content-length: (\d+)", head.lower())
        assert length is not None
        assert len(body) == int(length[1]) > 20_000


@pytest.mark.parametrize("chunked", [False, True])
def test_who_is_refused_early_reads_the_answer_all_the_same(chunked: bool) -> None:
    """The rest of the body is on its way: a reset would take the answer with it."""
    size = 30_000_000
    with listening() as (address, _, _), connect(address) as connection:
        if chunked:
            head = b"POST /predict HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
            head += b"Transfer-Encoding: chunked\r\n\r\n"
            body = b"%x\r\n" % size + bytes(size) + b"\r\n0\r\n\r\n"
        else:
            head, body = post(b"", "Connection: close", length=size), bytes(size)
        connection.sendall(head + body)
        assert answered(connection) == 413


def test_who_never_ends_a_refused_body_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.server.protocol.LINGER_SECONDS", 0.3)
    with listening() as (address, _, _), connect(address) as connection:
        connection.sendall(post(b"", "Connection: close", length=99_000_000))
        started = time.monotonic()
        assert received(connection).startswith(b"HTTP/1.1 413")
        assert time.monotonic() - started < 5


@pytest.mark.parametrize("sent", [b"hello\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n", b"\x16\x03\x01\x00"])
def test_what_is_no_http_is_answered_as_all_errors_are(sent: bytes) -> None:
    with listening() as (address, _, _), connect(address) as connection:
        connection.sendall(sent)
        response = HTTPResponse(connection)
        response.begin()
        body = json.loads(response.read())
        assert (response.status, body["code"]) == (400, "bad_request")
        assert set(body) == {"detail", "code", "request_id"}
        assert response.getheader("X-Request-ID") == body["request_id"]
        assert connection.recv(1) == b""


def test_lengths_that_lie(photo: bytes) -> None:
    with listening(timeout_seconds=0.5) as (address, _, _):
        with connect(address) as connection:  # what is more than was announced is no request
            connection.sendall(post(photo, length=len(photo) - 100))
            assert received(connection).startswith(b"HTTP/1.1 4")
        with connect(address) as connection:  # less never ends
            connection.sendall(post(photo, length=len(photo) + 100))
            assert received(connection).startswith(b"HTTP/1.1 504")
        for length in ("-1", "1e3", "9" * 30, "5, 6"):
            with connect(address) as connection:
                connection.sendall(
                    b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: %b\r\n\r\n"
                    % length.encode()
                )
                answer = received(connection)
                assert answer.startswith((b"HTTP/1.1 400", b"HTTP/1.1 413")), (length, answer)
        assert httpx.post(f"{address}/predict", content=photo).status_code == 200
