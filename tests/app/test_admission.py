"""Limits on concurrent requests and buffered bytes."""

from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import pytest

from app.admission import Admission
from app.errors import Overloaded
from tests.app.helpers import SlowPredictor, check, serving, until


def test_requests_beyond_the_queue_are_rejected_at_once(photo: bytes, slow: SlowPredictor) -> None:
    with serving(threads=1, queue_limit=2) as client, ThreadPoolExecutor(8) as pool:
        first = [pool.submit(client.post, "/predict", content=photo) for _ in range(3)]
        until(lambda: "skyspotter_in_flight 3.0" in client.get("/metrics").text)
        rejected = client.post("/predict", content=photo)
        check(rejected, 503, "overloaded")
        assert int(rejected.headers["Retry-After"]) >= 1
        assert client.get("/health").status_code == 200
        metrics = client.get("/metrics").text
        assert "skyspotter_queued 2.0" in metrics
        assert "skyspotter_refused_total 1.0" in metrics
        slow.go.set()
        assert [answer.result().status_code for answer in first] == [200] * 3
        assert client.post("/predict", content=photo).status_code == 200
        assert "skyspotter_in_flight 0.0" in client.get("/metrics").text


def test_buffered_bytes_are_limited(photo: bytes, slow: SlowPredictor) -> None:
    """There is a slot for every request, but their bodies together are too large."""
    big, limits = photo + bytes(1_000_000 - len(photo)), {"threads": 1, "queue_limit": 11}
    with serving(max_body_bytes=1_000_000, **limits) as client, ThreadPoolExecutor(12) as pool:
        answers = [pool.submit(client.post, "/predict", content=big) for _ in range(12)]
        until(lambda: sum(answer.done() for answer in answers) == 4)  # eight are buffered
        slow.go.set()
        statuses = sorted(answer.result().status_code for answer in answers)
        assert statuses == [200] * 8 + [503] * 4


def test_small_bodies_fill_every_slot() -> None:
    admission = Admission(max_requests=66, max_body_bytes=100_000)
    with ExitStack() as slots:
        for _ in range(66):
            slot = slots.enter_context(admission.acquire())
            slot.reserve(100_000)
            assert slot.reserved_bytes == 100_000
        assert admission.is_full
        with pytest.raises(Overloaded), admission.acquire():
            pass
    assert (admission.in_flight, admission.buffered_bytes) == (0, 0)
