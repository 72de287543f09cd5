"""The app on plain uvicorn (`uvicorn app.main:app`), in a process of its own."""

import signal
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from ml.predictor import Predictor
from tests.app.helpers import running
from tests.app.server.helpers import Server
from tests.helpers import encoded, picture
from tests.image_files import png


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The service's log file."""
    return tmp_path_factory.mktemp("server") / "log"


@pytest.fixture(scope="module")
def server(log: Path) -> Iterator[Server]:
    """Address and process of a running service."""
    with running("uvicorn", "app.main:app", log=log) as started:
        yield started


def test_concurrent_requests_get_their_own_answers(server: Server, shipped: Predictor) -> None:
    photos = [
        encoded(picture(label, seed), format)
        for label, seed in (("Flying Birds", 3), ("Winged Drones", 4), ("Small QuadCopters", 5))
        for format in ("JPEG", "PNG", "WebP")
    ]
    expected = [shipped.predict(photo).probabilities for photo in photos]
    with httpx.Client(base_url=server[0]) as client, ThreadPoolExecutor(8) as pool:
        answers = pool.map(lambda photo: client.post("/predict", content=photo).json(), photos * 4)
        assert [answer["probabilities"] for answer in answers] == expected * 4


def test_hostile_bodies_do_no_harm(server: Server, photo: bytes) -> None:
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


def test_a_client_that_disconnects_while_sending_is_not_an_error(server: Server) -> None:
    host, port = server[0].removeprefix("http://").split(":")
    for content_type in ("image/jpeg", "multipart/form-data; boundary=x"):
        with socket.create_connection((host, int(port))) as connection:
            head = f"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Type: {content_type}\r\n"
            connection.sendall(f"{head}Content-Length: 1000\r\n\r\nthe first bytes".encode())
    assert httpx.get(f"{server[0]}/health").status_code == 200


def test_sigterm_stops_it_without_errors(server: Server, log: Path) -> None:
    _, process = server
    process.send_signal(signal.SIGTERM)
    # After a graceful shutdown uvicorn raises the signal again.
    assert process.wait(timeout=20) in (0, -signal.SIGTERM)
    assert "Traceback" not in log.read_text()
    assert "internal error" not in log.read_text()
