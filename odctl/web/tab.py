"""The process behind one tab, and what goes between it and the browser.

Both ends speak as textual-serve has them speak: the process packets of a type, a length and a payload
(textual.drivers.web_driver), the browser the messages of textual-serve's script.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sys
from collections.abc import Sequence
from typing import Any

from aiohttp import WSMsgType, web

from odctl.web.task import Task

PRELUDE = b"__GANGLION__\n"
DATA, META = b"D", b"M"
LARGEST_SCREEN = 1000
FAREWELL_SECONDS = 2.0
"""A dashboard that does not end by itself in this time is ended."""
LAST_WORDS = 4096


class Tab:
    """One dashboard, from the first byte to the end of its process."""

    def __init__(self, task: Task, socket: web.WebSocketResponse) -> None:
        self._task = task
        self._socket = socket
        self._process: asyncio.subprocess.Process | None = None
        self._lifeline = -1
        self._said = b""

    async def run(self, columns: int, lines: int) -> str:
        """Until the tab or the dashboard is closed; the process has ended then. Its last words if it failed."""
        try:
            process = await self._start(columns, lines)
            shown = asyncio.create_task(self._to_browser(process), name="tab output")
            typed = asyncio.create_task(self._to_dashboard(), name="tab input")
            complaints = asyncio.create_task(self._listen(process), name="tab complaints")
            try:
                await asyncio.wait((shown, typed), return_when=asyncio.FIRST_COMPLETED)
                by_itself = shown.done() and not typed.done()
            finally:
                await self._end((shown, typed, complaints))
        finally:
            self._let_go()
        return self._said.decode(errors="replace").strip() if by_itself and process.returncode else ""

    async def _start(self, columns: int, lines: int) -> asyncio.subprocess.Process:
        reading, self._lifeline = os.pipe()
        try:
            environment = {name: value for name, value in os.environ.items() if name not in ("TEXTUAL", "TEXTUAL_LOG")}
            self._process = await asyncio.create_subprocess_exec(
                sys.executable, "-P", "-m", "odctl.web.inside", str(reading), pass_fds=(reading,),
                start_new_session=True,
                stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
                env=environment | {
                    "TEXTUAL_DRIVER": "textual.drivers.web_driver:WebDriver", "TEXTUAL_COLOR_SYSTEM": "truecolor",
                    "TERM": "xterm-256color", "COLUMNS": str(columns), "ROWS": str(lines),
                },
            )  # fmt: skip
        finally:
            os.close(reading)
        os.write(self._lifeline, self._task.packed())
        return self._process

    async def _to_browser(self, process: asyncio.subprocess.Process) -> None:
        assert process.stdout is not None
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while await process.stdout.readuntil(b"\n") != PRELUDE:
                pass
            while True:
                kind = await process.stdout.readexactly(1)
                payload = await process.stdout.readexactly(int.from_bytes(await process.stdout.readexactly(4), "big"))
                if kind == DATA:
                    await self._socket.send_bytes(payload)
                elif kind == META:
                    await self._told(json.loads(payload))

    async def _told(self, meta: dict[str, Any]) -> None:
        """The only wish that a dashboard has of a browser: to open a page, in a tab of its own."""
        url = str(meta.get("url", ""))
        if meta.get("type") == "open_url" and url.startswith(("http://", "https://")):
            await self._socket.send_json(["open_url", {"url": url, "new_tab": True}])

    async def _to_dashboard(self) -> None:
        with contextlib.suppress(ConnectionError):
            async for message in self._socket:
                if message.type == WSMsgType.TEXT:
                    await self._take(message.data)

    async def _take(self, text: str) -> None:
        """A message from the browser. One that is none is ignored."""
        try:
            kind, *rest = json.loads(text)
            what: Any = rest[0] if rest else None
            if kind == "stdin" and isinstance(what, str):
                await self._send(DATA, what.encode(errors="replace"))
            elif kind == "resize":
                columns, lines = size_of(what["width"], what["height"])
                await self._send_meta(type="resize", width=columns, height=lines)
            elif kind in ("focus", "blur"):
                await self._send_meta(type=kind)
            elif kind == "ping":
                await self._socket.send_json(["pong", what])
        except (ValueError, TypeError, LookupError, OverflowError, RecursionError):
            return

    async def _send_meta(self, **meta: object) -> None:
        await self._send(META, json.dumps(meta).encode())

    async def _send(self, kind: bytes, payload: bytes) -> None:
        assert self._process is not None
        assert self._process.stdin is not None
        self._process.stdin.write(kind + len(payload).to_bytes(4, "big") + payload)
        await self._process.stdin.drain()

    async def _listen(self, process: asyncio.subprocess.Process) -> None:
        assert process.stderr is not None
        while part := await process.stderr.read(LAST_WORDS):
            self._said = (self._said + part)[-LAST_WORDS:]

    async def _end(self, jobs: Sequence[asyncio.Task[None]]) -> None:
        """Asks it to end, and sees to it that it does."""
        process = self._process
        assert process is not None
        with contextlib.suppress(TimeoutError, ConnectionError):
            async with asyncio.timeout(FAREWELL_SECONDS):
                if process.returncode is None:
                    await self._send_meta(type="quit")
                await process.wait()
        self._let_go()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(FAREWELL_SECONDS):
                await process.wait()
        if process.returncode is None:
            process.kill()
            await process.wait()
        for job in jobs:
            job.cancel()
        await asyncio.gather(*jobs, return_exceptions=True)

    def _let_go(self) -> None:
        if self._lifeline >= 0:
            os.close(self._lifeline)
            self._lifeline = -1


def size_of(columns: object, lines: object) -> tuple[int, int]:
    """A size that a screen can have. Raises ValueError, TypeError."""
    return _between(columns), _between(lines)


def _between(value: Any) -> int:
    return min(max(int(value), 1), LARGEST_SCREEN)
