"""The clock by which a node may serve without having heard its controller."""

from __future__ import annotations

import time


def now_asleep_too() -> float:
    """Seconds since the machine's start, those included for which it slept: the same in all its processes, and nobody
    sets it."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)
