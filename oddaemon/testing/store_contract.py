"""StoreContract: every clause of `ports.store` as a test.

class TestMyStore(StoreContract):
    @pytest.fixture
    def open_store(self, tmp_path):
        return lambda publish: my_store(tmp_path / "store", publish=publish)
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import TypeAlias

import pytest

from oddaemon.domain.errors import OpenDebridError, StoreError
from oddaemon.domain.events import Event, JobCreated, JobProgress
from oddaemon.domain.types import JobNumber
from oddaemon.ports.store import Store, Transaction
from oddaemon.testing.store_account_clauses import AccountClauses
from oddaemon.testing.store_content_clauses import ContentClauses
from oddaemon.testing.store_filter_clauses import FilterClauses
from oddaemon.testing.store_job_clauses import JobClauses
from oddaemon.testing.store_row_clauses import RowClauses
from oddaemon.testing.store_samples import (
    LATER,
    NOW,
    a_job,
    a_key,
    a_link,
    a_replica,
    a_session,
    a_user,
    an_entry,
    an_invitation,
)

OpenStore: TypeAlias = Callable[[Callable[[Sequence[Event]], None]], Awaitable[Store]]
DEADLINE = 60.0
"""Seconds for anything that has to happen."""


def bump(tx: Transaction) -> int:
    """Reads, then writes what it read: two that overlap would lose one."""
    count = int(tx.settings.all().get("count", 0)) + 1
    tx.settings.put("count", count, NOW)
    return count


def count_of(tx: Transaction) -> int:
    return int(tx.settings.all().get("count", 0))


class Gate:
    """Holds a work in the middle, in whatever thread it runs."""

    def __init__(self) -> None:
        self._reached = threading.Event()
        self._open = threading.Event()

    def wait(self) -> bool:
        """False, when it was opened."""
        self._reached.set()
        if not self._open.wait(DEADLINE):
            raise TimeoutError("nobody opened the gate")
        return False

    def open(self) -> None:
        self._open.set()

    async def reached(self) -> None:
        assert await asyncio.to_thread(self._reached.wait, DEADLINE)


class StoreContract(JobClauses, FilterClauses, ContentClauses, AccountClauses, RowClauses):
    """Subclass it and define the fixture `open_store`: opens the store of this test, again after it was closed."""

    @pytest.fixture
    def published(self) -> list[Event]:
        """What the store published, in order."""
        return []

    @pytest.fixture
    async def store(self, open_store: OpenStore, published: list[Event]) -> AsyncIterator[Store]:
        store = await open_store(published.extend)
        yield store
        await store.close()

    async def test_a_work_answers_when_it_is_stored(self, store: Store, open_store: OpenStore) -> None:
        assert await store.write(bump) == 1
        assert await store.read(count_of) == 1
        await store.close()
        again = await open_store(lambda _: None)
        try:
            assert await again.read(count_of) == 1
        finally:
            await again.close()

    async def test_a_work_sees_what_it_wrote(self, store: Store) -> None:
        assert await store.write(lambda tx: [bump(tx), bump(tx), count_of(tx)]) == [1, 2, 2]

    async def test_a_work_that_raises_leaves_nothing(self, store: Store, published: list[Event]) -> None:
        class Stop(Exception):
            pass

        def work(tx: Transaction) -> None:
            bump(tx)
            tx.events.add(JobCreated(at=NOW))
            tx.jobs.take_number()
            raise Stop

        with pytest.raises(Stop):
            await store.write(work)
        assert await store.read(lambda tx: (count_of(tx), tx.events.newest_seq())) == (0, 0)
        assert published == []
        assert await store.write(lambda tx: tx.jobs.take_number()) == 1

    async def test_works_that_arrive_together_fail_alone(self, store: Store, published: list[Event]) -> None:
        """Every third raises, after it wrote: the others stay, with numbers and events that leave no gap."""

        def work(tx: Transaction, index: int) -> tuple[int, JobNumber]:
            event = tx.events.add(JobCreated(at=NOW, data={"index": index}))
            taken = (event.seq, tx.jobs.take_number())
            tx.settings.put(f"s{index}", index, NOW)
            if index % 3 == 0:
                raise OpenDebridError(str(index))
            return taken

        gate = Gate()
        blocker = asyncio.ensure_future(store.write(lambda _: gate.wait()))
        await gate.reached()
        calls = [asyncio.ensure_future(store.write(partial(work, index=index))) for index in range(60)]
        await asyncio.sleep(0)
        gate.open()
        await blocker
        outcomes = await asyncio.gather(*calls, return_exceptions=True)
        failed = [index for index, outcome in enumerate(outcomes) if isinstance(outcome, OpenDebridError)]
        assert failed == list(range(0, 60, 3))
        good = [outcome for outcome in outcomes if isinstance(outcome, tuple)]
        assert sorted(good) == [(number, number) for number in range(1, 41)]
        assert await store.read(lambda tx: len(tx.settings.all())) == 40
        assert [event.seq for event in published] == list(range(1, 41))

    async def test_no_update_is_lost(self, store: Store) -> None:
        counts = await asyncio.gather(*(store.write(bump) for _ in range(100)))
        assert sorted(counts) == list(range(1, 101))
        assert await store.read(count_of) == 100

    async def test_a_number_is_never_given_twice(self, store: Store, open_store: OpenStore) -> None:
        user = a_user()
        await store.write(lambda tx: tx.users.insert(user))
        taken = await asyncio.gather(*(store.write(lambda tx: tx.jobs.take_number()) for _ in range(30)))
        job = await store.write(lambda tx: tx.jobs.insert(a_job(tx, user)))
        assert [*sorted(taken), job.number] == list(range(1, 32))
        await store.write(lambda tx: tx.jobs.delete(job.id))
        await store.close()
        again = await open_store(lambda _: None)
        try:
            assert await again.write(lambda tx: tx.jobs.take_number()) == 32
        finally:
            await again.close()

    async def test_events_are_published_in_commit_order(self, store: Store, published: list[Event]) -> None:
        def work(tx: Transaction) -> list[Event]:
            return [tx.events.add(JobCreated(at=NOW)), tx.events.add(JobProgress(at=NOW))]

        first = await store.write(work)
        assert published == first
        assert [event.seq for event in first] == [1, 0]
        await asyncio.gather(*(store.write(work) for _ in range(50)))
        stored = await store.read(lambda tx: tx.events.after(0, limit=100))
        assert [event for event in published if event.durable] == stored
        assert [event.seq for event in stored] == list(range(1, 52))
        assert len(published) == 102

    async def test_a_publisher_that_fails_costs_no_commit(self, open_store: OpenStore) -> None:
        def publish(_events: Sequence[Event]) -> None:
            raise ValueError("no bus")

        store = await open_store(publish)
        try:
            event = await store.write(lambda tx: tx.events.add(JobCreated(at=NOW)))
            assert await store.read(lambda tx: tx.events.after(0, limit=9)) == [event]
        finally:
            await store.close()

    async def test_a_callers_leaving_does_not_stop_a_work(self, store: Store) -> None:
        gate = Gate()
        caller = asyncio.ensure_future(store.write(lambda tx: gate.wait() or bump(tx)))
        await gate.reached()
        caller.cancel()
        with pytest.raises(asyncio.CancelledError):
            await caller
        gate.open()
        assert await store.write(bump) == 2

    async def test_reads_do_not_wait_for_writers(self, store: Store) -> None:
        gate = Gate()
        writer = asyncio.ensure_future(store.write(lambda tx: bump(tx) and gate.wait()))
        await gate.reached()
        try:
            async with asyncio.timeout(DEADLINE / 2):
                assert await store.read(count_of) == 0
        finally:
            gate.open()
        await writer
        assert await store.read(count_of) == 1

    async def test_a_read_sees_one_moment(self, store: Store) -> None:
        gate = Gate()
        await store.write(bump)

        def work(tx: Transaction) -> tuple[int, int]:
            before = count_of(tx)
            gate.wait()
            return before, count_of(tx)

        reader = asyncio.ensure_future(store.read(work))
        await gate.reached()
        assert await store.write(bump) == 2
        gate.open()
        assert await reader == (1, 1)
        assert await store.read(count_of) == 2

    async def test_a_read_cannot_write(self, store: Store) -> None:
        user = a_user()
        entry = an_entry()
        await store.write(lambda tx: tx.users.insert(user))
        await store.write(lambda tx: tx.cache.insert_entry(entry))
        job = await store.write(lambda tx: tx.jobs.insert(a_job(tx, user)))
        replica = a_replica(entry)
        attempts: list[Callable[[Transaction], object]] = [
            lambda tx: tx.jobs.take_number(),
            lambda tx: tx.jobs.insert(job),
            lambda tx: tx.jobs.update(job),
            lambda tx: tx.jobs.delete(job.id),
            lambda tx: tx.cache.insert_entry(an_entry()),
            lambda tx: tx.cache.insert_replica(replica),
            lambda tx: tx.cache.touch(entry.id, NOW, hit=True),
            lambda tx: tx.materials.drop_of_job(job.id),
            lambda tx: tx.users.insert(a_user()),
            lambda tx: tx.users.note_seen({user.id: NOW}),
            lambda tx: tx.users.delete(user.id),
            lambda tx: tx.api_keys.insert(a_key(user)),
            lambda tx: tx.api_keys.delete_of(None),
            lambda tx: tx.sessions.insert(a_session(user)),
            lambda tx: tx.sessions.trim(NOW),
            lambda tx: tx.invitations.insert(an_invitation(user)),
            lambda tx: tx.invitations.delete_of(user.id),
            lambda tx: tx.links.insert(a_link(job)),
            lambda tx: tx.links.trim(LATER),
            lambda tx: tx.settings.put("a", 1, NOW),
            lambda tx: tx.secrets.get_or_create("a", lambda: b"a"),
            lambda tx: tx.secrets.put("a", b"a"),
            lambda tx: tx.events.add(JobCreated(at=NOW)),
            lambda tx: tx.events.trim(NOW),
        ]
        for attempt in attempts:
            with pytest.raises(StoreError):
                await store.read(attempt)
        assert await store.read(lambda tx: tx.jobs.get(job.id)) == job

    async def test_close_finishes_what_is_queued(self, store: Store, open_store: OpenStore) -> None:
        calls = [asyncio.ensure_future(store.write(bump)) for _ in range(20)]
        await asyncio.sleep(0)
        await asyncio.gather(store.close(), store.close())
        assert sorted(await asyncio.gather(*calls)) == list(range(1, 21))
        for refused in (store.write(bump), store.read(count_of)):
            with pytest.raises(StoreError):
                await refused
        again = await open_store(lambda _: None)
        try:
            assert await again.read(count_of) == 20
        finally:
            await again.close()

    async def test_keeping_it_is_in_nobodys_way(self, store: Store) -> None:
        keeping = asyncio.ensure_future(store.keep())
        try:
            assert await store.write(bump) == 1
            assert await store.read(count_of) == 1
            assert not keeping.done() or keeping.exception() is None
        finally:
            keeping.cancel()
            await asyncio.gather(keeping, return_exceptions=True)

    async def test_time_without_a_zone_is_refused(self, store: Store) -> None:
        with pytest.raises(StoreError):
            await store.write(lambda tx: tx.settings.put("a", 1, NOW.replace(tzinfo=None)))
        assert await store.write(bump) == 1

    async def test_changes_of_access_and_of_content_are_counted_when_they_are_committed(self, store: Store) -> None:
        user, entry = a_user(), an_entry()

        async def grown(work: Callable[[Transaction], object]) -> tuple[bool, bool]:
            access, content = store.access_rev, store.content_rev
            with suppress(ZeroDivisionError):
                await store.write(work)
            return store.access_rev > access, store.content_rev > content

        def undone(tx: Transaction) -> None:
            tx.users.insert(a_user("bob"))
            raise ZeroDivisionError

        assert await grown(lambda tx: tx.users.insert(user)) == (True, False)
        assert await grown(lambda tx: tx.api_keys.insert(a_key(user))) == (True, False)
        assert await grown(lambda tx: tx.cache.insert_entry(entry)) == (False, True)
        assert await grown(lambda tx: tx.cache.insert_replica(a_replica(entry))) == (False, True)
        assert await grown(lambda tx: tx.cache.touch(entry.id, LATER, hit=True)) == (False, False)
        assert await grown(lambda tx: tx.jobs.insert(a_job(tx, user))) == (False, False)
        assert await grown(undone) == (False, False)
        assert await grown(lambda tx: tx.api_keys.delete_of(user.id)) == (True, False)

    async def test_nobody_sees_what_a_work_took_back(self, store: Store) -> None:
        """Alone, and among others that are stored with it."""
        user, entry = a_user(), an_entry()

        def made(tx: Transaction) -> None:
            tx.users.insert(user)
            tx.cache.insert_entry(entry)

        await store.write(made)

        def undone(tx: Transaction) -> None:
            assert tx.users.get(user.id) == user
            tx.users.update(replace(user, email="else@example.org"))
            tx.cache.insert_replica(a_replica(entry))
            tx.cache.touch(entry.id, LATER, hit=True)
            tx.events.add(JobCreated(at=NOW))
            assert tx.users.get(user.id) != user
            assert tx.cache.replicas_of(entry.id)
            assert tx.events.after(0, limit=10)
            raise ZeroDivisionError

        def stored(tx: Transaction) -> int:
            assert tx.users.get(user.id) == user
            assert tx.cache.replicas_of(entry.id) == []
            tx.events.add(JobCreated(at=NOW))
            return bump(tx)

        batches: list[list[Callable[[Transaction], int | None]]] = [
            [undone], [stored, undone, stored], [undone, stored]
        ]  # fmt: skip
        for works in batches:
            before = await store.read(count_of)
            found = await asyncio.gather(*(store.write(work) for work in works), return_exceptions=True)
            assert [isinstance(one, ZeroDivisionError) for one in found] == [work is undone for work in works]
            assert await store.read(count_of) == before + works.count(stored)
        assert await store.read(lambda tx: tx.users.get(user.id)) == user
        assert await store.write(lambda tx: tx.cache.replicas_of(entry.id)) == []
        events = await store.read(lambda tx: tx.events.after(0, limit=10))
        assert [event.seq for event in events] == [1, 2, 3]
        kept = await store.read(lambda tx: tx.cache.entry(entry.id))
        assert kept is not None
        assert kept.hits == 0
