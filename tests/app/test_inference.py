"""Loading the model, and its states before and after."""

from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from app.main import create_app
from app.settings import Settings
from ml.errors import ModelError
from tests.app.helpers import serving


def test_before_the_model_is_loaded(photo: bytes) -> None:
    client = TestClient(create_app(Settings()))  # without its lifespan: nothing is loaded
    assert client.get("/health/live").status_code == 200
    health = client.get("/health")
    assert (health.status_code, health.json()["status"]) == (503, "starting")
    response = client.post("/predict", content=photo)
    assert (response.status_code, response.json()["code"]) == (503, "not_ready")
    assert int(response.headers["Retry-After"]) >= 1


@pytest.mark.parametrize("content", [None, b"", b"no model at all"])
def test_a_model_that_cannot_be_loaded(tmp_path: Path, content: bytes | None) -> None:
    model = tmp_path / "model.onnx"
    if content is not None:
        model.write_bytes(content)
    with serving(model=model) as client:
        health = client.get("/health")
        assert (health.status_code, health.json()["status"]) == (503, "failed")
        assert str(tmp_path) not in health.text
        assert client.get("/health/live").status_code == 200
        assert client.post("/predict", content=b"x").json()["code"] == "not_ready"


def test_a_model_that_cannot_be_used_does_not_replace_the_current_one(
    photo: bytes, tmp_path: Path
) -> None:
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(b"not a model")
    with serving() as client:
        inference = client.app.state.service.inference  # type: ignore[attr-defined]
        current = inference.predictor()
        with pytest.raises(ModelError):
            inference.switch_to(broken)
        assert inference.predictor() is current
        assert client.get("/health").json()["status"] == "ok"
        inference.reload()  # the file of the settings, not the broken one
        assert inference.predictor() is not current
        assert client.post("/predict", content=photo).status_code == 200
