"""How many CPUs this process may use: its affinity and its container's quota, not the host's."""

import math
import os
from pathlib import Path

_QUOTA = Path("/sys/fs/cgroup/cpu.max")  # cgroup v2: "max 100000" or "150000 100000"


def usable_cpus() -> int:
    """Count the CPUs that affinity and cgroup quota leave, at least 1."""
    affinity = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    try:
        quota, period = _QUOTA.read_text().split()
        limit = math.ceil(int(quota) / int(period))
    except (OSError, ValueError):  # no such file, or "max"
        limit = 10**6
    return max(1, min(affinity or 1, limit))
