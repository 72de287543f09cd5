"""Metrics of requests and predictions."""

import pytest
from fastapi.testclient import TestClient
from prometheus_client.parser import text_string_to_metric_families

from ml.predictor import Predictor
from tests.app.helpers import serving


def samples(client: TestClient) -> dict[str, float]:
    """All samples, by name and labels."""
    families = text_string_to_metric_families(client.get("/metrics").text)
    return {
        f"{sample.name}{sorted(sample.labels.values())}": sample.value
        for family in families
        for sample in family.samples
    }


def test_requests_and_predictions_are_counted(photo: bytes, shipped: Predictor) -> None:
    with serving() as client:
        for body in (photo, photo, b"text"):
            client.post("/predict", content=body)
        client.get("/a/path/that/is/no/route")
        found = samples(client)
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
