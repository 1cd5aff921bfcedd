"""One run of a child process: start, output, end. Restarting it is the supervisor's business."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import shutil
import signal
import sys
from collections import deque
from collections.abc import Mapping, Sequence
from pathlib import Path

from oddaemon.domain.errors import EngineUnavailable
from oddaemon.domain.types import Seconds

log = logging.getLogger(__name__)

_LAUNCH = Path(__file__).with_name("launch.py")
_INHERITED = ("PATH", "HOME", "LANG")
_LINE_LIMIT = 2_000
_TAIL_LINES = 15
_KILL_DEADLINE = Seconds(5)
"""A killed process is gone at once unless the kernel itself is stuck on a disk."""
_GROUP_DEADLINE = Seconds(0.5)
"""Longer only where nobody takes leave of orphans: a container whose first process does not wait for them."""
_GROUP_POLL = Seconds(0.005)


class Child:
    """A process in a session of its own, so that its whole group can be signalled; it dies with the daemon."""

    def __init__(self, name: str, process: asyncio.subprocess.Process) -> None:
        self._name = name
        self._process = process
        self._tail: deque[str] = deque(maxlen=_TAIL_LINES)

    @classmethod
    async def launch(
        cls, name: str, command: Sequence[str], *, cwd: Path | None, environment: Mapping[str, str]
    ) -> Child:
        """Raises EngineUnavailable if the program does not exist."""
        program = await asyncio.to_thread(shutil.which, command[0])
        if program is None:
            raise EngineUnavailable(f"{command[0]} is not installed", hint=f"install {command[0]} and restart")
        clean = {key: os.environ[key] for key in _INHERITED if key in os.environ} | dict(environment)
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-I", "-S", str(_LAUNCH), str(os.getpid()), program, *command[1:],
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            cwd=cwd,
            env=clean,
            start_new_session=True,
        )  # fmt: skip
        log.info("child started", extra={"action": "child.start", "child": name, "pid": process.pid})
        return cls(name, process)

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def ended(self) -> bool:
        return self._process.returncode is not None

    @property
    def last_words(self) -> str:
        """How it ended, and the end of what it said."""
        code = self._process.returncode
        if code is None:
            how = "still running"
        elif code < 0:
            how = f"killed by {_signal_name(-code)}"
        else:
            how = f"exit status {code}"
        said = "; ".join(self._tail)
        return f"{how}: {said}" if said else how

    async def relay_output(self) -> None:
        """Copies its output to the log until it closes its end. Lines are cut, control characters made visible."""
        assert self._process.stdout is not None
        rest = b""
        while chunk := await self._process.stdout.read(8192):
            *lines, rest = (rest + chunk).replace(b"\r", b"\n").split(b"\n")
            for line in lines:
                self._heard(line)
            if len(rest) > _LINE_LIMIT:
                self._heard(rest)
                rest = b""
        self._heard(rest)

    def _heard(self, raw: bytes) -> None:
        text = raw[:_LINE_LIMIT].decode("utf-8", "replace").strip()
        if not text:
            return
        line = "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)
        self._tail.append(line)
        log.info("child output", extra={"action": "child.output", "child": self._name, "line": line})

    async def wait(self) -> int:
        return await self._process.wait()

    async def end(self, grace: Seconds) -> None:
        """TERM to the group, KILL when the grace is over; what is left of the group is killed in any case."""
        try:
            if not self.ended:
                self._signal(signal.SIGTERM)
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(grace):
                        await self._process.wait()
        finally:
            self._signal(signal.SIGKILL)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_KILL_DEADLINE):
                await self._process.wait()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_GROUP_DEADLINE):
                await self._group_gone()
        log.info(
            "child ended",
            extra={"action": "child.end", "child": self._name, "pid": self.pid, "status": self._process.returncode},
        )

    async def _group_gone(self) -> None:
        """A killed grandchild takes a moment to die, and its files stay open until then."""
        while True:
            try:
                os.killpg(self.pid, 0)
            except (ProcessLookupError, PermissionError):
                return
            await asyncio.sleep(_GROUP_POLL)

    def _signal(self, number: int) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, number)


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
