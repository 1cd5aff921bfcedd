"""The newest log lines in memory, for `odctl logs`. See ports.log_book."""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import suppress
from datetime import datetime
from itertools import islice

from oddaemon.domain.types import JobNumber
from oddaemon.ports.log_book import LogBook, LogLine

LEVELS = {"debug": 10, "info": 20, "warn": 30, "error": 40}
CAPACITY = 5000
FOLLOWER_CAPACITY = 1000


def rank(level: str) -> int:
    """Of a level's name; an unknown one counts as debug."""
    return LEVELS.get({"warning": "warn", "critical": "error"}.get(level.lower(), level.lower()), 10)


class LogRing(LogBook):
    """Bounded. `add` may be called from any thread, and never waits for a reader."""

    def __init__(self, capacity: int = CAPACITY) -> None:
        self._lines: deque[LogLine] = deque(maxlen=capacity)
        self._lock = threading.Lock()
        self._followers: set[Callable[[LogLine], None]] = set()

    def add(self, line: LogLine) -> None:
        with self._lock:
            self._lines.append(line)
            followers = tuple(self._followers)
        for hand_over in followers:
            hand_over(line)

    def tail(
        self, *, lines: int, job: JobNumber | None = None, level: str = "debug", since: datetime | None = None
    ) -> Sequence[LogLine]:
        with self._lock:
            held = tuple(self._lines)
        least = rank(level)
        fitting = (
            line
            for line in reversed(held)
            if rank(line.level) >= least and (job is None or line.job == job) and (since is None or line.at >= since)
        )
        return list(islice(fitting, max(lines, 0)))[::-1]

    def follow(self, *, job: JobNumber | None = None, level: str = "debug") -> AsyncIterator[LogLine]:
        """Subscribed from the moment of this call, not from the first `anext`."""
        loop = asyncio.get_running_loop()
        queue: asyncio.Queue[LogLine] = asyncio.Queue(FOLLOWER_CAPACITY)
        least = rank(level)

        def put(line: LogLine) -> None:
            if queue.full():
                queue.get_nowait()
            queue.put_nowait(line)

        def hand_over(line: LogLine) -> None:
            if rank(line.level) >= least and (job is None or line.job == job):
                with suppress(RuntimeError):  # the loop is closed: nobody reads any more
                    loop.call_soon_threadsafe(put, line)

        with self._lock:
            self._followers.add(hand_over)
        return self._lines_of(queue, hand_over)

    async def _lines_of(
        self, queue: asyncio.Queue[LogLine], hand_over: Callable[[LogLine], None]
    ) -> AsyncIterator[LogLine]:
        try:
            while True:
                yield await queue.get()
        finally:
            with self._lock:
                self._followers.discard(hand_over)
