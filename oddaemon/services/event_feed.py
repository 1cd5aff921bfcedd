"""Events for many readers at once: each is encoded once, whoever reads it, and readers are woken a few times a second.

The newest lie in memory, by place; a reader keeps the place up to which it has read. One that falls behind what is kept
here reads on in the store, where every durable event is.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Collection, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from fnmatch import fnmatchcase

from oddaemon.domain.errors import InvalidArgument
from oddaemon.domain.events import EVENT_TYPES, Event
from oddaemon.domain.types import JobNumber, NodeId, UserId
from oddaemon.domain.user import Principal
from oddaemon.ports.event_bus import EventBus, Gap, Subscription
from oddaemon.ports.store import Store, Transaction

CHUNK = 500
"""Rows of past events read at once."""
KEPT = 5000
"""Events in memory."""
CAPACITY = 10_000
"""Events that wait for this module; it does nothing but take them over."""
TICK = 0.1
"""Seconds between two wakings of the readers: at 50 events a second they would else be woken 50 times."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """An event as readers get it."""

    seq: int
    type: str
    user_id: UserId | None
    data: bytes
    at: datetime
    job: JobNumber | None
    node: NodeId | None
    user: str


def matching_types(patterns: Sequence[str]) -> frozenset[str]:
    """Event types by name or glob (`job.*`); none given: all that are rows. Raises InvalidArgument for one that names
    none."""
    if not patterns:
        return frozenset(name for name, kind in EVENT_TYPES.items() if kind.durable)
    found: set[str] = set()
    for pattern in patterns:
        names = {name for name in EVENT_TYPES if fnmatchcase(name, pattern)}
        if not names:
            raise InvalidArgument(
                f"there is no event {pattern[:80]!r}", field="types", hint=f"events: {', '.join(EVENT_TYPES)}"
            )
        found |= names
    return frozenset(found)


@dataclass(slots=True)
class EventFeed:
    """`types`: of the events that it is for. It listens for as long as somebody reads."""

    store: Store
    bus: EventBus
    types: frozenset[str]
    encode: Callable[[Event, str], bytes]
    """An event and the name of its user → what readers get."""
    _kept: list[Told] = field(default_factory=list)
    _first: int = 0
    """The place of the first that is kept."""
    _readers: int = 0
    _taking: asyncio.Task[None] | None = None
    _bell: asyncio.Event = field(default_factory=asyncio.Event)
    _rings: asyncio.TimerHandle | None = None
    _names: dict[UserId, str] = field(default_factory=dict)

    @contextlib.asynccontextmanager
    async def reading(self) -> AsyncIterator[int]:
        """From the given place on nothing is missed inside of this."""
        self._readers += 1
        if self._taking is None:
            subscription = self.bus.subscribe(self.types, capacity=CAPACITY)
            self._taking = asyncio.create_task(self._take(subscription), name="event feed")
        try:
            yield self.end
        finally:
            self._readers -= 1
            if not self._readers and self._taking is not None:
                taking, self._taking = self._taking, None
                taking.cancel()
                await asyncio.wait({taking})

    @property
    def end(self) -> int:
        """The place of the next event."""
        return self._first + len(self._kept)

    def since(self, place: int) -> Sequence[Told] | None:
        """The events from this place on; None: it is no longer kept here."""
        return self._kept[place - self._first :] if place >= self._first else None

    @property
    def bell(self) -> asyncio.Event:
        """Set at the next waking of the readers. Taken before `since`, so that no event is waited for that is there."""
        return self._bell

    async def past(
        self, who: Principal, after: int, types: Collection[str]
    ) -> AsyncIterator[Sequence[Told]]:
        """Rows after this sequence number that the caller may see, in parts."""
        user_id = None if who.is_admin else who.user_id

        def read(tx: Transaction) -> Sequence[Event]:
            return tx.events.after(after, limit=CHUNK, types=types, user_id=user_id)

        while True:
            found = await self.store.read(read)
            yield [await self._told(event) for event in found]
            if len(found) < CHUNK:
                return
            after = found[-1].seq

    async def kept(self) -> tuple[int, int]:
        """The oldest and the newest sequence number; the oldest is one past the newest when no row is kept."""
        oldest, newest = await self.store.read(lambda tx: (tx.events.oldest_seq(), tx.events.newest_seq()))
        return oldest or newest + 1, newest

    async def _take(self, subscription: Subscription) -> None:
        async with subscription:
            async for item in subscription:
                if isinstance(item, Gap):
                    # whoever has not read them reads them in the store
                    self._first, self._kept = self.end + 1, []
                else:
                    self._kept.append(await self._told(item))
                    if len(self._kept) > 2 * KEPT:
                        self._first += KEPT
                        del self._kept[:KEPT]
                if self._rings is None:
                    self._rings = asyncio.get_running_loop().call_later(TICK, self._ring)

    def _ring(self) -> None:
        self._rings = None
        bell, self._bell = self._bell, asyncio.Event()
        bell.set()

    async def _told(self, event: Event) -> Told:
        name = "" if event.user_id is None else self._names.get(event.user_id)
        if name is None:
            assert event.user_id is not None
            user_id = event.user_id
            user = await self.store.read(lambda tx: tx.users.get(user_id))
            name = self._names[user_id] = "" if user is None else user.username
        return Told(
            seq=event.seq, type=event.type, user_id=event.user_id, data=self.encode(event, name), at=event.at,
            job=event.job_number, node=event.node_id, user=name,
        )  # fmt: skip
