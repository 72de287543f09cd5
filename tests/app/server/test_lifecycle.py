"""`python -m app`: graceful shutdown, and reloading the model."""

import shutil
import signal
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from ml.export.onnx import stamp
from ml.predictor import SHIPPED_MODEL, Predictor
from tests.app.helpers import connect, received, until
from tests.app.server.helpers import (
    BACKUP_LOADED,
    RELOAD_FAILED,
    VERSION_2_LOADED,
    Load,
    Server,
    children,
    kill_worker,
    replace_worker,
    versions,
)
from tests.ml.helpers import overwrite_parameters, rename_input


def write_version_2(model: Path, shipped: Predictor) -> None:
    shutil.copy(SHIPPED_MODEL, model)
    stamp(model, shipped.card.model_copy(update={"version": "2.0"}))


def test_a_running_request_is_finished_before_the_stop(
    server: Server, photo: bytes, log: Path
) -> None:
    address, process = server
    with connect(address) as connection:
        head = f"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: {len(photo)}\r\n\r\n"
        connection.sendall(head.encode() + photo[:-10])
        until(lambda: "skyspotter_in_flight 1.0" in httpx.get(f"{address}/metrics").text)
        process.send_signal(signal.SIGTERM)
        until(lambda: "Shutting down" in log.read_text())
        connection.sendall(photo[-10:])
        assert received(connection).startswith(b"HTTP/1.1 200")
    assert process.wait(timeout=20) in (0, -signal.SIGTERM)


def test_ctrl_c_stops_without_a_traceback(server: Server, log: Path) -> None:
    _, process = server
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=20) == 0
    assert "Traceback" not in log.read_text()


def test_workers_that_stop_under_load_lose_no_request(workers: Server, photo: bytes) -> None:
    address, process = workers
    loads = [Load(address, photo, keep_alive=keep_alive) for keep_alive in (False, True)]
    for load in loads:
        load.wait_for_answers()
    process.send_signal(signal.SIGTERM)
    assert process.wait(20) == 0
    for load in loads:
        answers = load.stop()
        assert answers.count(200) >= 10
        assert set(answers) <= {200, "ConnectError"}


def test_a_reload_drops_no_request(
    workers: Server, model: Path, photo: bytes, shipped: Predictor, log: Path
) -> None:
    address, process = workers
    load = Load(address, photo)
    model.write_bytes(SHIPPED_MODEL.read_bytes()[:-50_000])
    process.send_signal(signal.SIGHUP)
    until(lambda: log.read_text().count(RELOAD_FAILED) == 2)
    assert versions(address) == {shipped.card.version}

    write_version_2(model, shipped)
    process.send_signal(signal.SIGHUP)
    until(lambda: log.read_text().count(VERSION_2_LOADED) == 2)
    assert versions(address) == {"2.0"}
    load.wait_for_answers()
    assert set(load.stop()) == {200}


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda model: model.write_bytes(model.read_bytes()[:-50_000]), "damaged"),
        (lambda model: model.unlink(), "no model file"),
        (rename_input, "has the inputs"),
        (overwrite_parameters, "logits are off by"),
    ],
    ids=["truncated", "missing", "other inputs", "other results"],
)
def test_a_bad_model_is_not_loaded(
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
    until(lambda: RELOAD_FAILED in log.read_text())
    assert reason in log.read_text()
    after = httpx.post(f"{address}/predict", content=photo)
    assert after.status_code == 200
    assert after.json()["probabilities"] == before["probabilities"]
    assert httpx.get(f"{address}/model").json()["version"] == shipped.card.version

    write_version_2(model, shipped)
    process.send_signal(signal.SIGHUP)
    until(lambda: VERSION_2_LOADED in log.read_text())


def test_a_worker_that_starts_after_a_failed_reload_loads_the_backup(
    workers: Server, model: Path, photo: bytes, shipped: Predictor, log: Path
) -> None:
    address, process = workers
    load = Load(address, photo, clients=1)
    model.write_bytes(SHIPPED_MODEL.read_bytes()[:-50_000])
    process.send_signal(signal.SIGHUP)
    until(lambda: log.read_text().count(RELOAD_FAILED) == 2)
    for _ in range(2):  # no worker is left that loaded the good file
        replace_worker(process, log)
    assert 503 not in load.stop()
    assert log.read_text().count(BACKUP_LOADED) == 2
    assert httpx.get(f"{address}/health").json()["status"] == "ok"
    assert versions(address) == {shipped.card.version}

    write_version_2(model, shipped)
    process.send_signal(signal.SIGHUP)
    until(lambda: log.read_text().count(VERSION_2_LOADED) == 2)


def test_a_sighup_while_a_worker_starts_is_not_lost(
    workers: Server, model: Path, shipped: Predictor, log: Path
) -> None:
    address, process = workers
    write_version_2(model, shipped)
    new = kill_worker(process)
    process.send_signal(signal.SIGHUP)
    # The new worker loads the file when it starts, and again for the SIGHUP that waited.
    until(lambda: log.read_text().count(VERSION_2_LOADED) == 3)
    assert new in children(process)
    assert versions(address) == {"2.0"}
