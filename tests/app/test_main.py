import json
import shutil
import time
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from app.main import create_app
from app.settings import Settings
from ml.export.onnx import stamp
from ml.models.probability import probabilities
from ml.predictor import SHIPPED_MODEL, Predictor
from tests.app.helpers import serving


def test_a_form_and_a_body_get_the_predictors_answer(
    client: TestClient, shipped: Predictor, photo: bytes
) -> None:
    expected = shipped.predict(photo)
    as_form = client.post("/predict", files={"file": ("bird.jpg", photo, "image/jpeg")})
    as_body = client.post("/predict", content=photo, headers={"Content-Type": "image/jpeg"})
    for response in (as_form, as_body):
        assert response.status_code == 200
        answer = response.json()
        assert answer["probabilities"] == expected.probabilities
        assert list(answer["probabilities"]) == list(shipped.card.classes)
        assert sum(answer["probabilities"].values()) == pytest.approx(1, abs=1e-6)
        assert answer["label"] == expected.label
        assert answer["confidence"] == max(answer["probabilities"].values())
        assert answer["accepted"] == expected.accepted
        width, height = expected.photo.width, expected.photo.height
        assert answer["image"] == {
            "width": width,
            "height": height,
            "format": "JPEG",
            "frames": 1,
            "orientation": 1,
        }
        assert answer["evidence"] is None
        assert answer["model"] == {
            "name": shipped.card.name,
            "version": shipped.card.version,
        }
        assert set(answer["timing_ms"]) == {"decode", "inference"}
        assert answer["request_id"] == response.headers["X-Request-ID"]


@pytest.mark.parametrize("accepted", [True, False])
def test_the_cards_temperature_and_threshold_decide_what_is_accepted(
    photo: bytes, tmp_path: Path, accepted: bool
) -> None:
    model, original = tmp_path / "model.onnx", Predictor(SHIPPED_MODEL)
    shutil.copy(SHIPPED_MODEL, model)
    chances = probabilities(original.predict(photo).logits, temperature=2.0)
    threshold = float(chances.max()) + (-1e-9 if accepted else 1e-9)
    stamp(model, original.card.model_copy(update={"temperature": 2.0, "threshold": threshold}))
    with serving(model=model) as client:
        answer = client.post("/predict", content=photo).json()
    assert list(answer["probabilities"].values()) == chances.tolist()
    assert answer["accepted"] is accepted


@pytest.mark.parametrize(
    "content_type", ["application/octet-stream", "image/png", "text/plain", "application/json", ""]
)
def test_content_decides_whatever_the_client_calls_it(
    client: TestClient, photo: bytes, content_type: str
) -> None:
    headers = {"Content-Type": content_type} if content_type else {}
    response = client.post("/predict", content=photo, headers=headers)
    assert response.status_code == 200
    assert response.json()["image"]["format"] == "JPEG"


@pytest.mark.parametrize("top_k", [1, 2, 99])
def test_top_k(client: TestClient, shipped: Predictor, photo: bytes, top_k: int) -> None:
    chances = shipped.predict(photo).probabilities
    answer = client.post("/predict", params={"top_k": top_k}, content=photo).json()
    expected = sorted(chances.items(), key=lambda item: -item[1])[:top_k]
    assert list(answer["probabilities"].items()) == expected
    assert (answer["label"], answer["confidence"]) == expected[0]


def test_health(client: TestClient, shipped: Predictor) -> None:
    response = client.get("/health")
    assert response.status_code == 200
    assert response.json()["status"] == "ok"
    assert response.json()["model"]["version"] == shipped.card.version
    assert client.get("/health/live").status_code == 200


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


def test_the_lifespan_loads_the_model() -> None:
    with TestClient(create_app(Settings())) as client:
        while client.get("/health").json()["status"] == "starting":
            time.sleep(0.01)
        assert client.get("/health").status_code == 200


def test_openapi_offers_a_file_chooser(client: TestClient) -> None:
    document = client.get("/openapi.json").json()
    body = document["paths"]["/predict"]["post"]["requestBody"]["content"]
    assert next(iter(body)) == "multipart/form-data"
    field = body["multipart/form-data"]["schema"]["properties"]["file"]
    assert field == {"type": "string", "format": "binary"}
    answers = document["paths"]["/predict"]["post"]["responses"]
    assert set(answers) == {"200", "400", "401", "413", "415", "422", "500", "503", "504"}
    assert "Prediction" in json.dumps(answers["200"])


def test_docs_behind_a_prefix() -> None:
    with serving(root_path="/prod") as client:
        assert '<base href="/prod/">' in client.get("/docs").text
        assert client.get("/openapi.json").json()["servers"] == [{"url": "/prod"}]
