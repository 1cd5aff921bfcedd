"""What was read of the store, kept for as long as it stands there unchanged."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from typing import Any, TypeVar, cast

from oddaemon.domain.types import Seconds
from oddaemon.ports.clock import Clock
from oddaemon.ports.store import Store, Transaction

T = TypeVar("T")

KEPT_FOR = Seconds(1)
"""A database that another daemon has taken over meanwhile is looked into again after so long."""
MOST = 10_000


@dataclass(slots=True)
class Remembered:
    """`rev` grows with every change of what is looked at: one of the store's."""

    store: Store
    clock: Clock
    rev: Callable[[], int]
    _found: dict[Hashable, tuple[int, Seconds, Any]] = field(default_factory=dict, repr=False)

    async def look(self, name: Hashable, work: Callable[[Transaction], T]) -> T:
        """What `work` reads, which depends on nothing but `name`. Raises what a read raises."""
        # taken before the read: what is changed during it counts as changed afterwards
        rev, now = self.rev(), self.clock.monotonic()
        kept = self._found.get(name)
        if kept is not None and kept[0] == rev and now - kept[1] < KEPT_FOR:
            return cast("T", kept[2])
        value = await self.store.read(work)
        if len(self._found) >= MOST:
            self._found.clear()
        self._found[name] = rev, now, value
        return value
