"""The service as it runs: a real uvicorn in a process of its own."""

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from ml.predictor import Predictor
from tests.conftest import encoded, picture
from tests.ml.test_image import png

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def server() -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """Address and process of a running service."""
    command = [sys.executable, "-m", "uvicorn", "app.main:app", "--port", "0"]
    environment = {k: v for k, v in os.environ.items() if not k.startswith("SKYSPOTTER_")}
    process = subprocess.Popen(
        command, cwd=ROOT, env=environment, stderr=subprocess.PIPE, text=True
    )
    assert process.stderr is not None
    for line in process.stderr:
        if found := re.search(r"http://[\d.]+:\d+", line):
            break
    else:
        pytest.fail("uvicorn did not start")
    address = found.group()
    while httpx.get(f"{address}/health").status_code != 200:
        time.sleep(0.02)
    yield address, process
    process.kill()
    process.wait()
    process.stderr.close()


def test_many_at_once_each_get_their_own_answer(
    server: tuple[str, object], shipped: Predictor
) -> None:
    photos = [
        encoded(picture(label, seed), format)
        for label, seed in (("Flying Birds", 3), ("Winged Drones", 4), ("Small QuadCopters", 5))
        for format in ("JPEG", "PNG", "WebP")
    ]
    expected = [shipped.predict(photo).probabilities for photo in photos]
    with httpx.Client(base_url=server[0]) as client, ThreadPoolExecutor(8) as pool:
        answers = pool.map(lambda photo: client.post("/predict", content=photo).json(), photos * 4)
        assert [answer["probabilities"] for answer in answers] == expected * 4


def test_hostile_bodies_leave_it_unharmed(server: tuple[str, object], photo: bytes) -> None:
    with httpx.Client(base_url=server[0]) as client:
        for body, status in (
            (b"text", 415),
            (b"", 400),
            (photo[: len(photo) // 2], 422),
            (png(30_000, 30_000), 413),
            (bytes(21_000_000), 413),
        ):
            assert client.post("/predict", files={"file": ("x.jpg", body)}).status_code == status
            assert client.post("/predict", content=iter([body])).status_code == status
            assert client.post("/predict", content=photo).status_code == 200


def test_who_hangs_up_while_sending_is_no_error_of_ours(server: tuple[str, object]) -> None:
    host, port = server[0].removeprefix("http://").split(":")
    for content_type in ("image/jpeg", "multipart/form-data; boundary=x"):
        with socket.create_connection((host, int(port))) as connection:
            head = f"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Type: {content_type}\r\n"
            connection.sendall(f"{head}Content-Length: 1000\r\n\r\nthe first bytes".encode())
    assert httpx.get(f"{server[0]}/health").status_code == 200


def test_it_stops_when_told_to(server: tuple[str, subprocess.Popen[str]]) -> None:
    _, process = server
    process.send_signal(signal.SIGTERM)
    # uvicorn hands the signal on to itself once it has shut down in good order.
    assert process.wait(timeout=20) in (0, -signal.SIGTERM)
    assert process.stderr is not None
    log = process.stderr.read()
    assert "Traceback" not in log
    assert "internal error" not in log
