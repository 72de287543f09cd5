"""The supervisor replaces workers that die, and loses neither requests nor metrics."""

from pathlib import Path

import httpx

from tests.app.server.helpers import Load, Server, children, replace_worker


def test_a_killed_worker_costs_only_the_requests_that_it_was_answering(
    workers: Server, photo: bytes, log: Path
) -> None:
    address, process = workers
    load = Load(address, photo)
    load.wait_for_answers()
    replace_worker(process, log)
    answers = load.stop()
    lost = [answer for answer in answers if answer != 200]
    assert len(lost) <= 4  # one per client
    assert not any(isinstance(answer, int) for answer in lost)
    assert len(children(process)) == 2


def test_metrics_count_the_requests_of_all_workers_and_of_dead_ones(
    workers: Server, photo: bytes, log: Path
) -> None:
    address, process = workers

    def counted() -> float:
        lines = httpx.get(f"{address}/metrics").text.splitlines()
        (line,) = (
            line
            for line in lines
            if line.startswith('skyspotter_requests_total{code="",ro')
            and 'route="/predict"' in line
        )
        return float(line.split()[-1])

    for _ in range(10):
        assert httpx.post(f"{address}/predict", content=photo).status_code == 200
    assert counted() == 10
    assert len(children(process)) == 2
    replace_worker(process, log)
    for _ in range(10):
        assert httpx.post(f"{address}/predict", content=photo).status_code == 200
    assert counted() == 20
