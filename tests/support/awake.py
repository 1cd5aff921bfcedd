"""A clock for the engine in a test's own process: a machine that sleeps is not seen on it."""

from __future__ import annotations

import time
from threading import Lock

from oddaemon.app.system_clock import SystemClock
from oddaemon.domain.types import Seconds

LONGEST = 0.2
"""The reconciler asks the engine as often while something runs, on a machine that has time."""


class AwakeClock(SystemClock):
    """What passes between two looks counts as LONGEST at the most. A download whose state is computed from the clock
    would otherwise run on, and end, while the process that is to see it on its way stands still."""

    def __init__(self) -> None:
        self._seen = self._counted = time.monotonic()
        self._lock = Lock()

    def monotonic(self) -> Seconds:
        with self._lock:
            now = time.monotonic()
            self._counted += min(now - self._seen, LONGEST)
            self._seen = now
            return Seconds(self._counted)
