"""The protocol's limits: connections, slow clients, endless headers, upgrades, malformed HTTP."""

import asyncio
import gc
import json
import re
import socket
import struct
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from http.client import HTTPResponse
from pathlib import Path
from typing import Any

import httpx
import pytest
from uvicorn import Config
from uvicorn.server import ServerState

from app.main import create_app
from app.server import protocol
from app.server.protocol import GRACE_SECONDS, SHUTDOWN_SECONDS, BoundedProtocol
from app.settings import Settings
from tests.app.helpers import connect, listening, received, running, until
from tests.app.server.helpers import Server

GET = b"GET /health/live HTTP/1.1\r\nHost: x\r\n\r\n"
OPENAPI = b"GET /openapi.json HTTP/1.1\r\nHost: x\r\n\r\n"


def post(body: bytes, *headers: str, length: int | None = None) -> bytes:
    lines = [f"Content-Length: {len(body) if length is None else length}", *headers]
    head = "POST /predict HTTP/1.1\r\nHost: x\r\n" + "\r\n".join(lines) + "\r\n\r\n"
    return head.encode() + body


def read_status(connection: socket.socket) -> int:
    """Read one whole response and return its status."""
    response = HTTPResponse(connection)
    response.begin()
    response.read()
    return response.status


def test_the_longest_idle_connection_is_evicted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(BoundedProtocol, "max_connections", 5)
    with listening() as (address, _, _), ExitStack() as closing:
        idle = [closing.enter_context(connect(address)) for _ in range(5)]
        for connection in idle[1:]:  # the first has sent nothing at all
            connection.sendall(GET)
            assert read_status(connection) == 200
        assert httpx.get(f"{address}/health/live").status_code == 200
        assert idle[0].recv(1) == b""
        idle[-1].sendall(GET)
        assert read_status(idle[-1]) == 200


def test_answered_connections_that_owe_a_body_are_evicted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(BoundedProtocol, "max_connections", 4)
    owing = b"GET /health/live HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\n"
    with listening() as (address, _, _):
        connections = [connect(address) for _ in range(6)]
        for connection in connections:
            with suppress(OSError):
                connection.sendall(owing)
        for _ in range(3):
            assert httpx.get(f"{address}/health/live").status_code == 200
        for connection in connections:
            connection.close()


def test_a_client_that_does_not_read_is_disconnected(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocol, "GRACE_SECONDS", 0)
    with listening(timeout_seconds=0.5) as (address, _, server), socket.socket() as slow:
        slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        host, port = address.removeprefix("http://").split(":")
        slow.connect((host, int(port)))
        slow.sendall(OPENAPI * 1000)  # more responses than all buffers hold
        until(lambda: server.server_state.connections)
        until(lambda: not server.server_state.connections)
        slow.settimeout(20)
        assert received(slow).count(b"HTTP/1.1 200") < 1000


@pytest.mark.parametrize(
    ("state", "seconds"),
    [({"settings": Settings(timeout_seconds=1)}, 1), ({}, Settings().timeout_seconds)],
    ids=["settings of the app", "defaults without a lifespan"],
)
def test_the_app_decides_the_timeout(state: dict[str, Any], seconds: float) -> None:
    config = Config(create_app(), http=BoundedProtocol, log_config=None)

    async def timeout() -> float:
        server, client = socket.socketpair()
        with client:
            transport, connection = await asyncio.get_running_loop().connect_accepted_socket(
                lambda: BoundedProtocol(config, ServerState(), state), server
            )
            transport.abort()
            return connection._timeout

    with ThreadPoolExecutor(1) as pool:  # here, `asyncio.run` would remove the main thread's loop
        assert pool.submit(asyncio.run, timeout()).result() == seconds + GRACE_SECONDS


