"""The format of log lines, and where they come from."""

import json
import logging
import subprocess
import sys

import pytest
from fastapi.testclient import TestClient

from ml.cpus import usable_cpus
from tests.app.helpers import log_lines
from tests.helpers import ROOT


def test_a_path_cannot_forge_a_log_line(
    client: TestClient, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, "skyspotter"):
        caplog.clear()
        client.get("/x%0A2026-01-01 ERROR status=500")
    for format in ("console", "json"):
        (line,) = log_lines(caplog, format)
        assert "\n" not in line
    assert json.loads(log_lines(caplog, "json")[0])["status"] == 404


def test_a_traceback_is_part_of_the_line(caplog: pytest.LogCaptureFixture) -> None:
    try:
        raise ValueError("wrong")
    except ValueError:
        logging.getLogger("skyspotter").exception("failed")
    assert "ValueError: wrong" in json.loads(log_lines(caplog, "json")[0])["traceback"]
    assert log_lines(caplog, "console")[0].endswith("ValueError: wrong")


# All sources of log lines: libraries with and without handlers, warnings, the server, and damaged
# files, about which Pillow and libtiff write messages.
LOGGING_PROGRAM = """
import logging, time, warnings
from app.main import create_app
from app.settings import Settings
from fastapi.testclient import TestClient
from tests.corpus import samples

with TestClient(create_app(Settings(log_format="json"))) as client:
    while client.get("/health").status_code != 200:
        time.sleep(0.05)
    for name in ("uvicorn.error", "asyncio", "some.library"):
        logging.getLogger(name).warning("said\\nin two lines")
    warnings.warn("deprecated")
    logging.getLogger("skyspotter").error("wrong", exc_info=ValueError("why"))
    for data in samples().values():
        for part in (data, data[: len(data) // 2], data[:60] + bytes(40) + data[100:]):
            client.post("/predict", content=part)
            client.post("/predict", files={"file": part})
    form = {"Content-Type": "multipart/form-data; boundary=x"}
    client.post("/predict", content=b"--x\\r\\n(", headers=form)
"""


def test_every_line_is_json() -> None:
    run = subprocess.run(
        [sys.executable, "-c", LOGGING_PROGRAM],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert run.returncode == 0, run.stderr
    assert run.stdout == ""
    logged = [json.loads(line) for line in run.stderr.splitlines()]
    messages = [line["message"] for line in logged]
    assert messages.count("said\nin two lines") == 3
    assert sum("deprecated" in message for message in messages) == 1
    assert messages.count("request") > 100
    assert {line["level"] for line in logged if line.get("path") == "/predict"} == {"info"}
    assert not any("PIL" in message for message in messages)


@pytest.mark.parametrize("workers", ["1", "2"])
def test_an_invalid_setting_is_logged_as_json(workers: str) -> None:
    if int(workers) > usable_cpus():
        pytest.skip("two workers need two CPUs")
    run = subprocess.run(
        [sys.executable, "-m", "app", "--port", "0", "--workers", workers],
        cwd=ROOT,
        env={"SKYSPOTTER_LOG_FORMAT": "json", "SKYSPOTTER_THREADS": "none"},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert run.returncode != 0
    logged = [json.loads(line) for line in run.stderr.splitlines()]
    assert any(
        "cannot serve" in line["message"] and "threads" in line["message"] for line in logged
    )
