"""`python -m app`: how it stops, how it takes up a new model, what a dead worker leaves behind."""

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from pathlib import Path

import httpx
import pytest

from ml.export.onnx import stamp
from ml.predictor import SHIPPED_MODEL, Predictor
from tests.app.helpers import connect, received, until
from tests.ml.helpers import spoil, take_other_inputs

Server = tuple[str, subprocess.Popen[bytes]]


class Load:
    """Several clients that keep asking until told to stop; remembers every answer.

    Each connects anew for every photo, or (`kept`) keeps its connection.
    """

    def __init__(self, address: str, photo: bytes, clients: int = 4, kept: bool = False) -> None:
        self.address, self.photo, self.kept, self.stop = address, photo, kept, False
        self.pool = ThreadPoolExecutor(clients)
        self.work: list[Future[list[int | str]]] = [
            self.pool.submit(self._ask) for _ in range(clients)
        ]

    def _ask(self) -> list[int | str]:
        answers: list[int | str] = []
        with httpx.Client(timeout=20) as client:
            post = client.post if self.kept else partial(httpx.post, timeout=20)
            while not self.stop:
                try:
                    answer = post(f"{self.address}/predict", content=self.photo)
                    answers.append(answer.status_code)
                except httpx.HTTPError as error:
                    answers.append(type(error).__name__)
                    time.sleep(0.01)
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


def test_ctrl_c_ends_it_without_a_traceback(server: Server, log: Path) -> None:
    _, process = server
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=20) == 0
    assert "Traceback" not in log.read_text()


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


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda model: model.write_bytes(model.read_bytes()[:-50_000]), "damaged"),
        (lambda model: model.unlink(), "no model file"),
        (take_other_inputs, "takes"),
        (spoil, "logits are off by"),
    ],
    ids=["cut off", "gone", "other inputs", "computes something else"],
)
def test_a_model_that_is_not_sound_is_refused(
    server: Server,
    model: Path,
    photo: bytes,
    shipped: Predictor,
    log: Path,
    change: Callable[[Path], object],
    reason: str,
) -> None:
    address, process = server
    before = httpx.post(f"{address}/predict", content=photo).json()
    change(model)
    process.send_signal(signal.SIGHUP)
    until(lambda: "new model refused" in log.read_text())
    assert reason in log.read_text()
    after = httpx.post(f"{address}/predict", content=photo)
    assert after.status_code == 200
    assert after.json()["probabilities"] == before["probabilities"]
    assert httpx.get(f"{address}/model").json()["version"] == shipped.card.version

    shutil.copy(SHIPPED_MODEL, model)
    process.send_signal(signal.SIGHUP)
    until(lambda: log.read_text().count("is served") == 2)


def children(process: subprocess.Popen[bytes]) -> set[int]:
    """The workers."""
    listed = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text()
    found = set()
    for pid in map(int, listed.split()):
        with suppress(OSError):  # it died this moment
            if b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes():
                found.add(pid)
    return found


def replaced(process: subprocess.Popen[bytes], log: Path) -> None:
    """Kill a worker, and wait for the one that comes for it."""
    before, started = children(process), log.read_text().count("startup complete")
    os.kill(min(before), signal.SIGKILL)
    until(lambda: len(children(process) - before) == 1)
    until(lambda: log.read_text().count("startup complete") > started)


def test_a_worker_that_is_killed_under_load_costs_no_more_than_what_it_had_in_hand(
    workers: Server, photo: bytes, log: Path
) -> None:
    address, process = workers
    load = Load(address, photo)
    replaced(process, log)
    answers = load.answers()
    lost = [answer for answer in answers if answer != 200]
    assert len(answers) > 10
    assert len(lost) <= 4  # one of each client
    assert not any(isinstance(answer, int) for answer in lost)
    assert len(children(process)) == 2


def test_a_worker_that_starts_after_a_model_was_refused_serves_the_old_one(
    workers: Server, model: Path, photo: bytes, shipped: Predictor, log: Path
) -> None:
    address, process = workers
    load = Load(address, photo, clients=1)
    model.write_bytes(SHIPPED_MODEL.read_bytes()[:-50_000])
    process.send_signal(signal.SIGHUP)
    until(lambda: log.read_text().count("new model refused") == 2)
    for _ in range(2):  # until none is left that began with the sound file
        replaced(process, log)
    assert 503 not in load.answers()
    assert log.read_text().count("served before is taken") == 2
    for _ in range(12):
        health = httpx.get(f"{address}/health").json()
        assert (health["status"], health["model"]["version"]) == ("ok", shipped.card.version)

    shutil.copy(SHIPPED_MODEL, model)
    stamp(model, shipped.card.model_copy(update={"version": "2.0"}))
    process.send_signal(signal.SIGHUP)
    until(lambda: log.read_text().count("model 2.0 is served") == 2)


def test_workers_that_stop_under_load_lose_nothing(workers: Server, photo: bytes) -> None:
    address, process = workers
    loads = [Load(address, photo, kept=kept) for kept in (False, True)]
    time.sleep(1)
    process.send_signal(signal.SIGTERM)
    assert process.wait(20) == 0
    for load in loads:
        answers = load.answers()
        assert answers.count(200) > 10
        assert set(answers) <= {200, "ConnectError"}


def test_a_hangup_while_a_worker_starts_harms_nobody(
    workers: Server, model: Path, shipped: Predictor, log: Path
) -> None:
    address, process = workers
    shutil.copy(SHIPPED_MODEL, model)
    stamp(model, shipped.card.model_copy(update={"version": "2.0"}))
    before = children(process)
    os.kill(min(before), signal.SIGKILL)
    until(lambda: len(children(process) - before) == 1)
    (new,) = children(process) - before
    process.send_signal(signal.SIGHUP)
    # By the file it found, and once more as it was told to while it could not listen yet.
    until(lambda: log.read_text().count("model 2.0 is served") == 3)
    assert new in children(process)
    versions = {httpx.get(f"{address}/health").json()["model"]["version"] for _ in range(12)}
    assert versions == {"2.0"}


def test_a_worker_that_is_killed_is_replaced_and_numbers_are_of_all(
    workers: Server, photo: bytes, log: Path
) -> None:
    address, process = workers

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
    assert len(children(process)) == 2
    replaced(process, log)
    for _ in range(10):
        assert httpx.post(f"{address}/predict", content=photo).status_code == 200
    assert counted() == 20
