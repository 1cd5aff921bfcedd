"""Small files that a daemon without a store keeps in its data directory: for its user alone, whole or not there."""

from __future__ import annotations

import os
from pathlib import Path


def keep(path: Path, data: bytes) -> None:
    """On the disk, whole, when it returns. Raises OSError, and then what was there before is. Blocks."""
    new = path.with_name(path.name + ".new")
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    new.rename(path)
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def kept(path: Path) -> bytes | None:
    """None when there is no such file. Raises OSError. Blocks."""
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None
