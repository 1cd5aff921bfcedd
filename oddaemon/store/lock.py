"""A lock beside the SQLite file that keeps a second daemon out. The kernel drops it when its holder dies."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from oddaemon.domain.errors import StoreError, StoreLocked


class StoreLock:
    """Held from `acquire` to `release`. The file stays: removing it would let two holders lock two files."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor: int | None = descriptor

    @classmethod
    def acquire(cls, store: Path) -> StoreLock:
        """Raises StoreLocked, naming the process that holds it, at once."""
        path = store.with_name(store.name + ".lock")
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        except OSError as error:
            raise StoreError(f"{path} cannot be opened: {error.strerror}") from error
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(descriptor, 32, 0).decode("ascii", "replace").strip()
            os.close(descriptor)
            raise _locked(store, holder) from None
        except OSError as error:
            os.close(descriptor)
            raise StoreError(f"{path} cannot be locked: {error.strerror}") from error
        try:
            # the pid is for people: a disk without room for it must not keep the daemon from its store
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        except OSError:
            pass
        return cls(descriptor)

    def release(self) -> None:
        """Idempotent."""
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            os.close(descriptor)


def _locked(store: Path, holder: str) -> StoreLocked:
    who = f"the daemon with pid {holder}" if holder.isdigit() else "another daemon"
    details = {"pid": int(holder)} if holder.isdigit() else {}
    return StoreLocked(f"{store} is in use by {who}", hint="use the running daemon, or stop it first", **details)
