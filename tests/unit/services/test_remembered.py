"""What was read is kept for as long as it stands there unchanged, and never longer."""

from __future__ import annotations

from typing import Any, cast

from oddaemon.domain.types import Seconds
from oddaemon.ports.store import Store, Transaction
from oddaemon.services.remembered import KEPT_FOR, MOST, Remembered
from oddaemon.testing.fakes import ManualClock


class Counting:
    """A store that answers how often it was read, and may change while it is."""

    reads = 0
    rev = 0
    changes_meanwhile = False

    async def read(self, work: Any) -> int:
        self.reads += 1
        answer = self.reads
        self.rev += self.changes_meanwhile
        return answer


def built() -> tuple[Counting, ManualClock, Remembered]:
    store, clock = Counting(), ManualClock()
    return store, clock, Remembered(cast("Store", store), clock, lambda: store.rev)


def work(tx: Transaction) -> int:
    raise AssertionError("the store is none")


async def test_it_reads_once_for_each_name_until_something_changes() -> None:
    store, clock, kept = built()
    assert [await kept.look(name, work) for name in ("a", "a", "b", "a")] == [1, 1, 2, 1]
    store.rev += 1
    assert await kept.look("a", work) == 3
    await clock.advance(Seconds(KEPT_FOR / 2))
    assert await kept.look("a", work) == 3
    await clock.advance(KEPT_FOR)
    assert await kept.look("a", work) == 4


async def test_a_change_during_the_read_counts_as_one_after_it() -> None:
    store, _, kept = built()
    store.changes_meanwhile = True
    assert await kept.look("a", work) == 1
    assert await kept.look("a", work) == 2


async def test_it_does_not_grow_without_bound() -> None:
    _, _, kept = built()
    for name in range(MOST + 10):
        await kept.look(name, work)
    assert len(kept._found) <= MOST
