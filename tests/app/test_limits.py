"""The door, the deadline and the batch, in one process."""

import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import pytest
from fastapi.testclient import TestClient

from app.admission import Admission
from app.errors import Overloaded
from ml.predictor import Predictor
from tests.app.helpers import Slow, check, serving
from tests.helpers import encoded, picture


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> Slow:
    return Slow(monkeypatch)


def test_beyond_the_queue_requests_are_refused_at_once(photo: bytes, slow: Slow) -> None:
    with serving(threads=1, queue_limit=2) as client, ThreadPoolExecutor(8) as pool:
        first = [pool.submit(client.post, "/predict", content=photo) for _ in range(3)]
        while "skyspotter_in_flight 3.0" not in client.get("/metrics").text:
            time.sleep(0.005)
        refused = client.post("/predict", content=photo)
        check(refused, 503, "overloaded")
        assert int(refused.headers["Retry-After"]) >= 1
        assert client.get("/health").status_code == 200
        metrics = client.get("/metrics").text
        assert "skyspotter_queued 2.0" in metrics
        assert "skyspotter_refused_total 1.0" in metrics
        slow.go.set()
        assert [answer.result().status_code for answer in first] == [200] * 3
        assert client.post("/predict", content=photo).status_code == 200
        assert "skyspotter_in_flight 0.0" in client.get("/metrics").text


def test_the_deadline_covers_the_wait_and_what_waits_is_not_worked_on(
    photo: bytes, slow: Slow
) -> None:
    with serving(threads=1, timeout_seconds=0.3) as client, ThreadPoolExecutor(2) as pool:
        both = [pool.submit(client.post, "/predict", content=photo) for _ in range(2)]
        for answer in both:
            check(answer.result(), 504, "timed_out")
        slow.go.set()
        assert client.post("/predict", content=photo).status_code == 200
        assert slow.begun == 2  # the second of the two never was


def test_bytes_in_hand_are_bounded(photo: bytes, slow: Slow) -> None:
    """As many requests as there are places, and yet too much to hold."""
    big, limits = photo + bytes(1_000_000 - len(photo)), {"threads": 1, "queue_limit": 11}
    with serving(max_body_bytes=1_000_000, **limits) as client, ThreadPoolExecutor(12) as pool:
        answers = [pool.submit(client.post, "/predict", content=big) for _ in range(12)]
        while sum(answer.done() for answer in answers) < 4:  # eight are held
            time.sleep(0.005)
        slow.go.set()
        statuses = sorted(answer.result().status_code for answer in answers)
        assert statuses == [200] * 8 + [503] * 4


def test_small_bodies_fill_every_place() -> None:
    admission = Admission(places=66, max_body_bytes=100_000)
    with ExitStack() as inside:
        for _ in range(66):
            assert inside.enter_context(admission.enter())(100_000) == 100_000
        with pytest.raises(Overloaded), admission.enter():
            pass
    assert (admission.inside, admission.held_bytes) == (0, 0)


def test_a_batch_answers_in_order_and_bad_photos_fail_alone(
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


def test_several_photos_in_a_form_for_one(client: TestClient, photo: bytes) -> None:
    answer = client.post("/predict", files=[("file", photo)] * 2)
    check(answer, 413, "too_many_files")
    assert "/predict/batch" in answer.json()["detail"]


def test_the_model_card(client: TestClient, shipped: Predictor) -> None:
    card = client.get("/model").json()
    assert card["classes"] == list(shipped.card.classes)
    assert card["threshold"] == shipped.card.threshold
    assert card["preprocessing"] == shipped.card.preprocessing.model_dump()
    assert card["scores"]["validation"]["accuracy"] > 0.9
    assert {"engine", "precision", "version", "name", "temperature"} <= set(card)
