"""How many CPUs this process may use (its affinity and its container's quota), and using them."""

import math
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")

_QUOTA = Path("/sys/fs/cgroup/cpu.max")  # cgroup v2: "max 100000" or "150000 100000"
_AHEAD = 4  # items under way or done and waiting, per CPU


def usable_cpus() -> int:
    """Count the CPUs that affinity and cgroup quota leave, at least 1."""
    affinity = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    try:
        quota, period = _QUOTA.read_text().split()
        limit = math.ceil(int(quota) / int(period))
    except (OSError, ValueError):  # no such file, or "max"
        limit = 10**6
    return max(1, min(affinity or 1, limit))


def on_all_cpus(function: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
    """Map in threads, in order; each result comes as soon as it and those before it are done.

    Only a few items are taken ahead of the result, so that memory stays bounded however many
    there are: what `Executor.map` does with `buffersize` from Python 3.14 on.
    """
    workers = usable_cpus()
    waiting: deque[Future[Result]] = deque()
    with ThreadPoolExecutor(workers) as pool:
        try:
            for item in items:
                waiting.append(pool.submit(function, item))
                if len(waiting) >= _AHEAD * workers:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()
