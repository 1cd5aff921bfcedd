"""Our programs as processes that begin at once: see `tests.support.nursery`."""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import json
import math
import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from tests.support.wait import until

ROOT = Path(__file__).resolve().parents[2]
PID_LENGTH = 16
_nurseries: dict[str, socket.socket] = {}


@dataclass(slots=True)
class Forked:
    """As asyncio's `Process` is, as far as tests want it."""

    pid: int
    _told: int = field(repr=False)
    """The reading end of a pipe, until the exit code was read."""
    _code: int | None = None

    @property
    def returncode(self) -> int | None:
        """None while it runs; minus the number of the signal that ended it."""
        if self._code is None:
            with contextlib.suppress(BlockingIOError):
                self._code = int(os.read(self._told, 64))
                os.close(self._told)
        return self._code

    async def wait(self) -> int:
        await until(lambda: self.returncode is not None, timeout=math.inf, every=0.01)
        assert self._code is not None
        return self._code

    def send_signal(self, number: int) -> None:
        if self.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


def forked(
    program: str, *arguments: str, environment: Mapping[str, str], cwd: Path, stdin: IO[bytes] | None = None,
    stdout: IO[bytes], stderr: IO[bytes],
) -> Forked:  # fmt: skip
    """Blocks for the moment that a fork takes. Without `stdin` there is nothing to read."""
    order = {"arguments": arguments, "environment": dict(environment), "cwd": str(cwd)}
    ours, theirs = os.pipe()
    with open(os.devnull, "rb") as nothing:
        streams = [(stdin or nothing).fileno(), stdout.fileno(), stderr.fileno(), theirs]
        try:
            socket.send_fds(_nursery(program), [json.dumps(order).encode()], streams)
        finally:
            os.close(theirs)
    pid = os.read(ours, PID_LENGTH)
    assert pid, f"the nursery of {program} has ended"
    os.set_blocking(ours, False)
    return Forked(int(pid), ours)


async def finished(
    program: str, *arguments: str, environment: Mapping[str, str], cwd: Path, stdin: bytes, timeout: float
) -> tuple[int, str, str]:
    """A whole run: its exit code, and what it wrote on stdout and stderr."""
    with tempfile.TemporaryFile() as given, tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        given.write(stdin)
        given.seek(0)
        child = forked(
            program, *arguments, environment=environment, cwd=cwd, stdin=given, stdout=out, stderr=err
        )  # fmt: skip
        try:
            code = await asyncio.wait_for(child.wait(), timeout)
        finally:
            child.kill()
        out.seek(0)
        err.seek(0)
        return code, out.read().decode(errors="replace"), err.read().decode(errors="replace")


def _nursery(program: str) -> socket.socket:
    if program not in _nurseries:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            child = subprocess.Popen(
                [sys.executable, "-m", "tests.support.nursery", program], cwd=ROOT, start_new_session=True,
                stdin=theirs.fileno(), stdout=subprocess.DEVNULL, env={"PATH": os.environ["PATH"], "LANG": "C.UTF-8"},
            )  # fmt: skip
        _nurseries[program] = ours
        atexit.register(_end, ours, child)
    return _nurseries[program]


def _end(orders: socket.socket, child: subprocess.Popen[bytes]) -> None:
    orders.close()
    child.wait()
