"""Exceptions are answered with the right error, and reveal nothing."""

import pytest
from fastapi.testclient import TestClient

from app.middleware import SECURITY_HEADERS
from tests.app.helpers import check, serving


def test_unknown_routes_and_methods(client: TestClient) -> None:
    check(client.get("/nowhere"), 404, "not_found")
    check(client.get("/predict"), 405, "method_not_allowed")


@pytest.mark.parametrize("top_k", ["0", "-1", "many", ""])
def test_an_invalid_parameter_is_named(client: TestClient, photo: bytes, top_k: str) -> None:
    response = client.post("/predict", params={"top_k": top_k}, content=photo)
    check(response, 422, "invalid_parameter")
    assert "top_k" in response.json()["detail"]


def test_a_memory_error_is_an_internal_error(photo: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise MemoryError

    with serving() as client:
        monkeypatch.setattr("ml.images.decode.decode_jpeg", fail)
        check(client.post("/predict", content=photo), 500, "internal_error")
        monkeypatch.undo()
        assert client.post("/predict", content=photo).status_code == 200


def test_an_internal_error_reveals_nothing(
    photo: bytes, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("the password is swordfish")

    monkeypatch.setattr("ml.predictor.network_input", fail)
    with serving() as client:
        response = client.post("/predict", content=photo, headers={"X-Request-ID": "abc"})
    check(response, 500, "internal_error")
    assert "swordfish" not in response.text
    assert "Traceback" not in response.text
    assert "abc" in caplog.text


def test_an_internal_error_has_cors_and_security_headers(
    photo: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object) -> None:
        raise RuntimeError("the secret business")

    with serving(cors_origins=("https://app.example",)) as client:
        monkeypatch.setattr("ml.predictor.Predictor.predict", fails)
        headers = {"Origin": "https://app.example"}
        answer = client.post("/predict", content=photo, headers=headers)
    check(answer, 500, "internal_error")
    assert "business" not in answer.text
    assert answer.headers["access-control-allow-origin"] == "https://app.example"
    assert {name: answer.headers[name] for name in SECURITY_HEADERS} == SECURITY_HEADERS
