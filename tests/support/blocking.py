"""What must not happen on the event loop: calls that wait for a disk, a lock, a child or the clock. They go
to a thread.

Only what the daemon's own code does counts: what a test calls directly may block, and so may threads and children.
`open`, `read` and `fstat` of a descriptor are not among the calls that are watched (ADR 0010 has the file server use
them in its own processes).
"""

from __future__ import annotations

import contextlib
import inspect
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from types import FrameType
from typing import Any

from blockbuster import BlockBuster, BlockBusterFunction

ROOT = Path(__file__).resolve().parents[2]
OURS, TESTS, SHIPPED_TESTS = (f"{ROOT / name}/" for name in ("oddaemon", "tests", "oddaemon/testing"))

ALLOWED = {
    ("/logging/__init__.py", "emit"): "the test run's own handlers; the daemon's have a thread (app.logs)",
    ("/oddaemon/app/plugins.py", "installed"): "reads the entry points, before anything is served",
}
"""End of the file's name and function → why it may block."""
NO_DISK = ("os.path.abspath", "os.getcwd")
"""Watched by blockbuster, but they wait for nothing."""


@contextlib.contextmanager
def loop_guard() -> Iterator[list[str]]:
    """Raises BlockingError in what blocks, and notes it in the list: whoever catches every error must not hide it."""
    found: list[str] = []
    guard = BlockBuster()
    for name in NO_DISK:
        del guard.functions[name]
    for watched in guard.functions.values():
        for file, function in ALLOWED:
            watched.can_block_in(file, function)
        _narrow(watched, found)
    guard.activate()
    try:
        yield found
    finally:
        guard.deactivate()


def _narrow(watched: BlockBusterFunction, found: list[str]) -> None:
    harmless = watched.can_block_predicate

    def may_block(*args: Any, **kwargs: Any) -> bool:
        if harmless(*args, **kwargs):
            return True
        ours = _ours(sys._getframe(1), watched.can_block_functions)
        if not ours:
            return True
        found.append(f"{watched.full_name} in {' < '.join(ours[:4])}")
        return False

    watched.can_block_predicate = may_block


def _ours(frame: FrameType | None, allowed: Sequence[tuple[str, Iterable[str]]]) -> list[str]:
    """The daemon's own frames, innermost first; none when a test itself called what blocks, or when it is allowed."""
    own: list[str] = []
    in_coroutine = False
    while frame is not None:
        file, function = frame.f_code.co_filename, frame.f_code.co_name
        if any(file.endswith(end) and function in names for end, names in allowed):
            return []
        if file.startswith((TESTS, SHIPPED_TESTS)):
            return own if in_coroutine else []
        if file.startswith(OURS):
            own.append(f"{file.removeprefix(OURS)}:{frame.f_lineno} {function}")
            in_coroutine |= bool(frame.f_code.co_flags & (inspect.CO_COROUTINE | inspect.CO_ASYNC_GENERATOR))
        frame = frame.f_back
    return own