@pytest.mark.parametrize("other", ["h2c", "websocket"])
def test_an_offered_upgrade_is_ignored_and_the_body_read(photo: bytes, other: str) -> None:
    offers = f"Upgrade: {other}", "Connection: Upgrade, HTTP2-Settings", "HTTP2-Settings: AAMA"
    whole = post(photo, *offers)
    with listening() as (address, _, _):
        for cut in (len(whole), len(whole) - 10, whole.index(photo), 20):
            with connect(address) as connection:
                connection.sendall(whole[:cut])
                time.sleep(0.1)
                connection.sendall(whole[cut:])
                assert read_status(connection) == 200
                connection.sendall(post(photo))  # the connection stays open
                assert read_status(connection) == 200


def test_pipelined_upgrade_offers_do_not_recurse() -> None:
    offer = b"GET /health/live HTTP/1.1\r\nUpgrade:a\r\nConnection:upgrade\r\n\r\n"
    with listening() as (address, _, _), connect(address) as connection:
        connection.sendall(offer * 60)
        answers = b""
        while answers.count(b"HTTP/1.1 200") < 60:
            answers += connection.recv(65_536)
        connection.sendall(offer * 2000)  # more than MAX_PIPELINED
        assert received(connection).count(b"HTTP/1.1 200") < 2000
        assert httpx.get(f"{address}/health/live").status_code == 200


def test_a_reset_connection_is_released_from_memory() -> None:
    reset = struct.pack("ii", 1, 0)
    with listening() as (address, _, server):
        for _ in range(20):
            with connect(address) as connection:
                connection.sendall(GET)
                assert read_status(connection) == 200
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, reset)
        until(lambda: not server.server_state.connections)
        gc.collect()
        assert not [one for one in gc.get_objects() if type(one) is BoundedProtocol]


def test_a_body_that_ends_during_shutdown_closes_the_connection() -> None:
    with listening() as (address, _, server), connect(address) as connection:
        connection.sendall(post(b"", length=99_000_000))
        assert connection.recv(12) == b"HTTP/1.1 413"
        kept: Any = next(iter(server.server_state.connections))
        server.server_state.default_headers.append((b"connection", b"close"))  # as in a shutdown
        kept.loop.call_soon_threadsafe(kept.shutdown)
        kept.loop.call_soon_threadsafe(kept.on_message_complete)
        received(connection)  # fails after 20 s if the connection stays open


@pytest.mark.parametrize("shutdown_first", [True, False])
def test_a_slowly_read_response_is_sent_completely_despite_a_shutdown(
    shutdown_first: bool,
) -> None:
    with listening() as (address, _, server), socket.socket() as slow:
        slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        host, port = address.removeprefix("http://").split(":")
        slow.connect((host, int(port)))
        until(lambda: server.server_state.connections)
        kept: Any = next(iter(server.server_state.connections))
        held = kept.transport.get_extra_info("socket")
        # The socket takes little, so the rest of the response waits in the transport.
        held.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        if shutdown_first:
            server.server_state.default_headers.append((b"connection", b"close"))
        slow.sendall(OPENAPI)
        until(kept.transport.get_write_buffer_size)
        kept.loop.call_soon_threadsafe(kept.shutdown)
        time.sleep(SHUTDOWN_SECONDS + 1)
        slow.settimeout(20)
        # This fails if the connection stays open for 20 s after the last byte.
        head, _, body = received(slow).partition(b"\r\n\r\n")
        length = re.search(rb"content-length: (\d+)", head.lower())
        assert length is not None
        assert len(body) == int(length[1]) > 20_000


@pytest.mark.parametrize("chunked", [False, True])
def test_a_client_that_is_still_sending_can_read_the_error(chunked: bool) -> None:
    """Closing at once would reset the connection, and the response would be lost."""
    size = 30_000_000
    with listening() as (address, _, _), connect(address) as connection:
        if chunked:
            head = b"POST /predict HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
            head += b"Transfer-Encoding: chunked\r\n\r\n"
            body = b"%x\r\n" % size + bytes(size) + b"\r\n0\r\n\r\n"
        else:
            head, body = post(b"", "Connection: close", length=size), bytes(size)
        connection.sendall(head + body)
        assert read_status(connection) == 413


