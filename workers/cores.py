"""How much of the processor is ours."""

import os
from pathlib import Path

CONTAINER_LIMIT = Path("/sys/fs/cgroup/cpu.max")
"""Microseconds of processor time in a period, and the period; `max` for as many as there are."""


def usable_cores() -> int:
    """How many cores this process may keep busy: those it is bound to, or the share of them that its container is
    given, rounded up. At least 1."""
    bound = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        quota, period = CONTAINER_LIMIT.read_text().split()
        return max(1, min(bound, -(-int(quota) // int(period))))
    except (OSError, ValueError):  # no such limits here, or `max`
        return bound
