"""What can go wrong between the user and the daemon: one exception, a sentence, a next step and an exit code.

Standard library only: raised before any of the protocol's packages is imported.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

OK, FAILURE, USAGE, NOT_FOUND, NOT_ALLOWED, UNREACHABLE, TIMEOUT, REFUSED = 0, 1, 2, 3, 4, 5, 8, 9
"""Exit codes, as in `odctl.cli.exit_codes`, which this layer must not import."""

_BY_CODE = {
    "NOT_FOUND": NOT_FOUND,
    "UNAUTHENTICATED": NOT_ALLOWED,
    "NOT_ALLOWED": NOT_ALLOWED,
    "PERMISSION_DENIED": NOT_ALLOWED,
    "UNAVAILABLE": UNREACHABLE,
    "DRAINING": UNREACHABLE,
    "DEADLINE_EXCEEDED": TIMEOUT,
    "INTERNAL": FAILURE,
    "STORE_ERROR": FAILURE,
    "UNKNOWN": FAILURE,
    "CALLER_ERROR": USAGE,
    "OUT_OF_RANGE": USAGE,
}
_REFUSALS = {
    "CONFLICT", "ALREADY_EXISTS", "WRONG_STATE", "NOT_READY", "PINNED", "LIMIT_EXCEEDED", "LOGIN_THROTTLED",
    "TOO_MANY_REQUESTS", "UNSUPPORTED",
    "NODE_UNAVAILABLE", "ENGINE_UNAVAILABLE", "STORAGE_MISSING", "STORAGE_FAILED", "STORE_UNAVAILABLE", "NO_SPACE",
    "ENGINE_FAILED",
    "FAILED_PRECONDITION", "RESOURCE_EXHAUSTED", "UNIMPLEMENTED", "ABORTED",
}  # fmt: skip
BY_STATUS = {
    "CANCELLED": FAILURE, "UNKNOWN": FAILURE, "INTERNAL": FAILURE, "DATA_LOSS": FAILURE,
    "INVALID_ARGUMENT": USAGE, "OUT_OF_RANGE": USAGE, "NOT_FOUND": NOT_FOUND,
    "UNAUTHENTICATED": NOT_ALLOWED, "PERMISSION_DENIED": NOT_ALLOWED, "UNAVAILABLE": UNREACHABLE,
    "DEADLINE_EXCEEDED": TIMEOUT, "FAILED_PRECONDITION": REFUSED, "RESOURCE_EXHAUSTED": REFUSED,
    "UNIMPLEMENTED": REFUSED, "ALREADY_EXISTS": REFUSED, "ABORTED": REFUSED,
}  # fmt: skip
"""gRPC's status → exit code."""


class OdctlError(Exception):
    """Ends a command. `message` is one sentence, `why` a second line, `hint` what to do next; each may be shown on a
    line of its own, never more than three."""

    def __init__(
        self,
        message: str,
        *,
        code: str = "ERROR",
        exit_code: int = FAILURE,
        why: str = "",
        hint: str = "",
        details: Mapping[str, Any] | None = None,
    ) -> None:
        self.message = message
        self.code = code
        self.exit_code = exit_code
        self.why = why
        self.hint = hint
        self.details: dict[str, Any] = dict(details or {})
        super().__init__(message)

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickled as what it says: some of its kinds are made from other arguments."""
        return _remade, (type(self), self.args, self.__dict__)

    def as_json(self) -> dict[str, Any]:
        """The type Error of the JSON interface, without its wrapper's key."""
        details = {**self.details, **({"why": self.why} if self.why else {})}
        return {
            "code": self.code,
            "message": self.message,
            "hint": self.hint,
            "details": details,
            "exit": int(self.exit_code),
        }


def _remade(kind: type[OdctlError], args: tuple[Any, ...], said: dict[str, Any]) -> OdctlError:
    error = kind.__new__(kind)
    error.args = args
    error.__dict__.update(said)
    return error


class UsageError(OdctlError):
    """The command line cannot be carried out as it is."""

    def __init__(
        self, message: str, *, hint: str = "", code: str = "USAGE", details: Mapping[str, Any] | None = None
    ) -> None:
        super().__init__(message, code=code, exit_code=USAGE, hint=hint, details=details)


class Unreachable(OdctlError):
    """No daemon could be reached. `absent`: nothing listens, so one could be started."""

    def __init__(
        self, message: str, *, why: str = "", hint: str = "", absent: bool = False, exit_code: int = UNREACHABLE
    ) -> None:
        code = "NOT_ALLOWED" if exit_code == NOT_ALLOWED else "UNAVAILABLE"
        super().__init__(message, code=code, exit_code=exit_code, why=why, hint=hint)
        self.absent = absent


class ConnectionLost(OdctlError):
    """The connection broke during a call; asking again may help."""

    def __init__(self, message: str = "the connection to the daemon was lost") -> None:
        super().__init__(
            message,
            code="UNAVAILABLE",
            exit_code=UNREACHABLE,
            hint="see whether it runs: odctl daemon status      look for the cause: odctl doctor",
        )


def exit_of(code: str, status: str = "") -> int:
    """The exit code for an error code of the daemon; `status` is gRPC's, for a code that this client does not know."""
    if code in _BY_CODE:
        return _BY_CODE[code]
    if code in _REFUSALS:
        return REFUSED
    if code.startswith("INVALID_"):
        return USAGE
    return BY_STATUS.get(status, FAILURE)
