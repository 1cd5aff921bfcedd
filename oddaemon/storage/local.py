"""Replicas on a local file system: `<base>/.opendebrid` is the sentinel, `<base>/<replica id>/` holds one
replica.

Every name below the base is walked with `openat` and O_NOFOLLOW, one component after the other, on
descriptors: what a torrent, a title or an engine put there can never lead out, whatever is swapped while we
look. Only the base itself, which the operator chose, may be a symbolic link.
"""

from __future__ import annotations

import errno
import os
import stat
import uuid
from collections.abc import Iterable, Iterator, Sequence, Set
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from oddaemon.domain.errors import InvalidArgument, NotFound, StorageFailed, StorageMissing
from oddaemon.domain.files import SafeRelativePath
from oddaemon.domain.node import DiskUsage
from oddaemon.domain.types import Bytes, ReplicaId
from oddaemon.ports.plugin import Parts, Plugin, Problem
from oddaemon.ports.storage import StorageProvider, StoredFile, disk_errors

SENTINEL = ".opendebrid"
_SENTINEL_VERSION = 1
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
# O_NONBLOCK: opening a FIFO must not wait for its other end
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
_NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
_BASE = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
# a component is not there, is not what it has to be, or is a symbolic link (ELOOP, or ENOTDIR with
# O_DIRECTORY)
_ABSENT = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENXIO, errno.EISDIR, errno.ENAMETOOLONG})


@dataclass(frozen=True, slots=True, kw_only=True)
class LocalSettings:
    """`[storage.local]`."""

    base_path: str = ""
    """Where the replicas lie; empty: `node.download_dir`."""


class LocalStorage(StorageProvider):
    """The contract is the port's."""

    def __init__(self, base: Path) -> None:
        self._base = base.absolute()

    @property
    def name(self) -> str:
        return "local"

    @property
    def base(self) -> Path:
        return self._base

    def prepare(self, *, known: bool) -> None:
        if not known:
            self._base.mkdir(mode=0o700, parents=True, exist_ok=True)
            base = os.open(self._base, _BASE)
            try:
                if not _has_sentinel(base):
                    _write_sentinel(base)
            finally:
                os.close(base)
        with self._opened_base():
            pass

    def allocate(self, replica_id: ReplicaId) -> Path:
        with self._opened_base() as base:
            try:
                os.mkdir(str(replica_id), 0o700, dir_fd=base)
            except FileExistsError as error:
                if not stat.S_ISDIR(os.stat(str(replica_id), dir_fd=base, follow_symlinks=False).st_mode):
                    hint = f"look at {self._base / str(replica_id)}, which is not what the daemon put there"
                    raise StorageFailed(f"the place of {replica_id} is taken by no folder", hint=hint) from error
        return self._base / str(replica_id)

    def open(self, replica_id: ReplicaId, path: str) -> int:
        parts = _parts(path)
        if parts is None:
            raise NotFound
        with self._opened_base() as base:
            try:
                fd = _open_beneath(base, (str(replica_id), *parts), _FILE)
            except OSError as error:
                if error.errno in _ABSENT:
                    raise NotFound from error
                raise
        try:
            if not stat.S_ISREG(os.fstat(fd).st_mode):
                raise NotFound
        except BaseException:
            os.close(fd)
            raise
        return fd

    def write(self, replica_id: ReplicaId, path: str, offset: int, data: bytes) -> None:
        parts = SafeRelativePath.parse(path).parts
        self.allocate(replica_id)
        with self._opened_base() as base:
            try:
                fd = _made_beneath(base, (str(replica_id), *parts))
            except OSError as error:
                if error.errno in _ABSENT:
                    raise InvalidArgument("there is something else of that name", field="path") from error
                raise
            try:
                found = os.fstat(fd)
                if not stat.S_ISREG(found.st_mode) or offset > found.st_size:
                    raise InvalidArgument("there is no file that goes on there", field="path")
                left = memoryview(data)
                while left:
                    written = os.pwrite(fd, left, offset)
                    left, offset = left[written:], offset + written
                if found.st_size > offset:
                    os.ftruncate(fd, offset)
            finally:
                os.close(fd)

    def stat(self, replica_id: ReplicaId, paths: Iterable[str]) -> Sequence[StoredFile | None]:
        with self._opened_replica(replica_id) as root:
            return [None if root is None else _stat_beneath(root, path) for path in paths]

    def walk(self, replica_id: ReplicaId) -> Sequence[StoredFile]:
        with self._opened_replica(replica_id) as root:
            return [] if root is None else sorted(_files_beneath(root), key=lambda file: file.path)

    def delete(self, replica_id: ReplicaId) -> Bytes:
        with self._opened_base() as base:
            freed = 0
            with _opened_directory(base, str(replica_id)) as root:
                if root is not None:
                    freed = _clear(root)
            with suppress(FileNotFoundError):
                try:
                    os.rmdir(str(replica_id), dir_fd=base)
                except NotADirectoryError:
                    # something else took the name: the name goes, what it points at does not
                    os.unlink(str(replica_id), dir_fd=base)
        return Bytes(freed)

    def empty(self, replica_id: ReplicaId, keep: Set[str] = frozenset()) -> None:
        with self._opened_replica(replica_id) as root:
            if root is None:
                return
            _clear(root, spare={path.partition("/")[0] for path in keep})
            for file in list(_files_beneath(root)) if keep else ():
                if file.path not in keep:
                    _unlink_beneath(root, tuple(file.path.split("/")))

    def replicas(self) -> Sequence[ReplicaId]:
        with self._opened_base() as base, os.scandir(base) as entries:
            names = [entry.name for entry in entries if entry.is_dir(follow_symlinks=False)]
        found = [_replica_of(name) for name in sorted(names)]
        return [replica for replica in found if replica is not None]

    def usage(self) -> DiskUsage:
        try:
            base = os.open(self._base, _BASE)
        except OSError:
            return DiskUsage(total=Bytes(0), free=Bytes(0), present=False)
        try:
            figures = os.fstatvfs(base)
            return DiskUsage(
                total=Bytes(figures.f_blocks * figures.f_frsize),
                free=Bytes(figures.f_bavail * figures.f_frsize),
                present=_has_sentinel(base),
            )
        finally:
            os.close(base)

    def size_of(self, replica_id: ReplicaId) -> Bytes:
        return Bytes(sum(file.size for file in self.walk(replica_id)))

    def uri(self, replica_id: ReplicaId, path: str) -> str:
        safe = SafeRelativePath.parse(path)
        whole = os.fsencode(self._base / str(replica_id) / str(safe))
        return f"file://{quote(whole)}"

    @contextmanager
    def _opened_base(self) -> Iterator[int]:
        """The base, if its sentinel is there. Never kept open: that would keep the disk from being
        unmounted."""
        try:
            base = os.open(self._base, _BASE)
        except OSError as error:
            raise StorageMissing from error
        try:
            if not _has_sentinel(base):
                raise StorageMissing
            with disk_errors():
                yield base
        finally:
            os.close(base)

    @contextmanager
    def _opened_replica(self, replica_id: ReplicaId) -> Iterator[int | None]:
        with self._opened_base() as base, _opened_directory(base, str(replica_id)) as root:
            yield root


