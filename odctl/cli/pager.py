"""Long answers go through the program of ODCTL_PAGER, where stdout is a terminal."""

from __future__ import annotations

import io
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Protocol, TextIO

LESS = "FRX"
"""For less, unless LESS says otherwise: colours as they are, and the screen left as it was."""
NOT_RUN = (126, 127)
"""What a shell answers for a program that it cannot start."""


class Pageable(Protocol):
    out: TextIO
    pager: str


class _Held(io.StringIO):
    """Written to as if it were the terminal."""

    def isatty(self) -> bool:
        return True


@contextmanager
def paged(output: Pageable) -> Iterator[None]:
    """What is written meanwhile is shown by the pager if it is longer than the terminal."""
    terminal = output.out
    if not output.pager or not terminal.isatty():
        yield
        return
    held = _Held()
    output.out = held
    try:
        yield
    finally:
        output.out = terminal
    show(held.getvalue(), output.pager, terminal)


def show(text: str, program: str, terminal: TextIO) -> None:
    if text.count("\n") < shutil.get_terminal_size().lines or not _through(text, program, terminal):
        terminal.write(text)


def _through(text: str, program: str, terminal: TextIO) -> bool:
    """Whether the pager could be started. It ends when its user wants: Ctrl-C is its business meanwhile."""
    # a run that pages nothing does not pay for them
    import signal
    import subprocess

    terminal.flush()
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        child = subprocess.Popen(
            ["/bin/sh", "-c", program], stdin=subprocess.PIPE, stdout=terminal, env={"LESS": LESS, **os.environ},
            restore_signals=True, text=True, errors="backslashreplace",
        )  # fmt: skip
        with suppress(BrokenPipeError):  # it was left before the end
            child.communicate(text)
        return child.wait() not in NOT_RUN
    except OSError:
        return False
    finally:
        signal.signal(signal.SIGINT, before)
