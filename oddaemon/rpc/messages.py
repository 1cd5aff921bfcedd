"""What every gRPC call here goes through: messages are bounded and whole, failures are told by the error table, and a
caller that went away is nobody's failure. For the control API and for nodes alike (ADR 0007)."""

from __future__ import annotations

import logging
import struct
from collections.abc import Awaitable, Callable
from typing import Any

from grpclib.const import Status
from grpclib.encoding.base import CodecBase
from grpclib.server import Stream
from h2.exceptions import ProtocolError as Http2Error
from odproto.error_codes import ERROR_METADATA_KEY

from oddaemon.domain.errors import InvalidArgument, LimitExceeded
from oddaemon.wire.decode import decoded
from oddaemon.wire.errors import mapped, to_message

log = logging.getLogger(__name__)

MAX_MESSAGE = 16 << 20
"""Bytes of one received message. grpclib has no limit of its own."""
MAX_STATUS_TEXT = 500


class StrictCodec(CodecBase):
    """Refuses what is no such message, see wire.decode."""

    __content_subtype__ = "proto"

    def encode(self, message: Any, message_type: Any) -> bytes:
        return bytes(message)

    def decode(self, data: bytes, message_type: Any) -> Any:
        return decoded(data, message_type)


def unless_gone(run: Callable[[Any], Awaitable[None]]) -> Callable[[Any], Awaitable[None]]:
    """The handler of a call, quiet when its caller has gone."""

    async def quietly(stream: Stream[Any, Any]) -> None:
        try:
            await run(stream)
        except Http2Error:
            # nothing more can be sent on it: grpclib must not try
            stream._cancel_done = True

    return quietly


async def fail(
    stream: Stream[Any, Any], error: BaseException, request_id: str, metadata: dict[str, bytes] | None = None
) -> None:
    """Ends the call with what the table says of the error. `metadata` goes with it."""
    row = mapped(error)
    if row.grpc is Status.INTERNAL:
        log.error("call failed", extra={"action": "call_failed", "request": request_id}, exc_info=error)
    message = to_message(error, request_id)
    await stream.send_trailing_metadata(
        status=row.grpc,
        status_message=message.message[:MAX_STATUS_TEXT],
        metadata={ERROR_METADATA_KEY: bytes(message), **(metadata or {})},
    )


def limit_messages(stream: Stream[Any, Any], most: int = MAX_MESSAGE) -> None:
    """RESOURCE_EXHAUSTED for a message over the limit, before it is read; the connection survives. INVALID_ARGUMENT for
    a call without one, a compressed or a truncated one."""
    inner = stream._stream
    receive, receive_message = inner.recv_data, stream.recv_message

    async def limited(size: int) -> bytes:
        if size > most:
            raise LimitExceeded(
                f"a message of {size} bytes is larger than the {most} allowed", hint="send fewer items at once"
            )
        data: bytes = await receive(size)
        return data

    async def whole() -> Any:
        try:
            message = await receive_message()
        except NotImplementedError as error:
            raise InvalidArgument("compressed messages are not taken") from error
        except (AssertionError, struct.error) as error:
            raise InvalidArgument("the request ends in the middle of its message") from error
        if message is None:
            raise InvalidArgument("the call came without a request")
        return message

    stream.recv_message = whole  # type: ignore[method-assign]
    inner.recv_data = limited  # type: ignore[method-assign]
