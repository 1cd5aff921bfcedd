"""How odctl ends. Scripts rely on these numbers: they are part of the interface."""

from __future__ import annotations

from enum import IntEnum


class ExitCode(IntEnum):
    OK = 0
    FAILURE = 1
    """Unclassified, or a bug."""
    USAGE = 2
    """Wrong usage, or an argument that is not valid."""
    NOT_FOUND = 3
    NOT_ALLOWED = 4
    """Not logged in, or not allowed."""
    UNREACHABLE = 5
    """The daemon cannot be reached."""
    PARTIAL = 6
    """Some of a batch failed."""
    JOB_FAILED = 7
    """A job that was waited for failed or was cancelled."""
    TIMEOUT = 8
    REFUSED = 9
    """The state of a thing, a limit, the disk or the daemon's version does not allow it."""
    INTERRUPTED = 130
    BROKEN_PIPE = 141


MEANING: dict[ExitCode, str] = {
    ExitCode.OK: "ok",
    ExitCode.FAILURE: "unclassified failure, or a bug",
    ExitCode.USAGE: "wrong usage, or an invalid argument",
    ExitCode.NOT_FOUND: "not found",
    ExitCode.NOT_ALLOWED: "not logged in, or not allowed",
    ExitCode.UNREACHABLE: "the daemon cannot be reached",
    ExitCode.PARTIAL: "part of a batch failed",
    ExitCode.JOB_FAILED: "a job that was waited for failed or was cancelled",
    ExitCode.TIMEOUT: "timed out",
    ExitCode.REFUSED: "refused: state, limit, disk, unsupported, exists already",
    ExitCode.INTERRUPTED: "interrupted with Ctrl-C",
    ExitCode.BROKEN_PIPE: "the reader of stdout went away",
}
