"""`python -m app`: how it stops, how it takes up a new model, what a dead worker leaves behind."""

import os
import shutil
import signal
import subprocess
import time
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import httpx

from ml.export import stamp
from ml.predictor import SHIPPED_MODEL, Predictor
from tests.app.conftest import connect, until
from tests.app.test_guarded_server import received

Server = tuple[str, subprocess.Popen[bytes]]


class Load:
    """Keeps asking, on several connections, until told to stop; remembers every answer."""

    def __init__(self, address: str, photo: bytes, clients: int = 4) -> None:
        self.address, self.photo, self.stop = address, photo, False
        self.pool = ThreadPoolExecutor(clients)
        self.work: list[Future[list[int | str]]] = [
            self.pool.submit(self._ask) for _ in range(clients)
        ]

    def _ask(self) -> list[int | str]:
        answers: list[int | str] = []
        while not self.stop:
            try:
                answer = httpx.post(f"{self.address}/predict", content=self.photo, timeout=20)
                answers.append(answer.status_code)
            except httpx.HTTPError as error:
                answers.append(type(error).__name__)
        return answers

    def answers(self) -> list[int | str]:
        self.stop = True
        return [answer for work in self.work for answer in work.result()]


def test_what_is_in_hand_is_finished_before_it_stops(server: Server, photo: bytes) -> None:
    address, process = server
    with connect(address) as connection:
        head = f"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: {len(photo)}\r\n\r\n"
        connection.sendall(head.encode() + photo[:-10])
        time.sleep(0.2)
        process.send_signal(signal.SIGTERM)
        time.sleep(0.5)
        connection.sendall(photo[-10:])
        assert received(connection).startswith(b"HTTP/1.1 200")
    assert process.wait(timeout=20) in (0, -signal.SIGTERM)


def test_a_new_model_is_taken_up_without_a_dropped_request(
    workers: Server, model: Path, photo: bytes, shipped: Predictor, log: Path
) -> None:
    address, process = workers

    def versions() -> set[str]:
        answers = [httpx.get(f"{address}/health").json() for _ in range(12)]
        return {answer["model"]["version"] for answer in answers}

    load = Load(address, photo)
    model.write_bytes(SHIPPED_MODEL.read_bytes()[:-50_000])
    process.send_signal(signal.SIGHUP)
    until(lambda: log.read_text().count("new model refused") == 2)
    assert versions() == {shipped.card.version}

    shutil.copy(SHIPPED_MODEL, model)
    stamp(model, shipped.card.model_copy(update={"version": "2.0"}))
    process.send_signal(signal.SIGHUP)
    until(lambda: log.read_text().count("model 2.0 is served") == 2)
    assert versions() == {"2.0"}
    answers = load.answers()
    assert len(answers) > 10
    assert set(answers) == {200}


def test_a_worker_that_is_killed_is_replaced_and_numbers_are_of_all(
    workers: Server, photo: bytes
) -> None:
    address, process = workers

    def children() -> set[int]:
        listed = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text()
        return {
            pid
            for pid in map(int, listed.split())
            if b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes()
        }

    def counted() -> float:
        lines = httpx.get(f"{address}/metrics").text.splitlines()
        (line,) = (
            line
            for line in lines
            if line.startswith('skyspotter_requests_total{code="",ro')
            and 'route="/predict"' in line
        )
        return float(line.split()[-1])

    for _ in range(10):
        assert httpx.post(f"{address}/predict", content=photo).status_code == 200
    assert counted() == 10
    before = children()
    assert len(before) == 2
    os.kill(min(before), signal.SIGKILL)
    until(lambda: len(children() - before) == 1)
    for _ in range(10):
        assert httpx.post(f"{address}/predict", content=photo).status_code == 200
    assert counted() == 20
