"""The envelope of every answer: success, data, error, meta. And the problems that only HTTP has."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from aiohttp import web
from odproto.error_codes import ErrorCode

from oddaemon.api.rest.hints import rest_hint
from oddaemon.wire.errors import Told, told

TYPE = "application/json"
_NULL = b"null"


class HttpCode(StrEnum):
    """Codes of what is wrong with a request as HTTP has it. All others are those of every face (`ErrorCode`)."""

    MALFORMED = "MALFORMED"
    """The request is not what HTTP or JSON allow."""
    FOREIGN_HOST = "FOREIGN_HOST"
    """The Host header names another server; `server.allowed_hosts` says which names are ours."""
    FOREIGN_ORIGIN = "FOREIGN_ORIGIN"
    """A page of another origin asks; `server.cors_origins` says which may."""
    METHOD_NOT_ALLOWED = "METHOD_NOT_ALLOWED"
    """The path exists, and has no such method. `Allow` names those that it has."""
    PRECONDITION_FAILED = "PRECONDITION_FAILED"
    """What was to be changed is not, or no longer, what `If-Match` names. Nothing was done."""
    TIMEOUT = "TIMEOUT"
    """The request did not arrive in time."""
    TOO_LARGE = "TOO_LARGE"
    """The request's body is larger than this route takes."""
    UNSUPPORTED_MEDIA_TYPE = "UNSUPPORTED_MEDIA_TYPE"
    """The request's body is of a type that this route does not take."""


@dataclass(slots=True)
class HttpProblem(Exception):
    """A request that ends here."""

    status: int
    code: HttpCode
    message: str
    hint: str = ""
    details: Mapping[str, Any] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)


class HungUp(Exception):
    """Whoever asked went away before anything was done: nobody is there to be answered."""


def rate_fields(limit: int, remaining: int, reset: float) -> Mapping[str, str]:
    """How many requests a minute are allowed, how many are left, and in how many seconds there is one more."""
    return {
        "RateLimit-Limit": str(limit),
        "RateLimit-Remaining": str(remaining),
        "RateLimit-Reset": str(math.ceil(reset)),
    }


def success(data: bytes, meta: bytes = _NULL) -> bytes:
    """`data` and `meta` are JSON already. One line with its end: a prompt stands below it."""
    return b'{"success":true,"data":' + data + b',"error":null,"meta":' + meta + b"}\n"


def failure(error: BaseException, request_id: str) -> web.Response:
    """The answer to a request that failed."""
    if isinstance(error, HttpProblem):
        return _response(error.status, error.code, error.message, error.hint, error.details, error.headers)
    found = told(error, request_id)
    return _response(found.http, found.code, found.message, rest_hint(found.hint), found.details, _headers(found))


def _headers(found: Told) -> Mapping[str, str]:
    wait = found.details.get("retry_after")
    if isinstance(wait, int | float):
        retry = {"Retry-After": str(max(math.ceil(wait), 1))}
        if found.code is ErrorCode.TOO_MANY_REQUESTS:
            return {**retry, **rate_fields(found.details["limit"], 0, wait)}
        return retry
    return {"WWW-Authenticate": 'Bearer realm="opendebrid"'} if found.http == 401 else {}


def _response(
    status: int, code: str, message: str, hint: str, details: Mapping[str, Any], headers: Mapping[str, str]
) -> web.Response:  # fmt: skip
    problem = {
        "code": str(code), "message": message, "hint": hint, "field": details.get("field"), "details": dict(details)
    }  # fmt: skip
    envelope = {"success": False, "data": None, "error": problem, "meta": None}
    text = json.dumps(envelope, ensure_ascii=False, separators=(",", ":")) + "\n"
    return web.Response(status=status, body=text.encode(errors="replace"), content_type=TYPE, headers=headers)