def test_a_rejected_body_that_never_ends_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.server.protocol.LINGER_SECONDS", 0.3)
    with listening() as (address, _, _), connect(address) as connection:
        connection.sendall(post(b"", "Connection: close", length=99_000_000))
        # This fails if the connection stays open for 20 s.
        assert received(connection).startswith(b"HTTP/1.1 413")


@pytest.mark.parametrize("sent", [b"hello\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n", b"\x16\x03\x01\x00"])
def test_malformed_http_gets_the_usual_error_json(sent: bytes) -> None:
    with listening() as (address, _, _), connect(address) as connection:
        connection.sendall(sent)
        response = HTTPResponse(connection)
        response.begin()
        body = json.loads(response.read())
        assert (response.status, body["code"]) == (400, "bad_request")
        assert set(body) == {"detail", "code", "request_id"}
        assert response.getheader("X-Request-ID") == body["request_id"]
        assert connection.recv(1) == b""


def test_a_wrong_content_length(photo: bytes) -> None:
    with listening(timeout_seconds=0.5) as (address, _, _):
        with connect(address) as connection:  # the surplus is not a valid request
            connection.sendall(post(photo, length=len(photo) - 100))
            assert received(connection).startswith(b"HTTP/1.1 4")
        with connect(address) as connection:  # the rest never comes
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


def test_slow_clients_are_disconnected(log: Path, photo: bytes) -> None:
    with (
        ExitStack() as closing,
        running("app", log=log, SKYSPOTTER_TIMEOUT_SECONDS="0.5") as (address, _),
    ):
        silent, head, body = (closing.enter_context(connect(address)) for _ in range(3))
        head.sendall(b"POST /predict HTTP/1.1\r\nHost: x\r\nX-A")
        body.sendall(b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: 9999\r\n\r\n\xff\xd8")
        answer = received(body)
        assert answer.startswith(b"HTTP/1.1 504")
        assert b"timed_out" in answer
        assert httpx.post(f"{address}/predict", content=photo).status_code == 200
        assert received(head) == received(silent) == b""


def test_stalled_requests_make_room_for_others(log: Path, photo: bytes) -> None:
    head = b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: 9999\r\n\r\n\xff"
    with ExitStack() as closing, running("app", log=log, SKYSPOTTER_QUEUE_LIMIT="0") as (url, _):
        stalled = [closing.enter_context(connect(url)) for _ in range(8)]
        for connection in stalled:
            connection.sendall(head)
        until(lambda: httpx.post(f"{url}/predict", content=photo).status_code == 503)
        # Sockets time out after 20 s, before the service's own timeout of 30 s.
        answers = {connection.recv(12) for connection in stalled}
        assert answers == {b"HTTP/1.1 503", b"HTTP/1.1 504"}
        assert httpx.post(f"{url}/predict", content=photo).status_code == 200


def send_headers_forever(connection: socket.socket) -> int:
    """Send headers until the other side closes; return the number of bytes sent."""
    sent = 0
    try:
        while sent < 20_000_000:
            sent += connection.send(b"X-Header: " + b"a" * 990 + b"\r\n")
    except ConnectionError:
        pass
    return sent


@pytest.mark.parametrize(
    "start",
    [b"", b"Transfer-Encoding: chunked\r\n\r\n2\r\n\xff\xd8\r\n0\r\n"],
    ids=["headers", "trailers"],
)
def test_endless_headers_and_trailers_are_cut_off(
    server: Server, photo: bytes, start: bytes
) -> None:
    address, _ = server
    with connect(address) as connection:
        connection.sendall(b"POST /predict HTTP/1.1\r\nHost: x\r\n" + start)
        sent = send_headers_forever(connection)
    assert sent < 10_000_000  # what fits in the sockets' buffers
    assert httpx.post(f"{address}/predict", content=photo).status_code == 200
