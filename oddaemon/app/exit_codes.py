"""How the daemon's process ends: sysexits(3), so that a service manager can tell what a restart would not mend."""

from __future__ import annotations

import errno
from enum import IntEnum

from oddaemon.domain.errors import AlreadyExists, OpenDebridError, StoreError, StoreLocked, StoreNewer


class ExitCode(IntEnum):
    """`RestartPreventExitStatus=64 77 78` of the unit file relies on these."""

    OK = 0
    FAILURE = 1
    """Unclassified, or a bug."""
    USAGE = 64
    """A command or option that does not exist, or a file to write that does."""
    UNAVAILABLE = 69
    """The control socket, the store or a port is taken."""
    IO = 74
    """The disk or the store failed."""
    PERMISSION = 77
    CONFIG = 78
    """The settings cannot be used, or the store is newer than the program."""
    INTERRUPTED = 130
    """A second signal ended the daemon before it had put everything away."""


class StartFailed(Exception):
    """The daemon cannot start. `message` is one sentence, `hint` says what to do."""

    def __init__(self, message: str, *, code: ExitCode, hint: str = "") -> None:
        self.message = message
        self.code = code
        self.hint = hint
        super().__init__(message)


def cannot_listen(error: OSError, *, host: str, port: int, setting: str, variable: str) -> StartFailed:
    """Why `host:port` cannot be listened on, naming the setting that changes it."""
    if error.errno == errno.EADDRINUSE:
        return StartFailed(
            f"port {port} on {host} is taken by another program",
            code=ExitCode.UNAVAILABLE,
            hint=f"stop that program, or choose another port with {setting} ({variable})",
        )
    denied = error.errno in (errno.EACCES, errno.EPERM)
    return StartFailed(
        f"cannot listen on {host}, port {port}: {error.strerror}",
        code=ExitCode.PERMISSION if denied else ExitCode.CONFIG,
        hint=f"change {setting} ({variable}) or the address beside it",
    )


def classify(error: BaseException) -> tuple[ExitCode, str, str]:
    """Exit code, message and hint for an error that ended a command. Errors that are nobody's decision (bugs) are
    FAILURE with an empty message. A group counts as the first of its errors that is a decision."""
    if isinstance(error, BaseExceptionGroup):
        known = (found for found in map(classify, error.exceptions) if found[1])
        return next(known, (ExitCode.FAILURE, "", ""))
    if isinstance(error, StartFailed):
        return error.code, error.message, error.hint
    if isinstance(error, StoreLocked):
        return ExitCode.UNAVAILABLE, error.message, error.hint
    if isinstance(error, StoreNewer):
        return ExitCode.CONFIG, error.message, error.hint
    if isinstance(error, AlreadyExists):
        return ExitCode.USAGE, error.message, error.hint
    if isinstance(error, StoreError):
        return ExitCode.IO, error.message, error.hint
    if isinstance(error, OpenDebridError):
        return ExitCode.FAILURE, error.message, error.hint
    if isinstance(error, PermissionError):
        return ExitCode.PERMISSION, _os_message(error), "run it as the user that owns the data, or change the owner"
    if isinstance(error, OSError):
        return ExitCode.IO, _os_message(error), ""
    return ExitCode.FAILURE, "", ""


def _os_message(error: OSError) -> str:
    where = f"{error.filename}: " if error.filename else ""
    return f"{where}{error.strerror or error}"
