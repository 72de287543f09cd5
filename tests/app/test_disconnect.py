"""Clients that hang up: what they sent is dropped, and is not worked on."""

import gc
import logging
import re
import socket
import tracemalloc

import httpx
import pytest

from tests.app.helpers import Slow, connect, listening, until

LARGE = 2_000_000


def sent(address: str, body: bytes) -> socket.socket:
    connection = connect(address)
    head = f"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n"
    connection.sendall(head.encode() + body)
    return connection


def test_photos_of_clients_that_hung_up_are_dropped_and_not_worked_on(
    photo: bytes, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="skyspotter")
    slow = Slow(monkeypatch)
    with listening(threads=1) as (address, service, _), sent(address, photo) as first:
        slow.until(begun=1)
        tracemalloc.start()
        for _ in range(20):
            with sent(address, photo + bytes(LARGE)):
                until(lambda: service.admission.inside == 2)
            until(lambda: service.admission.inside == 1)
        gc.collect()
        kept, _ = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert kept < 5 * LARGE
        assert service.admission.held_bytes == len(photo)
        slow.go.set()
        assert first.recv(12) == b"HTTP/1.1 200"
        with sent(address, photo) as last:
            assert last.recv(12) == b"HTTP/1.1 200"
        assert slow.begun == 2
        metrics = httpx.get(f"{address}/metrics").text
    gone = re.search(r'requests_total{code="client_gone",.*status="499"} (\S+)', metrics)
    assert gone
    assert float(gone[1]) == 20
    assert sum("client_gone" in str(vars(record)) for record in caplog.records) == 20
