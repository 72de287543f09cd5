"""`python -m app`: what it withstands, and what it does not keep."""

import os
import socket
import subprocess
from contextlib import ExitStack, suppress
from pathlib import Path

import httpx

from tests.app.helpers import connect, received, running, until

Server = tuple[str, subprocess.Popen[bytes]]
DEADLINE = "0.5"  # seconds; the protocol adds a grace of its own


def test_slow_senders_are_cut_off(log: Path, photo: bytes) -> None:
    with (
        ExitStack() as closing,
        running("app", log=log, SKYSPOTTER_TIMEOUT_SECONDS=DEADLINE) as (address, _),
    ):
        silent, head, body = (closing.enter_context(connect(address)) for _ in range(3))
        head.sendall(b"POST /predict HTTP/1.1\r\nHost: x\r\nX-A")
        body.sendall(b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: 9999\r\n\r\n\xff\xd8")
        answer = received(body)
        assert answer.startswith(b"HTTP/1.1 504")
        assert b"timed_out" in answer
        assert httpx.post(f"{address}/predict", content=photo).status_code == 200
        assert received(head) == received(silent) == b""


def test_who_sends_nothing_more_makes_place_for_others(log: Path, photo: bytes) -> None:
    head = b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: 9999\r\n\r\n\xff"
    with ExitStack() as closing, running("app", log=log, SKYSPOTTER_QUEUE_LIMIT="0") as (url, _):
        stalled = [closing.enter_context(connect(url)) for _ in range(8)]
        for connection in stalled:
            connection.sendall(head)
        until(lambda: httpx.post(f"{url}/predict", content=photo).status_code == 503)
        answers = {connection.recv(12) for connection in stalled}  # before the deadline of 30 s
        assert answers == {b"HTTP/1.1 503", b"HTTP/1.1 504"}
        assert httpx.post(f"{url}/predict", content=photo).status_code == 200


def endlessly(connection: socket.socket) -> int:
    """Send headers until the other side closes; how many bytes went out."""
    sent = 0
    try:
        while sent < 20_000_000:
            sent += connection.send(b"X-Header: " + b"a" * 990 + b"\r\n")
    except ConnectionError:
        pass
    return sent


def test_a_head_without_end_is_refused(server: Server, photo: bytes) -> None:
    address, _ = server
    with connect(address) as connection:
        connection.sendall(b"POST /predict HTTP/1.1\r\nHost: x\r\n")
        sent = endlessly(connection)
    assert sent < 10_000_000  # what fits in the sockets' buffers
    assert httpx.post(f"{address}/predict", content=photo).status_code == 200


def test_trailers_without_end_are_refused(server: Server, photo: bytes) -> None:
    address, _ = server
    with connect(address) as connection:
        head = b"POST /predict HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
        connection.sendall(head + b"2\r\n\xff\xd8\r\n0\r\n")
        sent = endlessly(connection)
    assert sent < 10_000_000
    assert httpx.post(f"{address}/predict", content=photo).status_code == 200


def test_photos_are_kept_nowhere(log: Path, photo: bytes, tmp_path: Path) -> None:
    """Large forms go to disk on the way: whatever becomes of a request, nothing stays there."""
    spool = tmp_path / "spool"
    spool.mkdir()
    name, large = "holiday-secret.jpg", photo + bytes(4_000_000)
    with running("app", log=log, TMPDIR=str(spool)) as (address, process):
        for body, status in ((large, 200), (b"\xff\xd8\xff" + large, 422), (bytes(3_000_000), 415)):
            answer = httpx.post(f"{address}/predict", files={"file": (name, body)})
            assert answer.status_code == status
        with connect(address) as connection:  # and hangs up in the middle
            head = "POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: 9999999\r\n"
            kind = "Content-Type: multipart/form-data; boundary=x\r\n\r\n"
            part = f'--x\r\nContent-Disposition: form-data; name="file"; filename="{name}"\r\n\r\n'
            connection.sendall((head + kind + part).encode() + large)
            until(lambda: opened(process, spool) == 1)
        until(lambda: opened(process, spool) == 0)
        assert list(spool.iterdir()) == []
    assert name not in log.read_text()
    assert "\\xff\\xd8" not in log.read_text()


def opened(process: subprocess.Popen[bytes], folder: Path) -> int:
    """How many files below `folder` the process has open, deleted ones too."""
    count = 0
    for link in Path(f"/proc/{process.pid}/fd").iterdir():
        with suppress(FileNotFoundError):  # closed this moment
            count += str(folder) in os.readlink(link)
    return count
