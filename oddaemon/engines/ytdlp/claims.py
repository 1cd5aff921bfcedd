"""One long-lived helper that says which URLs yt-dlp's extractors want: it knows them all, and the daemon need not."""

from __future__ import annotations

import asyncio
import contextlib
import os
from pathlib import Path

from oddaemon.domain.errors import EngineUnavailable
from oddaemon.domain.types import Seconds
from oddaemon.engines.ytdlp.process import ChildProcess

_ANSWER = Seconds(8)
"""The first answer includes the start: half a second on an idle machine."""


class Classifier:
    """Started with the first question, again when it died; one question at a time."""

    def __init__(self, home: Path) -> None:
        self._home = home
        self._child: ChildProcess | None = None
        self._turn = asyncio.Lock()
        self._closed = False

    async def claims(self, url: str) -> bool:
        """Raises EngineUnavailable when it does not answer, twice."""
        async with self._turn:
            for _ in range(2):
                if self._closed:
                    break
                with contextlib.suppress(OSError, TimeoutError):
                    async with asyncio.timeout(_ANSWER):
                        answer = await self._ask(url)
                    if answer is not None:
                        return answer
                await self._end()
        raise EngineUnavailable("yt-dlp does not say whether it wants the URL")

    def open(self) -> None:
        self._closed = False

    async def close(self) -> None:
        """A question that is being answered ends at once."""
        self._closed = True
        if self._child is not None:
            await self._child.end()
        async with self._turn:
            await self._end()

    async def _ask(self, url: str) -> bool | None:
        if self._child is None or not self._child.running:
            await self._end()
            self._child = await ChildProcess.start(cwd=self._home, home=self._home)
            if self._closed:  # while it was started: `close` waits for the turn and ends it
                return None
            await self._child.send({"mode": "classify", "parent": os.getpid()})
        await self._child.send({"url": url})
        # an answer to a question whose asker was cancelled may still be in the pipe
        async for event in self._child.events():
            if event["event"] == "claim" and event.get("url") == url:
                return event.get("claimed") is True
        return None

    async def _end(self) -> None:
        child, self._child = self._child, None
        if child is not None:
            await child.end()
