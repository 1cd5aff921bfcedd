"""What a call over a connection can end with, as the errors of ports.node_client. `listen_for_errors` once for a
channel; `failures` around each call on it."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from grpclib.client import Channel
from grpclib.const import Status
from grpclib.events import RecvTrailingMetadata, listen
from grpclib.exceptions import GRPCError, ProtocolError, StreamTerminatedError
from h2.exceptions import ProtocolError as Http2Error
from odproto.gen.opendebrid.node import v1 as pb

from oddaemon.domain.errors import InvalidArgument, LimitExceeded, NodeUnavailable, OpenDebridError, Unsupported
from oddaemon.wire.decode import decoded
from oddaemon.wire.node_errors import NODE_ERROR_METADATA_KEY, error_from
from oddaemon.wire.values import clean

log = logging.getLogger(__name__)

_told: ContextVar[bytes | None] = ContextVar("node_error", default=None)


def listen_for_errors(channel: Channel) -> None:
    listen(channel, RecvTrailingMetadata, _remember)


async def _remember(event: RecvTrailingMetadata) -> None:
    # runs in the task of the call, so that the call sees what it sets
    value = event.metadata.get(NODE_ERROR_METADATA_KEY)
    _told.set(value if isinstance(value, bytes) else None)


@contextmanager
def failures(node: str, seconds: float) -> Iterator[None]:
    """Turns what grpclib raises in the block, and what the readers of oddaemon.wire raise about an answer, into
    NodeUnavailable or into what the node itself raised. `seconds` is the call's deadline."""
    _told.set(None)
    try:
        yield
    except GRPCError as error:
        raise _raised(node, error, _told.get()) from error
    except TimeoutError as error:
        raise NodeUnavailable(f"node {node} did not answer within {seconds:g} s") from error
    except (StreamTerminatedError, ConnectionError, OSError) as error:
        raise NodeUnavailable(f"the connection to node {node} was lost") from error
    except (InvalidArgument, LimitExceeded) as error:
        raise _nonsense(node, error) from error
    except OpenDebridError:
        raise
    except (ProtocolError, Http2Error) as error:
        raise NodeUnavailable(f"the connection to node {node} was lost") from error
    except Exception as error:
        # grpclib asserts, and looks up attributes, where the other side keeps to no protocol
        log.warning("node call failed", extra={"action": "node_call_failed", "node": node}, exc_info=error)
        raise _nonsense(node, error) from error


def _nonsense(node: str, error: Exception) -> NodeUnavailable:
    said = error.message if isinstance(error, OpenDebridError) else type(error).__name__
    log.warning("node answers nonsense", extra={"action": "node_nonsense", "node": node, "error": said})
    return NodeUnavailable(f"node {node} answers what is no answer: {said}", hint="is it of the same version?")


def _raised(node: str, error: GRPCError, serialised: bytes | None) -> OpenDebridError:
    if serialised is not None:
        try:
            return error_from(decoded(serialised, pb.NodeError), node)
        except InvalidArgument as nonsense:
            return _nonsense(node, nonsense)
    if error.status is Status.UNIMPLEMENTED:
        return Unsupported(f"node {node} is older than its controller and does not know this", hint="upgrade it")
    return NodeUnavailable(f"node {node} did not answer: {clean(error.message or error.status.name)[:200]}")
