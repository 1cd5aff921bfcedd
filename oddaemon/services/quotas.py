"""What each user may use and does use."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from oddaemon.domain.admission import Allowance, Limits, allowance
from oddaemon.domain.job import JobState
from oddaemon.domain.types import Bytes, UserId
from oddaemon.domain.user import Principal, Scope, User, UserLimits, require
from oddaemon.ports.clock import Clock
from oddaemon.ports.store import Store, Transaction
from oddaemon.services.account_base import target
from oddaemon.services.served import day_of, next_day
from oddaemon.services.stored import own_limits, stored_by
from oddaemon.services.views import UsageView


@dataclass(slots=True)
class Quotas:
    store: Store
    clock: Clock
    limits: Callable[[], Limits]
    requests: Callable[[UserId], int] = lambda _: 0
    """How many a user made in the last minute."""
    own: dict[UserId, UserLimits] = field(default_factory=dict)
    """Of the users that have limits of their own: a copy of the store's, for what cannot wait for it."""

    async def usage(self, who: Principal, name: str | None = None) -> UsageView:
        """Of the caller, or of the user of a name or id. Raises NotFound, also for what is a stranger's."""
        require(who, Scope.READ)
        now, limits = self.clock.now(), self.limits()

        def work(tx: Transaction) -> UsageView:
            user = target(tx, who, name)
            counts = tx.jobs.count_by_state(user.id)
            may = allowance(limits, user.limits)
            return UsageView(
                username=user.username, allowance=may, running=counts[JobState.ACTIVE],
                jobs=tx.jobs.count_unfinished(user.id),
                stored=stored_by(tx, user.id, may.storage, split=limits.storage_split).used,
                served_today=tx.served.on(day_of(now)).get(user.id, Bytes(0)), day_ends_at=next_day(now),
                requests=self.requests(user.id),
            )  # fmt: skip

        return await self.store.read(work)

    async def load(self) -> None:
        self.own = dict(await self.store.read(own_limits))

    def note(self, user: User) -> None:
        """The user's own limits were changed."""
        self.own[user.id] = user.limits

    def of(self, user: UserId) -> Allowance:
        return allowance(self.limits(), self.own.get(user))
