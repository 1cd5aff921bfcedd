"""What the links of users give in a day, held against what they may give.

A day begins at 00:00 UTC, for everybody: it can be said when it will go on, and one number for each user and day is all
that has to outlive a restart. A day that slides would need the bytes of every hour, and nobody could say when they end.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from oddaemon.domain.day_left import Allotment, Counted, DayLeft
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
    everybody: Callable[[], Bytes]
    """What the links of a user without limits of their own may. 0: there is no limit."""
    own: Callable[[], Collection[UserId]]
    """The users with limits of their own."""
    counted: Callable[[], Counted] = dict
    """What the file servers have given and is stored: see `allot`."""
    allot: Callable[[DayLeft, Counted], None] = lambda *_: None
    """Tells the file servers what they may still give, and as of when: what `counted` said before it was looked up."""
    _told: DayLeft | None = None
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
        """Tells the file servers what each user's links may still give, when that has changed."""
        now, counted = self.clock.now(), self.counted()
        everybody, own = self.everybody(), self.own()
        served: Mapping[UserId, Bytes] = {}
        if everybody or any(map(self.most, own)):
            served = await self.store.read(lambda tx: tx.served.on(day_of(now)))
        users = {user: self._of(user, served.get(user, Bytes(0))) for user in {*served, *own}}
        day = DayLeft(until=next_day(now), users=users, others=everybody or None)
        if day != self._told and (self._told is not None or everybody or any(users.values())):
            self._told = day
            self.allot(day, counted)

    def _of(self, user: UserId, served: Bytes) -> Allotment | None:
        most = self.most(user)
        return Allotment(left=Bytes(most - served), day=most) if most else None

    async def trim(self) -> int:
        before = day_of(self.clock.now()) - KEPT_DAYS
        return await self.store.write(lambda tx: tx.served.trim(before))
