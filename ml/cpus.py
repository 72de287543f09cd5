"""How many CPUs this process may use (its affinity and its container's quota), and using them."""

import math
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")

# What the container may use, as "150000 100000": microseconds in so many; "max" or -1 is no limit.
_QUOTA = Path("/sys/fs/cgroup/cpu.max")  # cgroup v2
_QUOTA_V1 = tuple(Path(f"/sys/fs/cgroup/cpu/cpu.cfs_{of}_us") for of in ("quota", "period"))
_AHEAD = 4  # items under way or done and waiting, per thread


def usable_cpus() -> int:
    """Count the CPUs that affinity and cgroup quota leave, at least 1."""
    affinity = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return max(1, min(affinity or 1, _quota([_QUOTA]), _quota(_QUOTA_V1)))


def _quota(files: Sequence[Path]) -> int:
    """CPUs that these files allow, begun ones whole; where they set no limit, very many."""
    try:
        quota, period = " ".join(file.read_text() for file in files).split()
        limit = math.ceil(int(quota) / int(period))
    except (OSError, ValueError):  # no such file, or "max"
        return 10**6
    return limit if limit > 0 else 10**6


def on_all_cpus(function: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
    """Map in as many threads as there are usable CPUs, in order."""
    return in_threads(function, items, usable_cpus())


def in_threads(
    function: Callable[[Item], Result], items: Iterable[Item], threads: int
) -> Iterator[Result]:
    """Map in threads, in order; each result comes as soon as it and those before it are done.

    Only a few items are taken ahead of the result, so that memory stays bounded however many
    there are: what `Executor.map` does with `buffersize` from Python 3.14 on.
    """
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