def _has_sentinel(base: int) -> bool:
    try:
        return stat.S_ISREG(os.stat(SENTINEL, dir_fd=base, follow_symlinks=False).st_mode)
    except OSError:
        return False


def _write_sentinel(base: int) -> None:
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        fd = os.open(SENTINEL, flags, 0o600, dir_fd=base)
    except FileExistsError:
        return
    try:
        os.write(fd, f"opendebrid {_SENTINEL_VERSION}\n{uuid.uuid4()}\n".encode())
        os.fsync(fd)
    finally:
        os.close(fd)
    os.fsync(base)


def _parts(path: str) -> tuple[str, ...] | None:
    try:
        return SafeRelativePath.parse(path).parts
    except InvalidArgument:
        return None


def _open_beneath(root: int, parts: Sequence[str], flags: int) -> int:
    """Opens the last of `parts`, each below the one before, following no link. Raises OSError."""
    parent = root
    try:
        for part in parts[:-1]:
            below = os.open(part, _DIRECTORY, dir_fd=parent)
            if parent != root:
                os.close(parent)
            parent = below
        return os.open(parts[-1], flags, dir_fd=parent)
    finally:
        if parent != root:
            os.close(parent)


def _made_beneath(root: int, parts: Sequence[str]) -> int:
    """As `_open_beneath`, for writing; directories and file are made. Raises OSError."""
    parent = root
    try:
        for part in parts[:-1]:
            with suppress(FileExistsError):
                os.mkdir(part, 0o700, dir_fd=parent)
            below = os.open(part, _DIRECTORY, dir_fd=parent)
            if parent != root:
                os.close(parent)
            parent = below
        return os.open(parts[-1], _NEW_FILE, 0o600, dir_fd=parent)
    finally:
        if parent != root:
            os.close(parent)


@contextmanager
def _opened_directory(parent: int, name: str) -> Iterator[int | None]:
    """A directory below `parent` made readable and writable for us, or None when there is none of that
    name."""
    try:
        handle = os.open(name, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent)
    except OSError as error:
        if error.errno in _ABSENT:
            yield None
            return
        raise
    try:
        mode = stat.S_IMODE(os.fstat(handle).st_mode)
        if mode & 0o700 != 0o700:
            # fchmod refuses an O_PATH descriptor; its name in /proc is that very directory, whatever happens
            # to `name`
            os.chmod(f"/proc/self/fd/{handle}", mode | 0o700)
        fd = os.open(".", _BASE, dir_fd=handle)
    finally:
        os.close(handle)
    try:
        yield fd
    finally:
        os.close(fd)


