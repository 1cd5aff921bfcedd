"""The processes below a daemon, read from /proc."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path


def _children(pid: int) -> list[int]:
    found: list[int] = []
    with contextlib.suppress(OSError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            with contextlib.suppress(OSError):
                found += map(int, (task / "children").read_text().split())
    return found


def command(pid: int) -> str:
    """Empty for a process that has ended."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
    except OSError:
        return ""


def family(pid: int) -> Iterator[int]:
    """All that descend from a process, without itself."""
    for child in _children(pid):
        yield child
        yield from family(child)


def running(pid: int, word: str) -> list[int]:
    """Descendants whose command line holds the word."""
    return [child for child in family(pid) if word in command(child)]
