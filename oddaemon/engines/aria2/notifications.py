"""Hears from aria2 that a download has ended, so that nobody has to wait for the next question.

Only a hint (manual page aria2c(1), "JSON-RPC over WebSocket", "Notifications"): what is true is what aria2 answers when
it is asked, and whoever listens here may miss something. aria2 tells every local client that listens, without a secret.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Callable

import aiohttp

from oddaemon.domain.types import Seconds
from oddaemon.ports.clock import Clock
from oddaemon.ports.tasks import TaskScope

_ENDS = frozenset({"aria2.onDownloadComplete", "aria2.onBtDownloadComplete", "aria2.onDownloadError"})
_AGAIN = Seconds(1)
"""Between two attempts to listen: aria2 may be starting."""
_HANDSHAKE = Seconds(5)
_FAREWELL = aiohttp.ClientWSTimeout(ws_close=0.5)
"""How long an aria2 that hangs may hold up the end."""
_LIMIT = 64 * 1024
"""Bytes of one message; a notification has about a hundred."""


class Notifications:
    def __init__(self, clock: Clock, port: Callable[[], int], news: Callable[[], None]) -> None:
        """`port` tells where the aria2c of now listens; 0: there is none yet."""
        self._clock = clock
        self._port = port
        self._news = news
        self._tasks = TaskScope("aria2 notifications")

    async def open(self) -> None:
        await self._tasks.open()
        self._tasks.start(self._run(), "aria2 notifications")

    async def close(self) -> None:
        await self._tasks.close()

    async def _run(self) -> None:
        async with aiohttp.ClientSession() as session:
            while True:
                if port := self._port():
                    # it may be down: its supervisor sees to that
                    with contextlib.suppress(aiohttp.ClientError, TimeoutError, OSError):
                        await self._listen(session, f"http://127.0.0.1:{port}/jsonrpc")
                await self._clock.sleep(_AGAIN)

    async def _listen(self, session: aiohttp.ClientSession, address: str) -> None:
        """Until aria2 hangs up."""
        async with asyncio.timeout(_HANDSHAKE):
            socket = await session.ws_connect(address, max_msg_size=_LIMIT, timeout=_FAREWELL)
        async with socket:
            async for message in socket:
                if message.type is aiohttp.WSMsgType.TEXT and _is_end(message.data):
                    self._news()


def _is_end(text: str) -> bool:
    try:
        message = json.loads(text)
    except ValueError:
        return False
    return isinstance(message, dict) and message.get("method") in _ENDS
