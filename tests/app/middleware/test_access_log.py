import json
import logging
import re
import subprocess
import sys

import pytest
from fastapi.testclient import TestClient
from prometheus_client.parser import text_string_to_metric_families

from app.logs import Lines
from ml.cpus import usable_cpus
from ml.predictor import Predictor
from tests.app.helpers import serving
from tests.helpers import ROOT


def numbers(client: TestClient) -> dict[str, float]:
    """All samples, by name and labels."""
    families = text_string_to_metric_families(client.get("/metrics").text)
    return {
        f"{sample.name}{sorted(sample.labels.values())}": sample.value
        for family in families
        for sample in family.samples
    }


def test_metrics_count_what_happened(photo: bytes, shipped: Predictor) -> None:
    with serving() as client:
        for body in (photo, photo, b"text"):
            client.post("/predict", content=body)
        client.get("/a/path/that/is/no/route")
        found = numbers(client)
    answer = shipped.predict(photo)
    accepted = str(answer.accepted).lower()
    assert found["skyspotter_requests_total['', '/predict', '200']"] == 2
    assert found["skyspotter_requests_total['/predict', '415', 'unsupported_format']"] == 1
    assert found["skyspotter_requests_total['404', 'not_found', 'other']"] == 1
    assert found[f"skyspotter_predictions_total{sorted([answer.label, accepted])}"] == 2
    assert found["skyspotter_confidence_sum[]"] == pytest.approx(2 * answer.confidence)
    for stage, count in (("read", 3), ("wait", 2), ("decode", 2), ("inference", 2)):
        assert found[f"skyspotter_stage_seconds_count['{stage}']"] == count
    assert found["skyspotter_request_seconds_count['/predict']"] == 3
    assert any(name.startswith("skyspotter_model_info") for name in found)
    assert found["process_resident_memory_bytes[]"] > 1e7


def lines(caplog: pytest.LogCaptureFixture, format: str) -> list[str]:
    return [
        Lines(format).format(record) for record in caplog.records if record.name == "skyspotter"
    ]


def test_one_line_a_request_with_what_matters(
    photo: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    with serving() as client, caplog.at_level(logging.INFO, "skyspotter"):
        caplog.clear()
        client.post("/predict", content=photo, headers={"X-Request-ID": "abc"})
        client.post("/predict", files={"file": ("secret-name.jpg", b"text")})
        for probe in ("/health", "/health/live", "/metrics"):
            client.get(probe)
    good, bad = map(json.loads, lines(caplog, "json"))
    assert (good["status"], good["request_id"], good["format"]) == (200, "abc", "JPEG")
    assert good["bytes"] == len(photo)
    assert re.fullmatch(r"\d+x\d+", good["size"])
    stages = {"read_ms", "wait_ms", "decode_ms", "inference_ms", "label", "accepted", "ms"}
    assert stages <= set(good)
    assert (bad["status"], bad["code"]) == (415, "unsupported_format")
    assert "secret-name" not in json.dumps(bad)


def test_a_path_cannot_forge_a_line(client: TestClient, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "skyspotter"):
        caplog.clear()
        client.get("/x%0A2026-01-01 ERROR status=500")
    for format in ("console", "json"):
        (line,) = lines(caplog, format)
        assert "\n" not in line
    assert json.loads(lines(caplog, "json")[0])["status"] == 404


def test_a_traceback_is_part_of_the_line(caplog: pytest.LogCaptureFixture) -> None:
    try:
        raise ValueError("wrong")
    except ValueError:
        logging.getLogger("skyspotter").exception("failed")
    assert "ValueError: wrong" in json.loads(lines(caplog, "json")[0])["traceback"]
    assert lines(caplog, "console")[0].endswith("ValueError: wrong")


# Whoever has something to say: libraries with and without a logger of their own, warnings, the
# server, and damaged files, of which Pillow and libtiff would tell.
SPEAKERS = """
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
        [sys.executable, "-c", SPEAKERS], cwd=ROOT, capture_output=True, text=True, timeout=120
    )
    assert run.returncode == 0, run.stderr
    assert run.stdout == ""
    said = [json.loads(line) for line in run.stderr.splitlines()]
    messages = [line["message"] for line in said]
    assert messages.count("said\nin two lines") == 3
    assert sum("deprecated" in message for message in messages) == 1
    assert messages.count("request") > 100
    assert {line["level"] for line in said if line.get("path") == "/predict"} == {"info"}
    assert not any("PIL" in message for message in messages)


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_senseless_setting_ends_it_with_one_line(workers: str) -> None:
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
    said = [json.loads(line) for line in run.stderr.splitlines()]
    assert any("cannot serve" in line["message"] and "threads" in line["message"] for line in said)
