"""Event delivery inside one process: one bounded queue per subscription, order kept, nobody waits for anybody."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import AsyncIterator, Collection, Sequence

from oddaemon.domain.events import Event
from oddaemon.ports.event_bus import EventBus, Gap, Overflow, Subscriber, Subscription

log = logging.getLogger(__name__)


class InProcessEventBus(EventBus):
    """Used from one event loop."""

    def __init__(self) -> None:
        self._open: set[_Queue] = set()

    def publish(self, events: Sequence[Event]) -> None:
        for queue in tuple(self._open):
            for event in events:
                queue.put(event)

    def listening(self, type: str) -> bool:
        return any(queue.wants(type) for queue in self._open)

    def subscribe(
        self, types: Collection[str] = (), *, capacity: int = 1000, overflow: Overflow = Overflow.GAP
    ) -> Subscription:
        if capacity < 1:
            raise ValueError("a subscription holds at least one event")
        queue = _Queue(self._open, frozenset(types), capacity, overflow)
        self._open.add(queue)
        return queue

    async def run_subscriber(self, subscriber: Subscriber) -> None:
        async with self.subscribe(subscriber.event_types, overflow=Overflow.GAP) as subscription:
            async for event in subscription:
                if isinstance(event, Gap):
                    log.warning(
                        "subscriber too slow",
                        extra={"action": "subscriber_gap", "subscriber": subscriber.name, "dropped": event.dropped},
                    )
                    continue
                try:
                    await subscriber.handle(event)
                except Exception:
                    log.exception(
                        "subscriber failed",
                        extra={"action": "subscriber_failed", "subscriber": subscriber.name, "event_type": event.type},
                    )


class _Queue(Subscription):
    """A type ending in `.*` stands for all that begin so."""

    def __init__(self, siblings: set[_Queue], types: frozenset[str], capacity: int, overflow: Overflow) -> None:
        self._siblings = siblings
        self._exact = frozenset(name for name in types if not name.endswith("*"))
        self._prefixes = tuple(name[:-1] for name in types if name.endswith("*"))
        self._all = not types
        self._capacity = capacity
        self._overflow = overflow
        self._waiting: deque[Event] = deque()
        self._dropped = 0
        self._news = asyncio.Event()
        self._closed = False

    def wants(self, type: str) -> bool:
        return self._all or type in self._exact or type.startswith(self._prefixes)

    def put(self, event: Event) -> None:
        if not self.wants(event.type):
            return
        if len(self._waiting) >= self._capacity:
            if self._overflow is Overflow.DROP_OLDEST:
                self._waiting.popleft()
            else:
                self._dropped += len(self._waiting)
                self._waiting.clear()
        self._waiting.append(event)
        self._news.set()

    def __aiter__(self) -> AsyncIterator[Event | Gap]:
        return self._read()

    async def _read(self) -> AsyncIterator[Event | Gap]:
        while True:
            if self._dropped:
                dropped, self._dropped = self._dropped, 0
                yield Gap(dropped)
            elif self._waiting:
                yield self._waiting.popleft()
            elif self._closed:
                return
            else:
                self._news.clear()
                await self._news.wait()

    def close(self) -> None:
        """What is queued can still be read; nothing more comes."""
        self._closed = True
        self._siblings.discard(self)
        self._news.set()

    async def __aenter__(self) -> Subscription:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        self.close()
