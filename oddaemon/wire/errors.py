"""The one table: domain error class ↔ error code ↔ gRPC status ↔ HTTP status. All else is INTERNAL, without text."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from grpclib.const import Status
from odproto.error_codes import ErrorCode
from odproto.gen.opendebrid.common import v1 as common

from oddaemon.domain import errors as e
from oddaemon.domain.failure import Failure, Retry
from oddaemon.wire.values import clean


@dataclass(frozen=True, slots=True)
class Mapped:
    code: ErrorCode
    grpc: Status
    http: int


TABLE: Mapping[type[e.OpenDebridError], Mapped] = {
    e.OpenDebridError: Mapped(ErrorCode.INTERNAL, Status.INTERNAL, 500),
    e.CallerError: Mapped(ErrorCode.INVALID_ARGUMENT, Status.INVALID_ARGUMENT, 400),
    e.InvalidArgument: Mapped(ErrorCode.INVALID_ARGUMENT, Status.INVALID_ARGUMENT, 422),
    e.InvalidSource: Mapped(ErrorCode.INVALID_SOURCE, Status.INVALID_ARGUMENT, 422),
    e.InvalidOption: Mapped(ErrorCode.INVALID_OPTION, Status.INVALID_ARGUMENT, 422),
    e.InvalidSelection: Mapped(ErrorCode.INVALID_SELECTION, Status.INVALID_ARGUMENT, 422),
    e.InvalidFilter: Mapped(ErrorCode.INVALID_FILTER, Status.INVALID_ARGUMENT, 422),
    e.Unauthenticated: Mapped(ErrorCode.UNAUTHENTICATED, Status.UNAUTHENTICATED, 401),
    e.NotAllowed: Mapped(ErrorCode.NOT_ALLOWED, Status.PERMISSION_DENIED, 403),
    e.NotFound: Mapped(ErrorCode.NOT_FOUND, Status.NOT_FOUND, 404),
    e.Conflict: Mapped(ErrorCode.CONFLICT, Status.FAILED_PRECONDITION, 409),
    e.AlreadyExists: Mapped(ErrorCode.ALREADY_EXISTS, Status.ALREADY_EXISTS, 409),
    e.WrongState: Mapped(ErrorCode.WRONG_STATE, Status.FAILED_PRECONDITION, 409),
    e.NotReady: Mapped(ErrorCode.NOT_READY, Status.FAILED_PRECONDITION, 409),
    e.Pinned: Mapped(ErrorCode.PINNED, Status.FAILED_PRECONDITION, 409),
    e.LimitExceeded: Mapped(ErrorCode.LIMIT_EXCEEDED, Status.RESOURCE_EXHAUSTED, 429),
    e.LoginThrottled: Mapped(ErrorCode.LOGIN_THROTTLED, Status.RESOURCE_EXHAUSTED, 429),
    e.TooManyRequests: Mapped(ErrorCode.TOO_MANY_REQUESTS, Status.RESOURCE_EXHAUSTED, 429),
    e.Unsupported: Mapped(ErrorCode.UNSUPPORTED, Status.UNIMPLEMENTED, 409),
    e.Unavailable: Mapped(ErrorCode.UNAVAILABLE, Status.UNAVAILABLE, 503),
    e.NodeUnavailable: Mapped(ErrorCode.NODE_UNAVAILABLE, Status.FAILED_PRECONDITION, 503),
    e.EngineUnavailable: Mapped(ErrorCode.ENGINE_UNAVAILABLE, Status.FAILED_PRECONDITION, 503),
    e.StorageMissing: Mapped(ErrorCode.STORAGE_MISSING, Status.FAILED_PRECONDITION, 503),
    e.StorageFailed: Mapped(ErrorCode.STORAGE_FAILED, Status.FAILED_PRECONDITION, 503),
    e.NoSpace: Mapped(ErrorCode.NO_SPACE, Status.RESOURCE_EXHAUSTED, 507),
    e.Draining: Mapped(ErrorCode.DRAINING, Status.UNAVAILABLE, 503),
    e.DeadlineExceeded: Mapped(ErrorCode.DEADLINE_EXCEEDED, Status.DEADLINE_EXCEEDED, 504),
    e.EngineFailed: Mapped(ErrorCode.ENGINE_FAILED, Status.FAILED_PRECONDITION, 502),
    e.StoreError: Mapped(ErrorCode.STORE_ERROR, Status.INTERNAL, 500),
    e.StoreUnavailable: Mapped(ErrorCode.STORE_UNAVAILABLE, Status.FAILED_PRECONDITION, 503),
}


def mapped(error: BaseException) -> Mapped:
    """The nearest ancestor's row; INTERNAL for anything that is not ours."""
    for cls in type(error).__mro__:
        if cls in TABLE:
            return TABLE[cls]
    return TABLE[e.OpenDebridError]


MAX_TEXT = 1000
"""Characters of a message or hint. They travel in headers, and a client's limit for those is 64 KiB."""
MAX_DETAILS = 8000
MAX_ITEMS = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """What a caller hears of an error: fit for a terminal, and short."""

    code: ErrorCode
    http: int
    message: str
    hint: str = ""
    details: Mapping[str, Any] = field(default_factory=dict)


def told(error: BaseException, request_id: str = "") -> Told:
    """A foreign exception tells nothing but the request's id."""
    row = mapped(error)
    if not isinstance(error, e.OpenDebridError) or row.code is ErrorCode.INTERNAL:
        return Told(
            code=ErrorCode.INTERNAL, http=500,
            message=f"internal error (request {request_id})" if request_id else "internal error",
            hint="odctl logs shows what happened",
        )  # fmt: skip
    details = {key: _plain(value) for key, value in error.details.items()}
    if details and len(json.dumps(details)) > MAX_DETAILS:
        details = {}
    return Told(
        code=row.code, http=row.http, message=_short(error.message), hint=_short(error.hint), details=details
    )  # fmt: skip


def to_message(error: BaseException, request_id: str = "") -> common.Error:
    """The same as odctl gets it."""
    found = told(error, request_id)
    details = json.dumps(found.details) if found.details else ""
    return common.Error(code=str(found.code), message=found.message, hint=found.hint, details=details)


def _short(text: str) -> str:
    shown = clean(text)
    return shown if len(shown) <= MAX_TEXT else shown[: MAX_TEXT - 1] + "…"


def _plain(value: object) -> object:
    if isinstance(value, Failure):
        return {
            "code": str(value.code), "message": _short(value.message), "retryable": value.retry is not Retry.LASTING
        }  # fmt: skip
    if isinstance(value, Mapping):
        return {_short(str(key)): _plain(item) for key, item in list(value.items())[:MAX_ITEMS]}
    if isinstance(value, list | tuple | set | frozenset):
        return [_plain(item) for item in list(value)[:MAX_ITEMS]]
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return _short(str(value))
