"""How much the links of each user may still give today, as one file process knows it.

The daemon counts for all processes, but hears of bytes only now and then. So it says up to which of this process's
reports it has counted, and what was given since is taken off here: one process never gives more than was left. Several
may each give what was left at the last count."""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from oddaemon.domain.types import UserId

DAY_SECONDS = 86_400.0
_MOST_REPORTS = 600
"""So many are kept while the daemon does not say what it has counted."""


@dataclass(slots=True)
class Allowances:
    """Used from one event loop."""

    _until: float = 0.0
    _users: Mapping[UserId, tuple[int | None, int] | None] = field(default_factory=dict)
    _others: int | None = None
    _left: dict[UserId, int] = field(default_factory=dict)
    """Of those with a limit that were asked for."""
    _given: Counter[UserId] = field(default_factory=Counter)
    """Since the last report."""
    _reports: deque[tuple[int, Counter[UserId]]] = field(default_factory=lambda: deque(maxlen=_MOST_REPORTS))
    _number: int = 0

    def tell(self, told: Mapping[str, Any], as_of: int) -> None:
        """What the daemon says, having counted the reports up to this one; see `pipe.day_to_json`."""
        while self._reports and self._reports[0][0] <= as_of:
            self._reports.popleft()
        self._until, self._others = float(told["until"]), told["others"]
        self._users = {UserId(UUID(user)): one and (one[0], one[1]) for user, one in told["users"].items()}
        self._left = {}

    def left(self, user: UserId) -> int | None:
        """None: there is no limit. 0 or less: nothing."""
        if not self._users and self._others is None:
            return None
        if time.time() >= self._until:
            self._begin_day()
        found = self._left.get(user)
        if found is None:
            one = self._users.get(user, (self._others, 0))
            if one is None or one[0] is None:
                return None
            found = one[0] - self._given[user] - sum(given[user] for _, given in self._reports)
            self._left[user] = found
        return found

    def wait(self, user: UserId) -> float:
        """Seconds until the links of this user may give something again. 0: they may now."""
        left = self.left(user)
        return 0.0 if left is None or left > 0 else max(self._until - time.time(), 0.001)

    def gave(self, user: UserId, count: int) -> None:
        self._given[user] += count
        if user in self._left:
            self._left[user] -= count

    def report(self) -> int:
        """The number of the report that is made now, of all that was given since the last one."""
        self._number += 1
        self._reports.append((self._number, self._given))
        self._given = Counter()
        return self._number

    def _begin_day(self) -> None:
        """The daemon will say so too, when it counts again."""
        days = (time.time() - self._until) // DAY_SECONDS + 1
        self._until += days * DAY_SECONDS
        self._users = {user: one and (one[1], one[1]) for user, one in self._users.items()}
        self._left = {}
        self._given.clear()
        self._reports.clear()
