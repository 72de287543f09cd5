"""If a client disconnects, its photo is released and not processed."""

import gc
import logging
import re
import socket
import tracemalloc

import httpx
import pytest

from tests.app.helpers import SlowPredictor, connect, listening, until

LARGE_BYTES = 2_000_000


def send_photo(address: str, body: bytes) -> socket.socket:
    connection = connect(address)
    head = f"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n"
    connection.sendall(head.encode() + body)
    return connection


def test_photos_of_disconnected_clients_are_released_and_not_processed(
    photo: bytes, slow: SlowPredictor, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="skyspotter")
    with listening(threads=1) as (address, service, _), send_photo(address, photo) as first:
        slow.wait_for_calls(1)
        tracemalloc.start()
        for _ in range(20):
            with send_photo(address, photo + bytes(LARGE_BYTES)):
                until(lambda: service.admission.in_flight == 2)
            until(lambda: service.admission.in_flight == 1)
        gc.collect()
        kept, _ = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert kept < 5 * LARGE_BYTES
        assert service.admission.buffered_bytes == len(photo)
        slow.go.set()
        assert first.recv(12) == b"HTTP/1.1 200"
        with send_photo(address, photo) as last:
            assert last.recv(12) == b"HTTP/1.1 200"
        assert slow.calls == 2
        metrics = httpx.get(f"{address}/metrics").text
    counted = re.search(r'requests_total{code="client_gone",.*status="499"} (\S+)', metrics)
    assert counted
    assert float(counted[1]) == 20
    assert sum("client_gone" in str(vars(record)) for record in caplog.records) == 20
