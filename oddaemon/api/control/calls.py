"""What every call of the control API goes through: who is calling, a request id, the error table, the drain."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from typing import Any
from uuid import uuid4

import betterproto2
import structlog
from grpclib.const import Handler as Route
from grpclib.exceptions import GRPCError
from grpclib.server import Stream
from h2.exceptions import ProtocolError as Http2Error

from oddaemon.api.auth import Accounts, Peer, peer_of, principal
from oddaemon.api.control.rules import OPEN, RULES, Rule
from oddaemon.domain.errors import (
    Draining,
    NotAllowed,
    OpenDebridError,
    Unauthenticated,
)
from oddaemon.domain.user import Principal
from oddaemon.rpc.messages import fail, limit_messages, unless_gone

log = logging.getLogger(__name__)

MANY_ROWS = 50
"""An answer of more is encoded beside the event loop: each row takes it 0.1 ms."""
LOOKING = ("Hello", "Get", "List", "Probe", "Watch", "Events", "Logs", "TestEngine", "Diagnose", "WhoAmI", "Refresh")
"""How the names of calls begin that change nothing. Of all others the log says who made them."""
LOOK_AGAIN_SECONDS = 1.0
FAREWELL_SECONDS = 0.5
"""For telling a caller that its call is cut short."""


@dataclass(frozen=True, slots=True)
class Call:
    principal: Principal | None
    """None: the call is one by which somebody becomes known."""
    request_id: str


_CALL: ContextVar[Call] = ContextVar("call")


def caller() -> Principal:
    """Who is calling, inside a handler of a call for which one has to be known."""
    principal = _CALL.get().principal
    assert principal is not None
    return principal


def request_id() -> str:
    """The id by which the log names this call, inside a handler."""
    return _CALL.get().request_id


@dataclass(slots=True)
class _InFlight:
    stream: bool
    """Of answers."""
    who: Principal | None = None
    lapsed: OpenDebridError | None = None
    """Why the caller may not have it any more."""


@dataclass(slots=True)
class Gate:
    """Calls in flight. After `close` new ones are refused; `ending` tells streams to come to their end."""

    accounts: Accounts
    peer_of: Callable[[Stream[Any, Any]], Peer] = field(default_factory=lambda: _peer)
    """The process at the other end of a call. Raises Unauthenticated when that cannot be told."""
    admit: Callable[[Principal], object] = lambda _: None
    """Told of each call, once it is known who makes it. Raises TooManyRequests."""
    ending: asyncio.Event = field(default_factory=asyncio.Event)
    _idle: asyncio.Event = field(default_factory=asyncio.Event)
    _running: dict[asyncio.Task[Any], _InFlight] = field(default_factory=dict)
    _encoder: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(1, "encode"))
    """A thread of its own: those that everybody shares may all wait for a disk that hangs."""

    def __post_init__(self) -> None:
        self._idle.set()

    def close(self) -> None:
        self.ending.set()

    def end(self) -> None:
        """After the last call."""
        self._encoder.shutdown(wait=False, cancel_futures=True)

    @property
    def running(self) -> int:
        """How many calls are in flight."""
        return len(self._running)

    async def quiet(self, patience: float) -> bool:
        """Whether no call is in flight any more, waiting so many seconds for it."""
        try:
            async with asyncio.timeout(max(patience, 0)):
                await self._idle.wait()
        except TimeoutError:
            return not self._running
        return True

    def cut(self, *, streams_only: bool = False) -> None:
        """Cancels what is in flight; each caller is told why."""
        for task, call in tuple(self._running.items()):
            if call.stream or not streams_only:
                task.cancel()

    def guard(self, path: str, route: Route) -> Route:
        """The route, with everything that a call goes through. Raises KeyError for a call that no rule is for."""
        name = path.rpartition("/")[2]
        return route._replace(func=self._guarded(name, RULES[name], route.func, route.cardinality.server_streaming))

    def _guarded(
        self, name: str, rule: Rule, func: Callable[[Any], Awaitable[None]], streaming: bool
    ) -> Callable[[Any], Awaitable[None]]:  # fmt: skip
        async def run(stream: Stream[Any, Any]) -> None:
            request_id = uuid4().hex[:12]
            task = asyncio.current_task()
            assert task is not None
            call = self._running[task] = _InFlight(streaming)
            self._idle.clear()
            try:
                if self.ending.is_set():
                    raise Draining("the daemon is shutting down", hint="try again in a moment")
                peer = self.peer_of(stream)

                async def identify() -> Principal:
                    who = await principal(self.accounts, peer, _authorization(stream))
                    rule.check(who)
                    return who

                if rule is not OPEN:
                    call.who = await identify()
                    self.admit(call.who)
                _begin(name, Call(call.who, request_id), peer)
                limit_messages(stream)
                _encode_beside_the_loop(stream, self._encoder)
                if streaming:
                    await self._while_it_holds(call, identify, func(stream))
                else:
                    await func(stream)
            except (GRPCError, Http2Error):
                raise
            except asyncio.CancelledError:
                if self.ending.is_set():
                    await _farewell(stream, Draining("the daemon was stopped during this call"))
                elif call.lapsed is not None:
                    await _farewell(stream, call.lapsed)
                raise
            except Exception as error:  # noqa: BLE001  the table decides what a caller hears of it
                await fail(stream, error, request_id)
            finally:
                del self._running[task]
                if not self._running:
                    self._idle.set()

        return unless_gone(run)

    async def _while_it_holds(
        self, call: _InFlight, again: Callable[[], Awaitable[Principal]], work: Awaitable[None]
    ) -> None:
        """A stream ends within a second of what lets its caller have it."""
        task = asyncio.current_task()
        assert task is not None
        watcher = asyncio.create_task(self._lapse(call, again, task), name="access of a stream")
        try:
            await work
        finally:
            watcher.cancel()
            await asyncio.wait({watcher})

    async def _lapse(
        self, call: _InFlight, again: Callable[[], Awaitable[Principal]], task: asyncio.Task[Any]
    ) -> None:
        """Ends the call when its caller would not be let in again as what it was let in as. Some of what ends, as a
        user's other keys, is not what this call was made with."""
        while call.who is not None and call.lapsed is None:
            try:
                await self.accounts.ended(call.who)
                found = await again()
                if replace(found, generation=0) != replace(call.who, generation=0):
                    raise NotAllowed("what you may do has changed", hint="ask again")
                if found == call.who:
                    await asyncio.sleep(LOOK_AGAIN_SECONDS)
                call.who = found
            except (Unauthenticated, NotAllowed) as error:
                call.lapsed = error
            except Exception:
                # a store that does not answer has not said that anybody's access ended
                log.exception("access not looked up", extra={"action": "access_unknown"})
                await asyncio.sleep(LOOK_AGAIN_SECONDS)
        task.cancel()


