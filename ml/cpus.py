"""Count the CPUs that this process may use, and run a function on all of them."""

import math
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")

# The CPU quota of the container, such as "150000 100000": CPU time and period in microseconds.
# "max" or -1 means no limit.
_QUOTA = (Path("/sys/fs/cgroup/cpu.max"),)  # cgroup v2
_QUOTA_V1 = tuple(Path(f"/sys/fs/cgroup/cpu/cpu.cfs_{of}_us") for of in ("quota", "period"))
_AHEAD = 4  # items per thread that are being processed or wait to be returned


def usable_cpus() -> int:
    """Count the CPUs that the affinity and the cgroup quota allow, at least 1."""
    affinity = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return max(1, min(affinity or 1, _quota(_QUOTA), _quota(_QUOTA_V1)))


def _quota(files: Iterable[Path]) -> int:
    """Return the CPUs that a cgroup quota allows, rounded up; a million if there is no limit."""
    try:
        quota, period = " ".join(file.read_text() for file in files).split()
        limit = math.ceil(int(quota) / int(period))
    except (OSError, ValueError):  # no such file, or "max"
        return 10**6
    return limit if limit > 0 else 10**6


def in_threads(
    function: Callable[[Item], Result], items: Iterable[Item], threads: int | None = None
) -> Iterator[Result]:
    """Map a function over items in threads, by default one per usable CPU; keep the order.

    A result is returned as soon as it and all earlier ones are ready. Only a few items are taken
    ahead, so that memory stays bounded. `Executor.map` does the same with `buffersize`, from
    Python 3.14 on.
    """
    threads = threads or usable_cpus()
    waiting: deque[Future[Result]] = deque()
    with ThreadPoolExecutor(threads) as pool:
        try:
            for item in items:
                waiting.append(pool.submit(function, item))
                if len(waiting) >= _AHEAD * threads:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()
