"""The real clock."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime

from oddaemon.domain.types import Seconds
from oddaemon.ports.clock import Clock


class SystemClock(Clock):
    """This machine's time. `monotonic` stands still while the machine sleeps, as Linux's CLOCK_MONOTONIC does."""

    def now(self) -> datetime:
        return datetime.now(UTC)

    def monotonic(self) -> Seconds:
        return Seconds(time.monotonic())

    async def sleep(self, duration: Seconds) -> None:
        await asyncio.sleep(duration)
