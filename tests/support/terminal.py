"""A terminal to type at and to look at: a pseudo-terminal with a screen, and a program in its foreground."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import pty
import signal
import struct
import sys
import termios
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import pyte

from tests.support.forked import Forked, forked
from tests.support.wait import until

KEYS = {
    "enter": "\r", "escape": "\x1b", "up": "\x1b[A", "down": "\x1b[B", "backspace": "\x7f", "tab": "\t", "space": " ",
    "f2": "\x1bOQ", "ctrl+c": "\x03",
}  # fmt: skip
ODCTL = (sys.executable, "-m", "odctl")
QUESTIONS = {b"\x1b[c": b"\x1b[?6c", b"\x1b[6n": b"\x1b[1;1R"}
"""What programs ask a terminal, and what one answers."""


class _Screen(pyte.Screen):
    """pyte takes private sequences that it does not know for others."""

    def select_graphic_rendition(self, *attributes: int, private: bool = False) -> None:
        if not private:
            super().select_graphic_rendition(*attributes)


class Terminal:
    """`columns` and `lines` are its size. Use it as a context: the program is ended at its end."""

    def __init__(self, columns: int = 120, lines: int = 40) -> None:
        self._screen = _Screen(columns, lines)
        self._stream = pyte.ByteStream(self._screen)
        self._ours, self._theirs = pty.openpty()
        os.set_blocking(self._ours, False)
        self._sized(columns, lines)
        self.before = termios.tcgetattr(self._theirs)
        self.raw = b""
        """All that was written to it."""
        self._process: asyncio.subprocess.Process | Forked | None = None
        self._session: int | None = None
        """Of a program that has one of its own."""

    # The program

    async def run(
        self, *arguments: str, environment: Mapping[str, str], cwd: Path, program: Sequence[str] = ODCTL
    ) -> None:
        """Starts `odctl`, or another program, in the foreground of this terminal."""
        self._process = await asyncio.create_subprocess_exec(
            *program, *arguments, env=dict(environment), cwd=cwd, start_new_session=True,
            stdin=self._theirs, stdout=self._theirs, stderr=self._theirs, preexec_fn=self._control,
        )  # fmt: skip
        self._session = self._process.pid

    def fork(self, *arguments: str, environment: Mapping[str, str], cwd: Path) -> None:
        """As `run`, in a tenth of the time: for what does not open the dashboard."""
        with open(os.dup(self._theirs), "r+b", buffering=0) as stream:
            self._process = forked(
                "odctl", *arguments, environment=environment, cwd=cwd, stdin=stream, stdout=stream, stderr=stream
            )

    def _control(self) -> None:
        fcntl.ioctl(0, termios.TIOCSCTTY, 0)

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.returncode is None

    async def ended(self) -> int:
        """Its exit code; what it wrote last is on the screen."""
        assert self._process is not None
        process = self._process

        def look() -> bool:
            self._read()
            return process.returncode is not None

        await until(look, what=f"odctl to end\n{self.text}")
        self._read()
        assert process.returncode is not None
        return process.returncode

    async def hang_up(self) -> int:
        """The window is closed, or the line has dropped. The exit code of what ran in it."""
        process = self._process
        assert process is not None
        os.close(self._ours)
        self._ours = -1
        await until(lambda: process.returncode is not None, what="odctl to end")
        assert process.returncode is not None
        return process.returncode

    async def __aenter__(self) -> Terminal:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process is not None and self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self._process.send_signal(signal.SIGKILL)
            await self._process.wait()
        self._end_session()
        for descriptor in {self._ours, self._theirs} - {-1}:
            os.close(descriptor)

    def _end_session(self) -> None:
        """What a shell had begun beside itself: without its terminal some go on for ever."""
        if self._session is None:
            return
        for process in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                if os.getsid(int(process.name)) == self._session:
                    os.kill(int(process.name), signal.SIGKILL)

    # The person

    def type(self, *keys: str) -> None:
        """Text, or names of KEYS."""
        os.write(self._ours, "".join(KEYS.get(key, key) for key in keys).encode())

    def wipe(self) -> None:
        """An empty screen: what is on it after this came after it."""
        self._screen.reset()

    def resize(self, columns: int, lines: int) -> None:
        self._screen.resize(lines, columns)
        self._sized(columns, lines)

    def _sized(self, columns: int, lines: int) -> None:
        fcntl.ioctl(self._ours, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))

    @property
    def lines(self) -> list[str]:
        self._read()
        return [line.rstrip() for line in self._screen.display]

    @property
    def text(self) -> str:
        return "\n".join(self.lines)

    async def shows(self, *wanted: str, timeout: float = 60) -> None:
        """Waits until all of these are on the screen."""
        await self._look(lambda text: all(word in text for word in wanted), f"to show {wanted}", timeout)

    async def hides(self, unwanted: str) -> None:
        await self._look(lambda text: unwanted not in text, f"to hide {unwanted!r}", 60)

    async def _look(self, wanted: Any, what: str, timeout: float) -> None:
        try:
            await until(lambda: wanted(self.text), timeout=timeout, what=what)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.text}") from None

    def _read(self) -> None:
        while True:
            try:
                part = os.read(self._ours, 65_536)
            except BlockingIOError:
                return
            if not part:
                return
            self.raw += part
            for question, answer in QUESTIONS.items():
                os.write(self._ours, answer * part.count(question))
            self._stream.feed(part)

    # The state it is left in

    @property
    def restored(self) -> bool:
        """As before the program came: echo and lines, the cursor shown, the first screen, no reports of the mouse."""
        self._read()
        modes = {number: self.raw.rfind(f"\x1b[?{number}h".encode()) <= self.raw.rfind(f"\x1b[?{number}l".encode())
                 for number in (1049, 1000, 1003, 2004)}  # fmt: skip
        shown = self.raw.rfind(b"\x1b[?25h") >= self.raw.rfind(b"\x1b[?25l")
        return termios.tcgetattr(self._theirs) == self.before and shown and all(modes.values())
