"""Start the service and talk to it."""

import os
import re
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import pytest
from fastapi.testclient import TestClient
from uvicorn import Config, Server

from app.logs import LineFormatter
from app.main import create_app
from app.server.protocol import BoundedProtocol
from app.settings import Settings
from app.state import Service
from ml.predictor import Prediction, Predictor
from tests.helpers import ROOT


@contextmanager
def serving(**settings: Any) -> Iterator[TestClient]:
    """A client of an app with these settings and the shipped model loaded."""
    app = create_app(Settings(**settings))
    app.state.service.inference.load()
    with TestClient(app, raise_server_exceptions=False) as client:
        yield client


class Listening(NamedTuple):
    """The service on a real socket, in this process."""

    address: str
    service: Service
    server: Server


@contextmanager
def listening(**settings: Any) -> Iterator[Listening]:
    """Run the service in a thread, so that tests can inspect and patch it."""
    app = create_app(Settings(**settings))
    app.state.service.inference.load()
    server = Server(Config(app, http=BoundedProtocol, ws="none", log_config=None))
    with socket.create_server(("127.0.0.1", 0)) as bound:
        thread = threading.Thread(target=server.run, args=([bound],))
        thread.start()
        until(lambda: server.started)
        try:
            address = f"http://127.0.0.1:{bound.getsockname()[1]}"
            yield Listening(address, app.state.service, server)
        finally:
            server.should_exit = True
            thread.join()


def connect(address: str) -> socket.socket:
    host, port = address.removeprefix("http://").split(":")
    return socket.create_connection((host, int(port)), timeout=60)


def until(condition: Callable[[], object], seconds: float = 60) -> None:
    """Wait until a condition is true, and fail if it is not within the time limit."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"not true after {seconds:g} seconds"
        time.sleep(0.01)


@contextmanager
def running(
    *command: str, log: Path, **environment: str
) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """Start the service as users do; yields its address and process. It logs to `log`."""
    inherited = {k: v for k, v in os.environ.items() if not k.startswith(("SKYSPOTTER_", "CI"))}
    with log.open("wb") as opened:
        process = subprocess.Popen(
            [sys.executable, "-m", *command, "--port", "0"],
            cwd=ROOT,
            env=inherited | environment,
            stderr=opened,
        )
    try:
        yield _address(process, log), process
    finally:
        process.terminate()
        try:
            process.wait(60)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _address(process: subprocess.Popen[bytes], log: Path) -> str:
    """Wait until the service has logged its address and can predict."""

    def found() -> re.Match[str] | None:
        assert process.poll() is None, log.read_text()
        return re.search(r"http://[\d.]+:\d+", log.read_text())

    def is_ready() -> bool:
        assert process.poll() is None, log.read_text()
        with suppress(httpx.HTTPError):
            return httpx.get(f"{address}/health").status_code == 200
        return False

    until(found)
    match = found()
    assert match
    address = match.group()
    until(is_ready)
    return address


def check(response: object, status: int, code: str) -> None:
    assert response.status_code == status, response.text  # type: ignore[attr-defined]
    body = response.json()  # type: ignore[attr-defined]
    assert set(body) == {"detail", "code", "request_id"}
    assert body["code"] == code
    assert body["detail"].endswith(".")
    assert body["request_id"] == response.headers["X-Request-ID"]  # type: ignore[attr-defined]
    assert response.headers["content-type"] == "application/json"  # type: ignore[attr-defined]


def log_lines(caplog: pytest.LogCaptureFixture, format: str) -> list[str]:
    """The lines that the service has logged, in one of its formats."""
    records = [record for record in caplog.records if record.name == "skyspotter"]
    return [LineFormatter(format).format(record) for record in records]


def received(connection: socket.socket) -> bytes:
    """Read until the other side closes."""
    parts = []
    with suppress(ConnectionResetError):
        while part := connection.recv(4096):
            parts.append(part)
    return b"".join(parts)


class SlowPredictor:
    """Makes every prediction wait until `go` is set, and counts the calls."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.go, self.calls = threading.Event(), 0
        predict = Predictor.predict

        def slowly(predictor: Predictor, photo: Any) -> Prediction:
            self.calls += 1
            assert self.go.wait(60)
            return predict(predictor, photo)

        monkeypatch.setattr(Predictor, "predict", slowly)

    def wait_for_calls(self, count: int) -> None:
        """Wait until `count` predictions have begun."""
        until(lambda: self.calls >= count)
