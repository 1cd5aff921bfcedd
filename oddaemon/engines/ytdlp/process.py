"""Owns one child: start in a session of its own, read its events, end its whole group.

The task goes in on stdin, which stays open: its end is how the child learns that the daemon is gone. Nothing of the
daemon's environment but PATH and LANG reaches it, and no argument that comes from outside.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import signal
import sys
import time
from collections import deque
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

from oddaemon.domain.types import Seconds
from oddaemon.ports.tasks import to_the_end

log = logging.getLogger(__name__)

MODULE = "oddaemon.engines.ytdlp.child"
_LINE_LIMIT = 8 * 1024 * 1024
"""A playlist of 10,000 entries is one line."""
_TAIL_LINES = 20
_TAIL_WIDTH = 500
_TERM_GRACE = Seconds(1)
_GONE = Seconds(3)
"""A killed process is gone at once unless the kernel itself is stuck on a disk."""
_POLL = Seconds(0.02)


class ChildProcess:
    """One run of `child.py` and everything that it starts."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self._tail: deque[str] = deque(maxlen=_TAIL_LINES)
        self._drain = asyncio.ensure_future(self._drain_stderr())
        """Owned by this object: ended and awaited in `end`."""

    @classmethod
    async def start(cls, *, cwd: Path, home: Path) -> ChildProcess:
        """Raises OSError if it cannot be started. Cancelled, it leaves no process behind."""
        starting = asyncio.ensure_future(cls._start(cwd, home))
        try:
            return await to_the_end(starting)
        except asyncio.CancelledError:
            # two deadlines that pass one after the other cancel twice
            if not starting.cancelled() and starting.exception() is None:
                await starting.result().end()
            raise

    @classmethod
    async def _start(cls, cwd: Path, home: Path) -> ChildProcess:
        environment = {"HOME": str(home), "PATH": os.environ.get("PATH", os.defpath)}
        environment["LANG"] = os.environ.get("LANG", "C.UTF-8")
        process = await asyncio.create_subprocess_exec(
            # -P: the working directory is the replica's own and no place to import modules from
            sys.executable, "-P", "-m", MODULE,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            cwd=cwd,
            env=environment,
            start_new_session=True,
            limit=_LINE_LIMIT,
        )  # fmt: skip
        return cls(process)

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def running(self) -> bool:
        return self._process.returncode is None

    async def send(self, message: Mapping[str, Any]) -> None:
        """One line of JSON. A child that is gone is found out by reading, not here."""
        assert self._process.stdin is not None
        with contextlib.suppress(ConnectionError):
            self._process.stdin.write(json.dumps(message).encode() + b"\n")
            await self._process.stdin.drain()

    async def event(self) -> dict[str, Any] | None:
        """The next event; None at the end. What is not an event is passed over."""
        assert self._process.stdout is not None
        while True:
            try:
                line = await self._process.stdout.readline()
            except ValueError:  # longer than the limit: the reader has dropped it
                continue
            if not line:
                return None
            with contextlib.suppress(ValueError):
                found = json.loads(line)
                if isinstance(found, dict) and isinstance(found.get("event"), str):
                    return found

    async def events(self) -> AsyncIterator[dict[str, Any]]:
        while (event := await self.event()) is not None:
            yield event

    def last_words(self) -> str:
        """How it ended, and the end of what it said."""
        code = self._process.returncode
        if code is None:
            how = "yt-dlp is still running"
        elif code < 0:
            with contextlib.suppress(ValueError):
                return f"yt-dlp was killed by {signal.Signals(-code).name}"
            how = f"yt-dlp was killed by signal {-code}"
        else:
            how = f"yt-dlp ended with status {code}"
        return f"{how}: {self._tail[-1]}" if self._tail else how

    async def end(self) -> None:
        """When it returns no process of the group is alive. Goes on to its end when cancelled."""
        await to_the_end(asyncio.ensure_future(self._end()))

    async def _end(self) -> None:
        try:
            if self.running:
                self._signal(signal.SIGTERM)
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(_TERM_GRACE):
                        await self._process.wait()
        finally:
            self._signal(signal.SIGKILL)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_GONE):
                await self._process.wait()
        deadline = time.monotonic() + _GONE
        while await self._group_lives():
            if time.monotonic() > deadline:
                log.warning("children do not end", extra={"action": "ytdlp.kill", "pid": self.pid})
                break
            self._signal(signal.SIGKILL)
            await asyncio.sleep(_POLL)
        if self._process.stdin is not None:
            self._process.stdin.close()
        self._drain.cancel()
        await asyncio.wait([self._drain])

    async def _group_lives(self) -> bool:
        try:
            os.killpg(self.pid, 0)
        except (ProcessLookupError, PermissionError):
            return False
        return await asyncio.to_thread(_group_has_living, self.pid)

    def _signal(self, number: int) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, number)

    async def _drain_stderr(self) -> None:
        """Keeps the end of what it says; a full pipe would stop it."""
        assert self._process.stderr is not None
        rest = b""
        while chunk := await self._process.stderr.read(8192):
            *lines, rest = (rest + chunk).replace(b"\r", b"\n").split(b"\n")
            rest = rest[-_TAIL_WIDTH:]
            for raw in lines:
                text = raw[:_TAIL_WIDTH].decode("utf-8", "replace").strip()
                if text:
                    self._tail.append("".join(c if c.isprintable() else " " for c in text))


def _group_has_living(group: int) -> bool:
    """Zombies do not count: what became of orphans is init's to collect, and some containers have none that does."""
    for process in Path("/proc").iterdir():
        if process.name.isdigit():
            with contextlib.suppress(OSError, IndexError, ValueError):
                fields = (process / "stat").read_text(errors="replace").rpartition(")")[2].split()
                if int(fields[2]) == group and fields[0] not in "ZX":
                    return True
    return False
