"""Where replicas' bytes lie. Engines write into a replica's directory themselves; this is what the rest
needs."""

from __future__ import annotations

import errno
from collections.abc import Iterable, Iterator, Sequence, Set
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from oddaemon.domain.errors import NoSpace, StorageFailed
from oddaemon.domain.node import DiskUsage
from oddaemon.domain.types import Bytes, ReplicaId

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
_UNUSABLE = frozenset({errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO, errno.ESTALE, errno.ENOTCONN})


@contextmanager
def disk_errors() -> Iterator[None]:
    """What the system says of a disk that is full or unusable, as the errors that callers tell apart."""
    try:
        yield
    except OSError as error:
        if error.errno in _FULL:
            raise NoSpace(f"no room on the disk: {error.strerror}") from error
        if error.errno in _UNUSABLE:
            raise StorageFailed(f"the disk cannot be used: {error.strerror}") from error
        raise


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredFile:
    """A regular file below a replica's directory, by its safe relative path."""

    path: str
    size: Bytes
    modified_ns: int


class StorageProvider(Protocol):
    """Methods block on the disk: callers run them through a thread helper. All raise StorageMissing while the
    sentinel is absent (except `usage`, which says so), NoSpace on a full disk, a used-up quota or too many
    files, StorageFailed on one that is read-only, damaged or not ours to write to; and none follows a symbolic
    link or leaves the base."""

    @property
    def name(self) -> str: ...

    def prepare(self, *, known: bool) -> None:
        """At every start. `known`: this installation has prepared its base before. If not, makes the base
        directory and the sentinel unless they are there. If so, makes nothing, so that an unmounted disk is
        noticed and nothing is written below its mount point. Either way raises StorageMissing when there is
        no sentinel at the end. Raises OSError when the base cannot be made."""

    def allocate(self, replica_id: ReplicaId) -> Path:
        """Makes the replica's directory (mode 0700) unless it exists. Returns its absolute path."""

    def open(self, replica_id: ReplicaId, path: str) -> int:
        """A read-only descriptor of a regular file. Raises NotFound, also for a path that would leave the
        directory or crosses a symbolic link."""

    def write(self, replica_id: ReplicaId, path: str, offset: int, data: bytes) -> None:
        """Puts bytes into a file of the replica, which ends behind them then; makes the file and the directories it
        lies in unless they are there. Raises InvalidArgument for a path that is not safe, for a name that is taken by
        something else than a file or a directory, and for an offset behind the file's end."""

    def stat(self, replica_id: ReplicaId, paths: Iterable[str]) -> Sequence[StoredFile | None]:
        """In the order asked; None for what is not a regular file there."""

    def walk(self, replica_id: ReplicaId) -> Sequence[StoredFile]:
        """Every regular file of the replica; links and special files are left out."""

    def delete(self, replica_id: ReplicaId) -> Bytes:
        """Deletes the directory with all it holds, never following a link. Returns the bytes freed.
        Idempotent: an absent directory frees 0."""

    def empty(self, replica_id: ReplicaId, keep: Set[str] = frozenset()) -> None:
        """Deletes what the directory holds, but for the files of these paths, and keeps the directory."""

    def replicas(self) -> Sequence[ReplicaId]:
        """Which replicas have a directory here; other names in the base are left out."""

    def usage(self) -> DiskUsage:
        """Figures of the file system. Does not raise for a missing sentinel: `present` is False."""

    def size_of(self, replica_id: ReplicaId) -> Bytes:
        """Sum of the sizes of all files of the replica."""

    def uri(self, replica_id: ReplicaId, path: str) -> str:
        """`file://…`: what is stored and shown to admins."""
