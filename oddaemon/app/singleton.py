"""One daemon per control socket: a lock beside it, then the socket itself, already listening.

The order matters. The lock closes the race between probing and binding; the probe finds a daemon that does not know
the lock; permissions come from the umask at `bind`, so there is no moment in which others could connect.
"""

from __future__ import annotations

import errno
import fcntl
import grp
import os
import socket
import stat
import struct
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from odproto.endpoint import SYSTEM_RUNTIME_DIR, BadEndpoint, checked, private_dir

from oddaemon.app.exit_codes import ExitCode, StartFailed

PROBE_TIMEOUT = 1.0
BACKLOG = 128


class AlreadyRunning(StartFailed):
    """Another daemon answers on this socket."""

    def __init__(self, path: Path, pid: int | None) -> None:
        self.path = path
        self.pid = pid
        super().__init__(
            f"a daemon is already running on {path}" + (f" (pid {pid})" if pid else ""),
            code=ExitCode.UNAVAILABLE,
            hint="odctl status talks to it; odctl daemon stop ends it",
        )


class SocketRefused(StartFailed):
    """The control socket cannot be made where the settings want it; the message says why."""

    def __init__(self, message: str) -> None:
        super().__init__(message, code=ExitCode.CONFIG, hint="control.socket_path chooses another place")


@dataclass(slots=True)
class ControlSocket:
    """The listening socket and the lock that makes it ours."""

    socket: socket.socket
    path: Path
    _lock: int
    _inode: tuple[int, int]

    def close(self) -> None:
        """Takes the file away if it is still ours, closes, and only then lets the next daemon in. Idempotent."""
        if self._lock < 0:
            return
        with suppress(OSError):
            found = self.path.lstat()
            if (found.st_dev, found.st_ino) == self._inode:
                self.path.unlink()
        self.socket.close()
        os.close(self._lock)
        self._lock = -1


def open_control_socket(path: Path, *, mode: int | None = None, group: str = "") -> ControlSocket:
    """Binds `path` and listens. `mode` defaults to 0600, or 0660 with a group.

    The lock file `<path>.lock` holds our pid and stays: removing it would let two daemons lock two files. Raises
    AlreadyRunning, SocketRefused, or PermissionError.
    """
    gid = _group_id(group) if group else None
    wanted = mode if mode is not None else (0o660 if group else 0o600)
    try:
        checked(path)
        _make_folder(path.parent)
        if gid is not None:
            _open_folder(path.parent, gid)
    except BadEndpoint as error:
        raise SocketRefused(str(error)) from error
    lock = _lock(path)
    try:
        _clear_stale(path)
        listener = _bind(path, wanted, gid)
    except BaseException:
        os.close(lock)
        raise
    found = path.lstat()
    return ControlSocket(listener, path, lock, (found.st_dev, found.st_ino))


@contextmanager
def lock_data_dir(folder: Path) -> Iterator[None]:
    """Two daemons never share a data directory, whatever their mode and wherever their sockets are. The lock's file
    stays, as a socket's. Raises StartFailed."""
    path = folder / "oddaemon"
    try:
        lock = _lock(path)
    except AlreadyRunning as error:
        who = f" (pid {error.pid})" if error.pid else ""
        raise StartFailed(
            f"another daemon{who} uses the data directory {folder}",
            code=ExitCode.UNAVAILABLE,
            hint="stop that one, or give this one another with paths.data_dir (OD_PATHS_DATA_DIR)",
        ) from error
    try:
        yield
    finally:
        os.close(lock)


def running_pid(path: Path) -> int | None:
    """The pid of the daemon that listens on `path`; None when nobody does. Raises PermissionError when it is not ours
    to ask."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(PROBE_TIMEOUT)
        try:
            probe.connect(str(path))
        except (FileNotFoundError, ConnectionRefusedError, NotADirectoryError):
            return None
        except (TimeoutError, BlockingIOError):
            return _pid_in_lock(path) or 0  # its backlog is full: somebody listens, and is busy
        return _peer_pid(probe) or 0


def _make_folder(folder: Path) -> None:
    if folder == SYSTEM_RUNTIME_DIR or folder.is_dir():
        # 0755: the socket itself is closed to others, and a folder that hides it turns "not allowed" into "not there"
        folder.mkdir(mode=0o755, parents=True, exist_ok=True)
        if str(folder).startswith("/tmp/"):  # noqa: S108 - anybody may have made it: it has to be ours
            private_dir(folder)
    else:
        private_dir(folder)


def _open_folder(folder: Path, gid: int) -> None:
    """Lets the group through a folder that is ours alone: a socket behind it is of no use to anybody."""
    found = folder.stat()
    if found.st_uid == os.geteuid() and not found.st_mode & 0o011:
        os.chown(folder, -1, gid)
        folder.chmod(stat.S_IMODE(found.st_mode) | 0o010)


def _lock(path: Path) -> int:
    name = f"{path}.lock"
    descriptor = os.open(name, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(descriptor)
        if error.errno in (errno.EWOULDBLOCK, errno.EACCES):
            raise AlreadyRunning(path, _pid_in_lock(path)) from error
        raise
    os.ftruncate(descriptor, 0)
    os.write(descriptor, f"{os.getpid()}\n".encode())
    return descriptor


def _pid_in_lock(path: Path) -> int | None:
    with suppress(OSError, ValueError):
        return int(Path(f"{path}.lock").read_text())
    return None


def _clear_stale(path: Path) -> None:
    try:
        found = path.lstat()
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(found.st_mode):
        raise SocketRefused(f"{path} is there and is not a socket: move it away, or set control.socket_path")
    pid = running_pid(path)
    if pid is not None:
        raise AlreadyRunning(path, pid or None)
    path.unlink()


def _bind(path: Path, mode: int, gid: int | None) -> socket.socket:
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    try:
        # closed to the group until the group is the right one
        before = os.umask(0o777 & ~(mode if gid is None else mode & ~0o070))
        try:
            listener.bind(str(path))
        finally:
            os.umask(before)
        if gid is not None:
            os.chown(path, -1, gid)
            path.chmod(mode)
        listener.listen(BACKLOG)
        listener.setblocking(False)
    except BaseException:
        listener.close()
        raise
    return listener


def _group_id(name: str) -> int:
    try:
        return grp.getgrnam(name).gr_gid
    except KeyError:
        raise SocketRefused(f"there is no group {name!r}: make it, or change control.socket_group") from None


def _peer_pid(connection: socket.socket) -> int | None:
    """unix(7), SO_PEERCRED: pid, uid, gid. Of a listening peer: of the process that called listen(2)."""
    option = getattr(socket, "SO_PEERCRED", None)
    if option is None:
        return None
    pid, _, _ = struct.unpack("3i", connection.getsockopt(socket.SOL_SOCKET, option, 12))
    return int(pid) or None
