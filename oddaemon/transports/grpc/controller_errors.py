"""What a worker's call on its controller can end with."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from grpclib.client import Channel
from grpclib.events import RecvTrailingMetadata, listen
from grpclib.exceptions import GRPCError, ProtocolError, StreamTerminatedError
from h2.exceptions import ProtocolError as Http2Error
from odproto.error_codes import ERROR_METADATA_KEY, ErrorCode
from odproto.gen.opendebrid.common import v1 as common

from oddaemon.domain.errors import (
    AlreadyExists,
    InvalidArgument,
    LimitExceeded,
    NodeUnavailable,
    NotAllowed,
    NotFound,
    NotReady,
    OpenDebridError,
    Unauthenticated,
    Unavailable,
    Unsupported,
)
from oddaemon.wire.decode import decoded
from oddaemon.wire.node_values import said

_told: ContextVar[bytes | None] = ContextVar("controller_error", default=None)

_REFUSALS: dict[str, type[OpenDebridError]] = {
    ErrorCode.UNAUTHENTICATED: Unauthenticated,
    ErrorCode.NOT_ALLOWED: NotAllowed,
    ErrorCode.ALREADY_EXISTS: AlreadyExists,
    ErrorCode.INVALID_ARGUMENT: InvalidArgument,
    ErrorCode.UNSUPPORTED: Unsupported,
    ErrorCode.NOT_FOUND: NotFound,
    ErrorCode.NOT_READY: NotReady,
}
"""What another try would not change. All else is worth one."""


def listen_for_refusals(channel: Channel) -> None:
    listen(channel, RecvTrailingMetadata, _remember)


async def _remember(event: RecvTrailingMetadata) -> None:
    # runs in the task of the call, so that the call sees what it sets
    value = event.metadata.get(ERROR_METADATA_KEY)
    _told.set(value if isinstance(value, bytes) else None)


@contextmanager
def controller_failures(seconds: float) -> Iterator[None]:
    """Turns what grpclib raises in the block into NodeUnavailable, and what the controller refuses into its error."""
    _told.set(None)
    try:
        yield
    except GRPCError as error:
        raise _refusal(_told.get()) from error
    except TimeoutError as error:
        raise NodeUnavailable(f"the controller did not answer within {seconds:g} s") from error
    except (StreamTerminatedError, OSError, ProtocolError, Http2Error) as error:
        raise NodeUnavailable("the connection to the controller was lost") from error
    except (InvalidArgument, LimitExceeded, AssertionError, AttributeError) as error:
        raise NodeUnavailable("the controller answers what is no answer") from error


def _refusal(serialised: bytes | None) -> OpenDebridError:
    if serialised is None:
        return Unavailable("the controller did not say why it refuses")
    try:
        message = decoded(serialised, common.Error)
    except InvalidArgument:
        return Unavailable("the controller refuses, and what it says cannot be read")
    cls = _REFUSALS.get(message.code, Unavailable)
    return cls(said(message.message), hint=said(message.hint))
