"""Time, so that tests can control it."""

from __future__ import annotations

from datetime import datetime
from typing import Protocol

from oddaemon.domain.types import Seconds


class Clock(Protocol):
    def now(self) -> datetime:
        """Wall-clock time, aware, UTC. May jump."""

    def monotonic(self) -> Seconds:
        """Never goes back; for durations and deadlines."""

    async def sleep(self, duration: Seconds) -> None:
        """Returns after `duration`; cancellable."""
