"""What every call that is served to a worker or to a controller goes through. Nothing but the handshake is answered
until the other side has shown who it is."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

from grpclib.const import Handler as Route
from grpclib.exceptions import GRPCError
from grpclib.server import Stream
from h2.exceptions import ProtocolError as Http2Error

from oddaemon.domain.errors import Draining, Unauthenticated
from oddaemon.rpc.messages import MAX_MESSAGE, fail, limit_messages, unless_gone
from oddaemon.wire.node_errors import NODE_ERROR_METADATA_KEY, error_message

log = logging.getLogger(__name__)

MAX_STRANGERS_MESSAGE = 64 << 10
"""Bytes of a message from whom nothing is known yet."""
FAREWELL_SECONDS = 0.5


@dataclass(slots=True)
class Guard:
    """Of one connection. `open_calls`: those that may be made before the other side is known."""

    open_calls: frozenset[str]
    known: bool = False
    ending: bool = False
    running: set[asyncio.Task[Any]] = field(default_factory=set)

    def route(self, path: str, route: Route) -> Route:
        return route._replace(func=self._guarded(path.rpartition("/")[2], route.func))

    def _guarded(self, name: str, func: Callable[[Any], Awaitable[None]]) -> Callable[[Any], Awaitable[None]]:
        async def run(stream: Stream[Any, Any]) -> None:
            request_id = uuid4().hex[:12]
            task = asyncio.current_task()
            assert task is not None
            self.running.add(task)
            try:
                if self.ending:
                    raise Draining("the daemon is shutting down")
                if not self.known and name not in self.open_calls:
                    raise Unauthenticated("nobody has shown who is calling")
                limit_messages(stream, MAX_MESSAGE if self.known else MAX_STRANGERS_MESSAGE)
                await func(stream)
            except (GRPCError, Http2Error):
                raise
            except asyncio.CancelledError:
                if self.ending:
                    await _farewell(stream)
                raise
            except Exception as error:  # noqa: BLE001  the table decides what a caller hears of it
                await _fail(stream, error, request_id)
            finally:
                self.running.discard(task)

        return unless_gone(run)

    async def end(self) -> None:
        """New calls are refused, those in flight are cut short, with a word to the caller."""
        self.ending = True
        running = tuple(self.running)
        for task in running:
            task.cancel()
        if running:
            await asyncio.wait(running, timeout=2 * FAREWELL_SECONDS)


async def _fail(stream: Stream[Any, Any], error: BaseException, request_id: str) -> None:
    await fail(stream, error, request_id, {NODE_ERROR_METADATA_KEY: bytes(error_message(error, request_id))})


async def _farewell(stream: Stream[Any, Any]) -> None:
    if stream._send_trailing_metadata_done:
        return
    try:
        async with asyncio.timeout(FAREWELL_SECONDS):
            await _fail(stream, Draining("the daemon was stopped during this call"), "")
    except Exception as error:  # noqa: BLE001  the connection may be gone already
        log.debug("farewell not delivered", extra={"action": "farewell_failed", "error": repr(error)})
