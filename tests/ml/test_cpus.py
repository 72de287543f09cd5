import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import ml.cpus
from ml.cpus import in_threads, usable_cpus


def test_at_least_one_cpu() -> None:
    assert usable_cpus() >= 1


@pytest.mark.parametrize(
    ("quota", "period", "cpus"),
    [
        ("400000", "100000", 4),
        ("150000", "100000", 2),  # rounded up
        ("10000", "100000", 1),
        ("max", "100000", 8),
        ("-1", "100000", 8),
        ("", "", 8),
        ("1600000", "100000", 8),  # more than the machine has
    ],
)
@pytest.mark.parametrize("cgroup", [1, 2])
def test_the_quota_of_a_container_limits_the_cpus(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    quota: str,
    period: str,
    cpus: int,
    cgroup: int,
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)))
    monkeypatch.setattr(ml.cpus, "_QUOTA", [tmp_path / "cpu.max"])
    files = tmp_path / "cpu.cfs_quota_us", tmp_path / "cpu.cfs_period_us"
    monkeypatch.setattr(ml.cpus, "_QUOTA_V1", files)
    assert usable_cpus() == 8
    if cgroup == 2:
        (tmp_path / "cpu.max").write_text(f"{quota} {period}\n")
    else:
        for file, text in zip(files, (quota, period), strict=True):
            file.write_text(f"{text}\n")
    assert usable_cpus() == cpus


def test_order_is_kept_and_few_items_are_taken_ahead(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(ml.cpus, "usable_cpus", lambda: 3)
    taken = 0

    def count() -> Iterator[int]:
        nonlocal taken
        for number in range(100_000):
            taken += 1
            yield number

    def slow_if_even(number: int) -> int:
        time.sleep(0.002 * (number % 2 == 0))
        return -number

    results = in_threads(slow_if_even, count())
    for number in range(200):
        assert next(results) == -number
        assert taken <= number + 3 * 4


def test_a_result_is_returned_before_later_ones_are_ready() -> None:
    release = threading.Event()

    def wait_unless_first(number: int) -> int:
        assert number == 0 or release.wait(20)
        return number

    results = in_threads(wait_unless_first, range(5))
    assert next(results) == 0  # while all others are still running
    release.set()
    assert list(results) == [1, 2, 3, 4]


def test_an_error_is_raised_in_place_of_its_result() -> None:
    results = in_threads(lambda number: 1 // number, [1, 1, 0, 1])
    assert [next(results), next(results)] == [1, 1]
    with pytest.raises(ZeroDivisionError):
        next(results)
