"""What an engine leaves on the disk and among the processes; needs /proc."""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from pathlib import Path


async def untouched(directory: Path) -> None:
    """From now on nothing has the directory open and nothing in it changes."""
    before = tree(directory)
    until = time.monotonic() + 0.4
    while time.monotonic() < until:
        assert not touching(directory)
        assert tree(directory) == before
        await asyncio.sleep(0.1)


async def stays_absent(directory: Path) -> None:
    until = time.monotonic() + 0.4
    while time.monotonic() < until:
        assert not tree(directory.parent).keys() & {str(directory)}
        await asyncio.sleep(0.1)


def tree(directory: Path) -> dict[str, tuple[int, int]]:
    found: dict[str, tuple[int, int]] = {}
    for path in directory.rglob("*") if directory.exists() else ():
        with contextlib.suppress(FileNotFoundError):
            status = path.lstat()
            found[str(path)] = (status.st_size, status.st_mtime_ns)
    return found


def size_of(directory: Path) -> int:
    return sum(size for path, (size, _) in tree(directory).items() if not Path(path).is_dir())


def touching(directory: Path) -> list[str]:
    """Descriptors and working directories of any process of ours that lie in the directory."""
    inside = str(directory.resolve())
    found = []
    for process in Path("/proc").iterdir():
        if not process.name.isdigit():
            continue
        with contextlib.suppress(OSError):
            for link in [process / "cwd", *(process / "fd").iterdir()]:
                with contextlib.suppress(OSError):
                    target = os.readlink(link)
                    if target == inside or target.startswith(inside + "/"):
                        found.append(f"{link} -> {target}")
    return found


def descendants() -> set[int]:
    """Processes that this one started, directly or not, and that are still running."""
    parents: dict[int, int] = {}
    for process in Path("/proc").iterdir():
        if process.name.isdigit():
            with contextlib.suppress(OSError, IndexError, ValueError):
                fields = (process / "stat").read_text().rpartition(")")[2].split()
                if fields[0] != "Z":
                    parents[int(process.name)] = int(fields[1])
    found = {os.getpid()}
    while more := {pid for pid, parent in parents.items() if parent in found} - found:
        found |= more
    return found - {os.getpid()}
