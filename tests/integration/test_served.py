"""Bytes that a user's links give in a day, over the real store, with a clock of our own."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from oddaemon.domain.day_left import Allotment, DayLeft
from oddaemon.domain.types import Bytes, JobId, LinkId, UserId
from oddaemon.domain.user import User
from oddaemon.ports.store import Store, Transaction
from oddaemon.services.file_servers import FileServers
from oddaemon.services.link_serving import LinkServing
from oddaemon.services.served import DailyServing, day_of, next_day
from oddaemon.store.migrate import open_store
from oddaemon.testing.fakes import ManualClock
from oddaemon.testing.store_samples import a_job, a_link, a_user, an_entry

EVENING = datetime(2026, 3, 1, 23, 59, 50, tzinfo=UTC)
MIDNIGHT = datetime(2026, 3, 2, tzinfo=UTC)


@contextlib.asynccontextmanager
async def opened(folder: Path) -> AsyncIterator[Store]:
    store = await open_store(folder / "store.db")
    try:
        yield store
    finally:
        await store.close()


@pytest.mark.parametrize("at", [EVENING, MIDNIGHT, datetime(2024, 2, 29, 12, tzinfo=UTC)])
def test_a_day_is_that_of_utc(at: datetime) -> None:
    assert day_of(at) == (at.date() - datetime(1970, 1, 1, tzinfo=UTC).date()).days
    assert next_day(at).date().toordinal() == at.date().toordinal() + 1
    assert next_day(at).time().isoformat() == "00:00:00"


async def test_what_is_counted_holds_until_midnight_also_over_a_restart(tmp_path: Path) -> None:
    clock = ManualClock(EVENING)
    most: dict[UserId, Bytes] = {}
    pushed: list[DayLeft] = []

    async with opened(tmp_path) as store:
        ann, bob = a_user(), a_user()

        def fill(tx: Transaction) -> dict[str, LinkId]:
            entry = an_entry()
            tx.cache.insert_entry(entry)
            made = {}
            for name, user in (("ann", ann), ("bob", bob)):
                tx.users.insert(user)
                job = tx.jobs.insert(a_job(tx, user))
                links = [a_link(job, entry_id=entry.id) for _ in range(2)]
                for place, link in enumerate(links):
                    tx.links.insert(link)
                    made[f"{name}{place}"] = link.id
            return made

        links = await store.write(fill)

        def serving() -> DailyServing:
            return DailyServing(
                store=store, clock=clock, most=lambda user: most.get(user, Bytes(100)), everybody=lambda: Bytes(100),
                own=lambda: most, allot=lambda day, _: pushed.append(day),
            )  # fmt: skip

        links_used, daily = LinkServing(store, clock, FileServers(store, clock)), serving()

        async def give(**counts: int) -> None:
            await links_used.record_usage({links[name]: (1, Bytes(count)) for name, count in counts.items()})
            await daily.look()

        def left(user: User) -> int | None:
            """As it was told last."""
            one = pushed[-1].users.get(user.id, Allotment(left=Bytes(100), day=Bytes(100)))
            return None if one is None else one.left

        await give(ann0=60, ann1=39, bob0=50)
        assert (left(ann), left(bob)) == (1, 50)
        assert (pushed[-1].until, pushed[-1].others) == (MIDNIGHT, 100)
        # whatever link it was by, and also when its job was removed meanwhile
        await store.write(lambda tx: tx.jobs.delete(job_of(tx, links["ann1"])))
        await give(ann1=1, bob1=49)
        assert (left(ann), left(bob)) == (0, 1)
        # told once, and of a link that nobody knows nothing is counted
        count = len(pushed)
        await links_used.record_usage({LinkId(ann.id): (1, Bytes(10**6))})
        await daily.look()
        assert len(pushed) == count
        # own limits hold at once
        most[ann.id] = Bytes(101)
        await daily.look()
        assert left(ann) == 1
        most[bob.id] = Bytes(10)
        await daily.look()
        assert left(bob) == -89
        most[bob.id] = Bytes(0)
        await daily.look()
        assert left(bob) is None
        most.clear()
        # a restart forgets nothing
        daily = serving()
        await daily.look()
        assert (left(ann), left(bob)) == (0, 1)
        # the next day is a new one
        await clock.advance(10)
        await give(ann0=99, bob0=1)
        assert (left(ann), left(bob)) == (1, 99)
        assert pushed[-1].until == datetime(2026, 3, 3, tzinfo=UTC)
        await give(ann0=1)
        assert left(ann) == 0
        # and of a removed user nothing is kept or counted any more
        await store.write(lambda tx: tx.jobs.delete(job_of(tx, links["ann0"])))
        await store.write(lambda tx: tx.users.delete(ann.id))
        await give(ann0=1, bob0=1)
        assert await store.read(lambda tx: tx.served.on(day_of(clock.now()))) == {bob.id: 2}
        await clock.advance(40 * 86_400)
        assert await daily.trim() == 2


def job_of(tx: Transaction, link_id: LinkId) -> JobId:
    link = tx.links.get(link_id)
    assert link is not None
    return link.job_id
