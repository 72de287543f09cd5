"""The id, the log line and the response headers of each request."""

import json
import logging
import re

import pytest
from fastapi.testclient import TestClient

from app.middleware import SECURITY_HEADERS
from tests.app.helpers import log_lines, serving


def test_each_request_is_one_line_with_its_fields(
    photo: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    with serving() as client, caplog.at_level(logging.INFO, "skyspotter"):
        caplog.clear()
        client.post("/predict", content=photo, headers={"X-Request-ID": "abc"})
        client.post("/predict", files={"file": ("secret-name.jpg", b"text")})
        for probe in ("/health", "/health/live", "/metrics"):
            client.get(probe)
    good, bad = map(json.loads, log_lines(caplog, "json"))
    assert (good["status"], good["request_id"], good["format"]) == (200, "abc", "JPEG")
    assert good["bytes"] == len(photo)
    assert re.fullmatch(r"\d+x\d+", good["size"])
    stages = {"read_ms", "wait_ms", "decode_ms", "inference_ms", "label", "accepted", "ms"}
    assert stages <= set(good)
    assert (bad["status"], bad["code"]) == (415, "unsupported_format")
    assert "secret-name" not in json.dumps(bad)


def test_the_id_of_the_client_is_kept(client: TestClient, photo: bytes) -> None:
    headers = {"X-Request-ID": "order-17/photo.3"}
    response = client.post("/predict", content=photo, headers=headers)
    assert response.headers["X-Request-ID"] == "order-17/photo.3"
    assert response.json()["request_id"] == "order-17/photo.3"


@pytest.mark.parametrize("given", ["", "two words", "a" * 129, "x\ty", '"quoted"'])
def test_an_invalid_id_is_replaced(client: TestClient, given: str) -> None:
    own = client.get("/health", headers={"X-Request-ID": given}).headers["X-Request-ID"]
    assert own != given
    assert len(own) == 32


def test_every_request_has_a_different_id(client: TestClient) -> None:
    ids = {client.get("/health").headers["X-Request-ID"] for _ in range(5)}
    assert len(ids) == 5


def test_every_response_has_the_headers(client: TestClient, photo: bytes) -> None:
    for answer in (client.post("/predict", content=photo), client.get("/nowhere")):
        assert {name: answer.headers[name] for name in SECURITY_HEADERS} == SECURITY_HEADERS
