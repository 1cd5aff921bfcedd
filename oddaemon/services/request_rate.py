"""How many requests a user makes in a minute, and when there are too many. In memory: a restart forgives."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Collection
from dataclasses import dataclass, field

from oddaemon.domain.errors import TooManyRequests
from oddaemon.domain.types import Seconds, UserId
from oddaemon.domain.user import Principal, Proof
from oddaemon.ports.clock import Clock

WINDOW = 60_000
"""Milliseconds: whole ones, so that who waits as long as was said is let through."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestRate:
    """Where a user stands after a request that was let through."""

    limit: int
    remaining: int
    reset: Seconds
    """In so long the oldest request that counts will count no more."""


@dataclass(slots=True)
class RequestLimiter:
    """Never more than the limit in any 60 seconds, whenever they begin. A request that is refused does not count."""

    clock: Clock
    most: Callable[[UserId], int]
    """How many a user may make in a minute. 0: there is no limit."""
    operators: Collection[int] = ()
    """The uids that act as the operator on the control socket."""
    _taken: dict[UserId, deque[int]] = field(default_factory=dict)
    """The times of each user's requests of the last minute."""

    def admit(self, who: Principal) -> RequestRate | None:
        """Counts a request of this caller; every face asks before it answers one. None: there is no limit, as for the
        operator on the control socket, by whom an installation is set right again. Raises TooManyRequests."""
        if who.proof is Proof.LOCAL or (who.proof is Proof.PEER_UID and who.uid in self.operators):
            return None
        user, limit = who.user_id, self.most(who.user_id)
        if not limit:
            self._taken.pop(user, None)
            return None
        now = self._now()
        taken = self._taken.setdefault(user, deque())
        while taken and now - taken[0] >= WINDOW:
            taken.popleft()
        if len(taken) >= limit:
            # the limit may have been lowered: the one that has to go first is not always the oldest
            raise TooManyRequests(
                f"{limit} requests a minute are allowed, and that is the limit", limit=limit,
                retry_after=math.ceil((taken[-limit] + WINDOW - now) / 1000),
            )  # fmt: skip
        taken.append(now)
        return RequestRate(limit=limit, remaining=limit - len(taken), reset=Seconds((taken[0] + WINDOW - now) / 1000))

    def count(self, user: UserId) -> int:
        """Of the last minute; only of users with a limit."""
        now = self._now()
        return sum(1 for at in self._taken.get(user, ()) if now - at < WINDOW)

    def _now(self) -> int:
        return round(self.clock.monotonic() * 1000)
