"""A connection to a daemon: keepalive, a deadline on every call, and failures as OdctlError."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from pathlib import Path
from typing import Any, TypeVar

from grpclib.client import Channel
from grpclib.config import Configuration
from grpclib.events import RecvTrailingMetadata, listen
from grpclib.exceptions import GRPCError, ProtocolError, StreamTerminatedError
from grpclib.protocol import H2Protocol
from odproto.error_codes import ERROR_METADATA_KEY

from odctl.client import convert
from odctl.client.errors import TIMEOUT, ConnectionLost, OdctlError, UsageError, exit_of
from odctl.client.protocol import Message, common, wire

DEADLINE_SECONDS = 30.0
KEEPALIVE_SECONDS = 10.0
KEEPALIVE_TIMEOUT_SECONDS = 5.0

T = TypeVar("T")
_error: ContextVar[bytes | None] = ContextVar("od_error", default=None)


class _Channel(Channel):
    """Knows that a connection may be gone as soon as it is made: grpclib fails on what it closed already then."""

    async def __connect__(self) -> H2Protocol:
        protocol = await super().__connect__()
        if not self._connected:
            raise ConnectionResetError
        return protocol


def open_channel(path: Path) -> Channel:
    """Connects with the first call. A frozen daemon is noticed by the keepalive, which grpclib's client leaves off."""
    channel = _Channel(
        path=str(path),
        config=Configuration(
            _keepalive_time=KEEPALIVE_SECONDS,
            _keepalive_timeout=KEEPALIVE_TIMEOUT_SECONDS,
            _keepalive_permit_without_calls=True,
            _http2_max_pings_without_data=0,
            _http2_min_sent_ping_interval_without_data=KEEPALIVE_SECONDS,
        ),
    )
    listen(channel, RecvTrailingMetadata, _remember)
    return channel


async def _remember(event: RecvTrailingMetadata) -> None:
    # runs in the task of the call, so that the call sees what it sets
    value = event.metadata.get(ERROR_METADATA_KEY)
    _error.set(value if isinstance(value, bytes) else None)


class Calls:
    """Calls on a daemon's services. `timeout` replaces every call's own deadline. `tell` is told how long each took."""

    def __init__(
        self, channel: Channel, *, timeout: float | None = None, tell: Callable[[str], None] | None = None
    ) -> None:
        self.control = wire.ControlServiceStub(channel)
        self.admin = wire.AdminServiceStub(channel)
        self.accounts = wire.AccountServiceStub(channel)
        self._timeout = timeout
        self._tell = tell
        self.older = ""
        """What to say when the daemon does not know a call."""

    async def ask(self, stub: Any, name: str, request: Message, seconds: float = DEADLINE_SECONDS) -> Any:
        """The answer to the call `name` on one of the stubs. Raises OdctlError."""
        limit = self._timeout or seconds
        began = time.perf_counter()
        try:
            with failures(name.replace("_", " "), limit):
                return await getattr(stub, name)(request, timeout=limit)
        except OdctlError as error:
            if error.code == "UNIMPLEMENTED":
                error.message = self.older or error.message
            raise
        finally:
            if self._tell is not None:
                self._tell(f"{name.replace('_', ' ')}: {(time.perf_counter() - began) * 1000:.1f} ms")


@contextmanager
def failures(what: str, seconds: float | None) -> Iterator[None]:
    """Turns what grpclib raises in the block into OdctlError. `what` names the call, `seconds` is its deadline."""
    _error.set(None)
    task = asyncio.current_task()
    cancelled = 0 if task is None else task.cancelling()
    try:
        yield
    except UnicodeEncodeError as error:
        # a word of the command line in another encoding than the terminal's
        raise UsageError(f"{error.object[:100]!a} is not valid UTF-8") from error
    except GRPCError as error:
        raise from_status(error, _error.get()) from error
    except TimeoutError as error:
        _uncancel(task, cancelled)
        waited = "" if seconds is None else f" within {seconds:g} s"
        raise OdctlError(
            f"the daemon did not answer ({what}){waited}",
            code="DEADLINE_EXCEEDED",
            exit_code=TIMEOUT,
            hint="allow more time with --timeout, or look: odctl doctor",
        ) from error
    except (StreamTerminatedError, ProtocolError, ConnectionError) as error:
        _uncancel(task, cancelled)
        raise ConnectionLost() from error
    except OSError as error:
        raise ConnectionLost(f"the connection to the daemon failed: {error.strerror or error}") from error


def _uncancel(task: asyncio.Task[Any] | None, to: int) -> None:
    """grpclib wakes a call whose connection is gone, or whose time is up, by cancelling its task, and never takes that
    back: a Ctrl-C hours later would not be known for the only one, and end in a traceback."""
    while task is not None and task is asyncio.current_task() and task.cancelling() > to:
        task.uncancel()


def from_status(error: GRPCError, serialised: bytes | None) -> OdctlError:
    """The daemon's own words if it sent them, else gRPC's."""
    status = error.status.name
    if serialised:
        try:
            told = convert.failure(common.Error.parse(serialised))
        except (ValueError, TypeError, EOFError):
            told = None
        if told is not None and told.message:
            code = status if told.code == convert.UNKNOWN else told.code
            return OdctlError(
                told.message, code=code, exit_code=exit_of(code, status), hint=told.hint, details=told.details
            )
    hint = ""
    if status == "UNIMPLEMENTED":
        hint = "the daemon is older than this odctl: upgrade it      odctl version shows both"
    elif status in ("INTERNAL", "UNKNOWN"):
        hint = "see why: odctl logs -n 20"
    message = error.message or status.lower().replace("_", " ")
    return OdctlError(message, code=status, exit_code=exit_of("", status), hint=hint)


async def guarded(items: AsyncIterator[T], what: str) -> AsyncGenerator[T, None]:
    """The items, with failures as `failures` gives them. Closing it ends the call."""
    try:
        with failures(what, None):
            async for item in items:
                yield item
    finally:
        close = getattr(items, "aclose", None)
        if close is not None:
            with suppress(Exception):
                await close()
