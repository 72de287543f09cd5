"""The deadline of a request."""

from concurrent.futures import ThreadPoolExecutor

from tests.app.helpers import SlowPredictor, check, serving


def test_the_deadline_covers_the_queue_and_expired_photos_are_not_processed(
    photo: bytes, slow: SlowPredictor
) -> None:
    with serving(threads=1, timeout_seconds=2) as client, ThreadPoolExecutor(2) as pool:
        running = pool.submit(client.post, "/predict", content=photo)
        slow.wait_for_calls(1)
        queued = pool.submit(client.post, "/predict", content=photo)
        for answer in (running, queued):
            check(answer.result(), 504, "timed_out")
        slow.go.set()
        assert client.post("/predict", content=photo).status_code == 200
        assert slow.calls == 2  # the queued photo was never processed
