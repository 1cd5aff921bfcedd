"""Delivery of events after the commit of the change that made them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from oddaemon.domain.events import Event


class Overflow(StrEnum):
    """What happens when a subscriber's queue is full."""

    DROP_OLDEST = "drop_oldest"
    GAP = "gap"
    """Everything queued is dropped and the subscriber is told of a gap."""


@dataclass(frozen=True, slots=True)
class Gap:
    """Events were dropped before this point."""

    dropped: int


class Subscription(Protocol):
    """An async iterator of events in the order of publication. Closing it (or leaving `async with`) unsubscribes."""

    def __aiter__(self) -> AsyncIterator[Event | Gap]: ...

    async def __aenter__(self) -> Subscription: ...

    async def __aexit__(self, *exc_info: object) -> None: ...

    def close(self) -> None: ...


class Subscriber(Protocol):
    """A side effect as a plug-in: which events it wants, and what it does with each. It never writes a job."""

    @property
    def name(self) -> str: ...

    @property
    def event_types(self) -> Collection[str]:
        """Event type names; empty: all."""

    async def handle(self, event: Event) -> None:
        """Called for one event at a time, in order. An exception is logged and the next event follows."""


class EventBus(Protocol):
    def publish(self, events: Sequence[Event]) -> None:
        """Hands events to every subscription, without waiting. Called only after the commit, in commit order."""

    def listening(self, type: str) -> bool:
        """Whether any subscription wants events of this type."""

    def subscribe(
        self, types: Collection[str] = (), *, capacity: int = 1000, overflow: Overflow = Overflow.GAP
    ) -> Subscription:
        """From now on. One bounded queue per subscription; a slow one never delays another or the publisher."""

    async def run_subscriber(self, subscriber: Subscriber) -> None:
        """Feeds a subscriber until cancelled."""
