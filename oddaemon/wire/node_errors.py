"""A node's failed calls: what it raises is raised again at its controller, with the engine's Failure whole."""

from __future__ import annotations

import json
from typing import Any

from odproto.error_codes import ErrorCode
from odproto.gen.opendebrid.node import v1 as pb

from oddaemon.domain import errors as e
from oddaemon.domain.failure import Failure, FailureCode, Retry
from oddaemon.ports.engine import failure_of
from oddaemon.wire.errors import MAX_DETAILS, MAX_ITEMS, TABLE, to_message
from oddaemon.wire.node_values import MAX_SAID, from_enum, known_duration, said, seconds, storable, to_enum

NODE_ERROR_METADATA_KEY = "od-node-error-bin"
MAX_WORDS = 1000
"""Characters of a failure's message and of its hint where they travel in headers."""
_A_NODE_MAY_SAY = (
    e.InvalidArgument, e.InvalidSource, e.InvalidOption, e.InvalidSelection, e.NotFound, e.Conflict, e.WrongState,
    e.NotReady, e.LimitExceeded, e.Unsupported, e.Unavailable, e.EngineUnavailable, e.StorageMissing, e.StorageFailed,
    e.NoSpace, e.DeadlineExceeded, e.EngineFailed,
)  # fmt: skip
_CLASSES = {str(TABLE[cls].code): cls for cls in _A_NODE_MAY_SAY}


def failure_message(failure: Failure, most: int = MAX_SAID) -> pb.Failure:
    return pb.Failure(
        code=failure.code.value,
        message=storable(failure.message[:most]),
        retry=to_enum(pb.RetryKind, failure.retry),
        retry_after_s=known_duration(failure.retry_after),
        hint=storable(failure.hint[:most]),
    )


def failure_from(message: pb.Failure) -> Failure:
    """A code of a later version is ENGINE: the words still tell. Raises InvalidArgument."""
    known = message.code in FailureCode.__members__.values()
    return Failure(
        code=FailureCode(message.code) if known else FailureCode.ENGINE,
        message=said(message.message),
        retry=from_enum(Retry, message.retry, "retry"),
        retry_after=seconds(message.retry_after_s, "retry_after_s"),
        hint=said(message.hint),
    )


def error_message(error: BaseException, request_id: str = "") -> pb.NodeError:
    failure = failure_of(error) if isinstance(error, e.EngineFailed) else None
    return pb.NodeError(
        error=to_message(error, request_id), failure=failure_message(failure, MAX_WORDS) if failure else None
    )


def error_from(message: pb.NodeError, node: str) -> e.OpenDebridError:
    """The error that the node raised. What a node cannot mean (that somebody is not allowed, that the store failed) and
    what went wrong inside it become an OpenDebridError; a node that is ending, a NodeUnavailable. Raises
    InvalidArgument."""
    told = message.error
    if told is None:
        return e.OpenDebridError(f"node {node} failed without saying why")
    words, hint, details = said(told.message), said(told.hint), _details(told.details)
    if told.code in (ErrorCode.DRAINING, ErrorCode.NODE_UNAVAILABLE):
        return e.NodeUnavailable(f"node {node} is ending")
    if told.code in (ErrorCode.UNAUTHENTICATED, ErrorCode.NOT_ALLOWED):
        return e.NodeUnavailable(f"node {node} refuses this controller: {words}")
    cls = _CLASSES.get(told.code)
    if cls is None:
        return e.OpenDebridError(f"node {node} failed: {words}")
    found = _made(cls, words, hint, details)
    if message.failure is not None and cls is e.EngineFailed:
        found.details["failure"] = failure_from(message.failure)
    return found


def _made(cls: type[e.OpenDebridError], words: str, hint: str, details: dict[str, Any]) -> e.OpenDebridError:
    found: e.OpenDebridError
    if cls is e.InvalidSource:
        position = details.get("position")
        return e.InvalidSource(words, position=position if isinstance(position, int) else None, hint=hint)
    if issubclass(cls, e.InvalidArgument):
        found = cls(words, field=said(str(details.get("field", ""))), hint=hint)
    else:
        found = cls(words, hint=hint)
    found.details.update(details)
    return found


def _details(text: str) -> dict[str, Any]:
    """Facts for people: what cannot be read is left out."""
    if not text or len(text) > MAX_DETAILS:
        return {}
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    if not isinstance(found, dict) or len(found) > MAX_ITEMS:
        return {}
    # the Failure has fields of its own
    return {key: value for key, value in found.items() if key != "failure"}


