"""`/predict` and `/predict/batch` with good and bad photos."""

import shutil
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from PIL import Image

from ml.export.onnx import stamp
from ml.models.probability import probabilities
from ml.predictor import SHIPPED_MODEL, Predictor
from tests.app.helpers import check, serving
from tests.helpers import encoded, picture
from tests.image_files import png


def test_a_form_and_a_body_get_the_prediction_of_the_model(
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
def test_temperature_and_threshold_of_the_card_decide_what_is_accepted(
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


@pytest.mark.parametrize("top_k", [1, 2, 99])
def test_top_k(client: TestClient, shipped: Predictor, photo: bytes, top_k: int) -> None:
    chances = shipped.predict(photo).probabilities
    answer = client.post("/predict", params={"top_k": top_k}, content=photo).json()
    expected = sorted(chances.items(), key=lambda item: -item[1])[:top_k]
    assert list(answer["probabilities"].items()) == expected
    assert (answer["label"], answer["confidence"]) == expected[0]


@pytest.mark.parametrize("form", [True, False])
@pytest.mark.parametrize(
    ("content", "status", "code"),
    [
        (b"I am a text file.", 415, "unsupported_format"),
        (b"%PDF-1.7 ...", 415, "unsupported_format"),
        (b"", 400, "no_image"),
        (encoded(Image.effect_noise((300, 300), 50), "JPEG")[:4000], 422, "unreadable_image"),
        (b"\xff\xd8\xff" + bytes(100), 422, "unreadable_image"),
        (png(30_000, 30_000), 413, "too_many_pixels"),
    ],
)
def test_bad_photos(
    client: TestClient, photo: bytes, form: bool, content: bytes, status: int, code: str
) -> None:
    body = {"files": {"file": ("photo.jpg", content)}} if form else {"content": content}
    check(client.post("/predict", **body), status, code)
    assert client.post("/predict", content=photo).status_code == 200


def test_pixel_limit(photo: bytes) -> None:
    with serving(max_pixels=100) as client:
        check(client.post("/predict", content=photo), 413, "too_many_pixels")


def test_a_batch_keeps_the_order_and_bad_photos_fail_alone(
    client: TestClient, shipped: Predictor, photo: bytes
) -> None:
    other = encoded(picture("Winged Drones", 4), "PNG")
    sent = [("b.jpg", photo), ("notes.txt", b"text"), ("a.png", other), ("cut.jpg", photo[:900])]
    answer = client.post("/predict/batch?top_k=2", files=[("files", one) for one in sent])
    assert answer.status_code == 200
    results = answer.json()["results"]
    assert [result["filename"] for result in results] == [name for name, _ in sent]
    for result, content in ((results[0], photo), (results[2], other)):
        assert set(result) == {"filename", "prediction"}
        expected = shipped.predict(content)
        assert result["prediction"]["confidence"] == expected.confidence
        assert len(result["prediction"]["probabilities"]) == 2
    assert results[1]["error"]["code"] == "unsupported_format"
    assert results[3]["error"]["code"] == "unreadable_image"
    assert set(results[3]) == {"filename", "error"}


def test_a_batch_has_limits(client: TestClient, photo: bytes) -> None:
    many = [("files", photo)] * 33
    check(client.post("/predict/batch", files=many), 413, "too_many_files")
    assert len(client.post("/predict/batch", files=many[:32]).json()["results"]) == 32
    check(client.post("/predict/batch", content=photo), 400, "no_image")
    check(client.post("/predict/batch", files={"file": photo}), 400, "no_image")
    with serving(max_body_bytes=len(photo)) as small:
        check(small.post("/predict/batch", files=many[:2]), 413, "body_too_large")
