"""Files that a person's programs share: changed by one at a time, replaced whole, read by nobody else."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def locked(file: Path) -> Iterator[None]:
    """While it lasts no other program of ours changes this file. Makes its folder. Raises OSError."""
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    lock = os.open(file.with_name(f".{file.name}.lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)


def write_whole(file: Path, text: str) -> None:
    """All or nothing; where it is a link, what it links to. Raises OSError."""
    real = file.resolve()
    fresh = real.with_name(f"{real.name}.{os.getpid()}")
    try:
        descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8", errors="replace") as stream:
            stream.write(text)
        fresh.replace(real)
    except OSError:
        fresh.unlink(missing_ok=True)
        raise