def _stat_beneath(root: int, path: str) -> StoredFile | None:
    parts = _parts(path)
    if parts is None:
        return None
    try:
        if len(parts) == 1:
            found = os.stat(parts[0], dir_fd=root, follow_symlinks=False)
        else:
            fd = _open_beneath(root, parts, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
            try:
                found = os.fstat(fd)
            finally:
                os.close(fd)
    except OSError as error:
        if error.errno in _ABSENT:
            return None
        raise
    return _stored(path, found)


def _stored(path: str, found: os.stat_result) -> StoredFile | None:
    if not stat.S_ISREG(found.st_mode):
        return None
    return StoredFile(path=path, size=Bytes(found.st_size), modified_ns=found.st_mtime_ns)


def _files_beneath(root: int) -> Iterator[StoredFile]:
    """Opens each directory anew from the root: however deep the tree, few descriptors and no recursion."""
    pending: list[tuple[str, ...]] = [()]
    while pending:
        parts = pending.pop()
        try:
            fd = _open_beneath(root, (*parts, "."), _BASE)
        except OSError as error:
            if error.errno in _ABSENT or error.errno == errno.EACCES:
                continue  # gone or swapped while we looked, or so made that nothing below can be served
            raise
        try:
            with os.scandir(fd) as entries:
                for entry in entries:
                    if entry.is_dir(follow_symlinks=False):
                        pending.append((*parts, entry.name))
                        continue
                    with suppress(FileNotFoundError):
                        found = os.stat(entry.name, dir_fd=fd, follow_symlinks=False)
                        if file := _stored("/".join((*parts, entry.name)), found):
                            yield file
        finally:
            os.close(fd)


def _clear(root: int, spare: Set[str] = frozenset()) -> int:
    """Deletes all that a directory holds, but for the names to be spared; the sum of the sizes of its regular files.

    Directories two levels down are moved up beside their parents first, so that however deep the tree (a
    torrent may nest 2,000 directories) two descriptors and no recursion do. A crash in between leaves names
    that the next call deletes like any other.
    """
    freed = 0
    while True:
        with os.scandir(root) as entries:
            names = [(entry.name, entry.is_dir(follow_symlinks=False)) for entry in entries if entry.name not in spare]
        if not names:
            return freed
        for name, is_directory in names:
            if not is_directory:
                freed += _unlink(root, name)
                continue
            with _opened_directory(root, name) as fd:
                if fd is not None:
                    freed += _hoist(root, fd)
            with suppress(FileNotFoundError):
                os.rmdir(name, dir_fd=root)


def _hoist(root: int, fd: int) -> int:
    freed = 0
    with os.scandir(fd) as entries:
        names = [(entry.name, entry.is_dir(follow_symlinks=False)) for entry in entries]
    for name, is_directory in names:
        if is_directory:
            with _opened_directory(fd, name):
                pass  # moving a directory needs the right to write to it: its `..` changes
            os.rename(name, f".deleted-{uuid.uuid4().hex}", src_dir_fd=fd, dst_dir_fd=root)
        else:
            freed += _unlink(fd, name)
    return freed


def _unlink_beneath(root: int, parts: tuple[str, ...]) -> None:
    parent = _open_beneath(root, (*parts[:-1], "."), _DIRECTORY)
    try:
        _unlink(parent, parts[-1])
    finally:
        os.close(parent)


def _unlink(parent: int, name: str) -> int:
    try:
        found = os.stat(name, dir_fd=parent, follow_symlinks=False)
        os.unlink(name, dir_fd=parent)
    except FileNotFoundError:
        return 0
    return found.st_size if stat.S_ISREG(found.st_mode) else 0


def _replica_of(name: str) -> ReplicaId | None:
    try:
        found = uuid.UUID(name)
    except ValueError:
        return None
    return ReplicaId(found) if str(found) == name else None


def _check(settings: LocalSettings) -> Sequence[Problem]:
    if settings.base_path and not Path(settings.base_path).is_absolute():
        return [Problem(message="storage.local.base_path is not an absolute path", hint="give the whole path")]
    return []


def _build(settings: LocalSettings, parts: Parts) -> LocalStorage:
    return LocalStorage(Path(settings.base_path) if settings.base_path else parts.download_dir)


PLUGIN: Plugin[StorageProvider] = Plugin(name="local", settings_type=LocalSettings, check=_check, build=_build)
