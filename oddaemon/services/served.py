"""What the links of users give in a day, held against what they may give.

A day begins at 00:00 UTC, for everybody: it can be said when it will go on, and one number for each user and day is all
that has to outlive a restart. A day that slides would need the bytes of every hour, and nobody could say when they end.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from oddaemon.domain.types import Bytes, UserId
from oddaemon.ports.clock import Clock
from oddaemon.ports.store import Store

log = logging.getLogger(__name__)

KEPT_DAYS = 31
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def day_of(now: datetime) -> int:
    return (now - _EPOCH) // timedelta(days=1)


def next_day(now: datetime) -> datetime:
    return _EPOCH + timedelta(days=day_of(now) + 1)


@dataclass(slots=True)
class DailyServing:
    store: Store
    clock: Clock
    most: Callable[[UserId], Bytes]
    """What a user's links may give in a day. 0: there is no limit."""
    anybody: Callable[[], bool]
    """Whether anybody has a limit."""
    spend: Callable[[Mapping[UserId, datetime]], None] = lambda _: None
    """Tells the file servers whose links they have to refuse, and until when."""
    _spent: Mapping[UserId, datetime] = field(default_factory=dict)
    _bell: asyncio.Event = field(default_factory=asyncio.Event)

    def ring(self) -> None:
        """Something was counted, or a limit was changed: it is looked at soon. Never waits."""
        self._bell.set()

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            await self._bell.wait()
            self._bell.clear()
            try:
                await self.look()
            except Exception:
                # the next bytes that are counted ring again
                log.exception("cannot hold links to a day's bytes", extra={"action": "served_look_failed"})

    async def look(self) -> None:
        """Tells the file servers when it has changed whose links they have to refuse."""
        now = self.clock.now()
        served: Mapping[UserId, Bytes] = {}
        if self.anybody():
            served = await self.store.read(lambda tx: tx.served.on(day_of(now)))
        until = next_day(now)
        spent = {user: until for user, count in served.items() if 0 < self.most(user) <= count}
        if spent != self._spent:
            self._spent = spent
            self.spend(spent)

    async def trim(self) -> int:
        before = day_of(self.clock.now()) - KEPT_DAYS
        return await self.store.write(lambda tx: tx.served.trim(before))
