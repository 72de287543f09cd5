import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from ml.cpus import usable_cpus
from ml.predictor import SHIPPED_MODEL
from tests.app.helpers import SlowPredictor, running, serving, until


@pytest.fixture(scope="session")
def client() -> Iterator[TestClient]:
    with serving() as client:
        yield client


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> SlowPredictor:
    return SlowPredictor(monkeypatch)


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "log"


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return Path(shutil.copy(SHIPPED_MODEL, tmp_path))


@pytest.fixture
def server(log: Path, model: Path) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    with running("app", log=log, SKYSPOTTER_MODEL=str(model)) as started:
        yield started


@pytest.fixture
def workers(log: Path, model: Path) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    if usable_cpus() < 2:
        pytest.skip("two workers need two CPUs")
    with running("app", "--workers", "2", log=log, SKYSPOTTER_MODEL=str(model)) as started:
        until(lambda: log.read_text().count("is served") == 2)
        yield started