def _begin(name: str, call: Call, peer: Peer) -> None:
    """From here on the handler knows who calls, and the log names the request."""
    _CALL.set(call)
    # the task is this call's alone, and so is what is bound
    structlog.contextvars.bind_contextvars(request=call.request_id)
    if not name.startswith(LOOKING):
        log.info(
            "call",
            extra={
                "action": "call", "method": name, "user": call.principal.username if call.principal else "",
                "uid": peer.uid, "pid": peer.pid,
            },
        )  # fmt: skip


def _peer(stream: Stream[Any, Any]) -> Peer:
    # not public in grpclib; see tests/integration/test_control_socket.py
    try:
        return peer_of(stream.peer._transport.get_extra_info("socket"))
    except (OSError, AttributeError) as error:
        raise Unauthenticated("it cannot be told who is calling: the connection is gone") from error


def _authorization(stream: Stream[Any, Any]) -> str | None:
    found = stream.metadata.getall("authorization", []) if stream.metadata is not None else []
    if len(found) > 1:
        raise Unauthenticated("authorization was sent more than once")
    return str(found[0]) if found else None


async def _farewell(stream: Stream[Any, Any], why: OpenDebridError) -> None:
    """The call is cut short. A caller that hears nothing would hang for ever."""
    if stream._send_trailing_metadata_done:
        return
    try:
        async with asyncio.timeout(FAREWELL_SECONDS):
            await fail(stream, why, "")
    except Exception as error:  # noqa: BLE001  the connection may be gone already
        log.debug("farewell not delivered", extra={"action": "farewell_failed", "error": repr(error)})


@dataclass(frozen=True, slots=True)
class _Encoded:
    data: bytes

    def __bytes__(self) -> bytes:
        return self.data


def _encode_beside_the_loop(stream: Stream[Any, Any], encoder: ThreadPoolExecutor) -> None:
    """Others are served while a long answer is put into bytes. Nothing is sent to a caller that has hung up: until the
    loop comes to tell us, each write would be a line in the log."""
    send = stream.send_message
    transport = stream.peer._transport

    async def sent(message: betterproto2.Message) -> None:
        if transport.is_closing():
            raise Http2Error("the caller has hung up")
        if rows(message) > MANY_ROWS:
            data = await asyncio.get_running_loop().run_in_executor(encoder, bytes, message)
            await send(_Encoded(data))
        else:
            await send(message)

    stream.send_message = sent  # type: ignore[method-assign]


def rows(message: betterproto2.Message) -> int:
    """About how many messages lie in this one: exact as long as there are few."""
    count = 0
    for value in vars(message).values():
        if isinstance(value, betterproto2.Message):
            count += 1 + rows(value)
        elif isinstance(value, list):
            count += len(value)
            if count > MANY_ROWS:
                break
            count += sum(rows(item) for item in value if isinstance(item, betterproto2.Message))
    return count
