"""One log line for each request."""

import json
import logging
import re

import pytest

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
