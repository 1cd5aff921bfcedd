"""The clauses of `ports.store` on cache entries, their files and their replicas."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest

from oddaemon.domain.cache import CacheEntry, EntryFile, Replica, ReplicaState
from oddaemon.domain.errors import AlreadyExists, NotFound
from oddaemon.domain.failure import Failure, FailureCode, Reason, ReasonCode
from oddaemon.domain.filter_fields import CACHE
from oddaemon.domain.job import JobState
from oddaemon.domain.query import CACHE_SORT_FIELDS, parse_sort
from oddaemon.domain.types import (
    Bytes,
    EntryId,
    Handle,
    NodeId,
    ReplicaId,
    UserId,
)  # fmt: skip
from oddaemon.domain.user import User
from oddaemon.ports.store import Query, Store, Transaction
from oddaemon.testing.store_samples import (
    LATER,
    NOW,
    ODD_TEXT,
    YTDLP,
    a_job,
    a_replica,
    a_user,
    an_entry,
    filtered,
)


class ContentClauses:
    """Each test gets an empty `store`."""

    async def test_every_field_of_content_comes_back(self, store: Store) -> None:
        entry = an_entry(
            f"aria2:hash:{'a' * 40}:@{UUID(int=7)}", generation=4, engine=YTDLP, current=False,
            owner=UserId(UUID(int=7)), name=ODD_TEXT, total_size=Bytes(2**60),
            files_known=True, complete_at=NOW, last_used_at=LATER, hits=3,
            pinned=True, kept=True,
        )  # fmt: skip
        file = EntryFile(
            index=1, path=f"a/{ODD_TEXT}", disk_path="a/b", size=Bytes(0), content_type="video/x-matroska", ready=True,
            failed="gone", sha256="0" * 64,
        )  # fmt: skip
        replica = a_replica(
            entry, state=ReplicaState.FILLING, handle=Handle(ODD_TEXT), engine_state="seeding", updated_at=LATER,
            reason=Reason(code=ReasonCode.NO_SEEDS, message="none"), attempts=2, next_try_at=LATER, done=Bytes(5),
            error=Failure(code=FailureCode.NETWORK, message="reset"), wanted=Bytes(9), progress_at=NOW, afresh=True,
            placement=ODD_TEXT,
        )  # fmt: skip

        def work(tx: Transaction) -> None:
            tx.cache.insert_entry(entry)
            tx.cache.put_files(entry.id, [file])
            tx.cache.insert_replica(replica)

        await store.write(work)

        def check(tx: Transaction) -> None:
            assert tx.cache.entry(entry.id) == entry
            assert tx.cache.files(entry.id) == [file]
            assert tx.cache.replica(replica.id) == replica
            assert tx.cache.replicas_of(entry.id) == tx.cache.all_replicas() == [replica]
            nobodys = EntryId(uuid4())
            assert tx.cache.replicas_of_all([entry.id, nobodys]) == {entry.id: [replica], nobodys: []}

        await store.read(check)
        other = a_replica(entry, id=replica.id, node_id=NodeId("nas"))
        await store.write(lambda tx: tx.cache.update_replica(other))
        plain = an_entry("aria2:url:2", id=entry.id)
        await store.write(lambda tx: tx.cache.update_entry(plain))
        assert await store.read(lambda tx: tx.cache.replica(replica.id)) == other
        assert await store.read(lambda tx: tx.cache.entries([entry.id, EntryId(uuid4())])) == {entry.id: plain}

    async def test_many_replicas_are_stored_and_read_together(self, store: Store) -> None:
        entry = an_entry("aria2:url:1")
        first, second = a_replica(entry), a_replica(entry, node_id=NodeId("nas"))

        def begin(tx: Transaction) -> None:
            tx.cache.insert_entry(entry)
            tx.cache.insert_replicas([first, second])
            tx.cache.insert_replicas([])
            tx.cache.update_replicas([])

        await store.write(begin)
        changed = [dataclasses.replace(found, done=Bytes(7), handle=Handle("h")) for found in (first, second)]
        await store.write(lambda tx: tx.cache.update_replicas(changed))
        asked = [first.id, second.id, a_replica(entry).id]
        assert await store.read(lambda tx: tx.cache.replicas_with(asked)) == {found.id: found for found in changed}
        # all or none of them
        with pytest.raises(NotFound):
            await store.write(lambda tx: tx.cache.update_replicas([first, a_replica(entry)]))
        assert await store.read(lambda tx: tx.cache.replica(first.id)) == changed[0]

    async def test_a_key_has_one_current_generation(self, store: Store) -> None:
        first = an_entry("aria2:url:k")
        await store.write(lambda tx: tx.cache.insert_entry(first))
        with pytest.raises(AlreadyExists):
            await store.write(lambda tx: tx.cache.insert_entry(an_entry("aria2:url:k", generation=2)))
        second = an_entry("aria2:url:k", generation=2, current=False)
        await store.write(lambda tx: tx.cache.insert_entry(second))
        assert await store.read(lambda tx: tx.cache.current_entry("aria2:url:k")) == first

        def swap(tx: Transaction) -> None:
            tx.cache.update_entry(dataclasses.replace(first, current=False))
            tx.cache.update_entry(dataclasses.replace(second, current=True))

        await store.write(swap)
        assert await store.read(lambda tx: tx.cache.current_entry("aria2:url:k")) == dataclasses.replace(
            second, current=True
        )
        generations = await store.read(lambda tx: tx.cache.generations("aria2:url:k"))
        assert [entry.generation for entry in generations] == [1, 2]
        assert await store.read(lambda tx: tx.cache.current_entry("aria2:url:other")) is None

    async def test_a_refused_insert_leaves_the_work_usable(self, store: Store) -> None:
        def work(tx: Transaction) -> EntryId:
            tx.cache.insert_entry(an_entry("aria2:url:k"))
            with pytest.raises(AlreadyExists):
                tx.cache.insert_entry(an_entry("aria2:url:k", generation=2))
            other = an_entry("aria2:url:l")
            tx.cache.insert_entry(other)
            return other.id

        made = await store.write(work)
        assert await store.read(lambda tx: tx.cache.entry(made)) is not None

    async def test_files_are_put_by_index(self, store: Store) -> None:
        entry, other = an_entry(), an_entry()
        files = [EntryFile(index=number, path=f"{number}", disk_path=f"{number}") for number in (3, 1, 2)]

        def work(tx: Transaction) -> None:
            tx.cache.insert_entry(entry)
            tx.cache.insert_entry(other)
            tx.cache.put_files(entry.id, files)
            tx.cache.put_files(entry.id, [dataclasses.replace(files[0], ready=True)])
            tx.cache.put_files(entry.id, [])

        await store.write(work)
        found = await store.read(lambda tx: tx.cache.files_of([entry.id, other.id]))
        assert found[other.id] == []
        assert [(file.index, file.ready) for file in found[entry.id]] == [(1, False), (2, False), (3, True)]
        await store.write(lambda tx: tx.cache.delete_entry(entry.id))
        assert await store.read(lambda tx: tx.cache.files(entry.id)) == []

    async def test_replicas_by_what_they_are_doing(self, store: Store) -> None:
        def work(tx: Transaction) -> dict[str, Replica]:
            user = a_user()
            tx.users.insert(user)
            made: dict[str, Replica] = {}
            for name, state, claimed in (
                ("filling", ReplicaState.FILLING, None),
                ("ready", ReplicaState.READY, None),
                ("done", ReplicaState.READY, JobState.COMPLETED),
                ("grows", ReplicaState.READY, JobState.QUEUED),
                ("seeds", ReplicaState.READY, JobState.COMPLETED),
                ("will seed", ReplicaState.FILLING, JobState.ACTIVE),
            ):
                entry = an_entry()
                tx.cache.insert_entry(entry)
                made[name] = a_replica(entry, state=state)
                tx.cache.insert_replica(made[name])
                if claimed is not None:
                    options = {"seed-ratio": "2", "x": ODD_TEXT} if "seed" in name else {"x": "seed-ratio"}
                    tx.jobs.insert(a_job(tx, user, entry_id=entry.id, state=claimed, options=options))
            return made

        made = await store.write(work)

        def ids(*names: str) -> set[ReplicaId]:
            return {made[name].id for name in names}

        def found(rows: Collection[Replica]) -> set[ReplicaId]:
            return {row.id for row in rows}

        def check(tx: Transaction) -> None:
            assert found(tx.cache.replicas_in([ReplicaState.READY])) == ids("ready", "done", "grows", "seeds")
            assert found(tx.cache.replicas_in([])) == set()
            assert found(tx.cache.replicas_at_work()) == ids("filling", "grows", "will seed")
            assert found(tx.cache.ready_with({"seed-ratio", "seed-time"})) == ids("seeds")
            assert found(tx.cache.ready_with(())) == set()
            assert found(tx.cache.all_replicas()) == ids(*made)

        await store.read(check)
        await store.write(lambda tx: tx.cache.delete_replica(made["ready"].id))
        assert await store.read(lambda tx: tx.cache.replica(made["ready"].id)) is None
        with pytest.raises(NotFound):
            await store.write(lambda tx: tx.cache.update_replica(made["ready"]))

    async def test_claims_keep_entries(self, store: Store) -> None:
        def work(tx: Transaction) -> dict[str, EntryId]:
            user = a_user()
            tx.users.insert(user)
            made: dict[str, EntryId] = {}
            for number, state in enumerate([*JobState, None]):
                entry = an_entry(last_used_at=NOW - timedelta(days=number))
                tx.cache.insert_entry(entry)
                made[str(state)] = entry.id
                if state is not None:
                    tx.jobs.insert(a_job(tx, user, entry_id=entry.id, state=state))
            return made

        made = await store.write(work)
        found = await store.read(lambda tx: tx.cache.claimless())
        assert [entry.id for entry in found] == [made["None"], made["cancelled"]]
        await store.write(lambda tx: tx.cache.touch(made["None"], LATER, hit=True))
        await store.write(lambda tx: tx.cache.touch(made["None"], LATER, hit=False))
        found = await store.read(lambda tx: tx.cache.claimless())
        assert [entry.id for entry in found] == [made["cancelled"], made["None"]]
        assert (found[1].hits, found[1].last_used_at) == (1, LATER)

    async def test_overviews(self, store: Store) -> None:
        def work(tx: Transaction) -> tuple[User, CacheEntry, CacheEntry]:
            ann, bob = a_user("ann"), a_user("bob")
            shared, mine = an_entry("aria2:url:s", name="Shared", pinned=True), an_entry("aria2:url:m", name="mine")
            for user in (ann, bob):
                tx.users.insert(user)
            for entry in (shared, mine):
                tx.cache.insert_entry(entry)
            tx.cache.insert_replica(a_replica(shared, node_id=NodeId("nas")))
            tx.jobs.insert(a_job(tx, ann, entry_id=shared.id))
            tx.jobs.insert(a_job(tx, bob, entry_id=shared.id))
            tx.jobs.insert(a_job(tx, bob, entry_id=mine.id, state=JobState.COMPLETED))
            tx.jobs.insert(a_job(tx, ann, entry_id=mine.id, state=JobState.CANCELLED))
            return ann, shared, mine

        ann, shared, mine = await store.write(work)

        def found(tx: Transaction, text: str = "", **changes: Any) -> list[tuple[EntryId, list[int], list[str]]]:
            query = filtered(text, CACHE, **changes)
            page = tx.cache.overviews(query)
            assert page.total == len(page.rows)
            return [(row.entry.id, list(row.jobs), list(row.users)) for row in page.rows]

        def check(tx: Transaction) -> None:
            everything = [(mine.id, [3], ["bob"]), (shared.id, [1, 2], ["ann", "bob"])]
            assert found(tx) == everything
            assert found(tx, sort=parse_sort("!key", CACHE_SORT_FIELDS)) == everything[::-1]
            assert found(tx, user_id=ann.id) == [(shared.id, [1], ["ann"])]
            assert found(tx, "user=ann", user_id=ann.id) == [(shared.id, [1], ["ann"])]
            assert found(tx, "user=bob", user_id=ann.id) == []
            for text in ("pinned=true", "node=nas", "user=ann", "key=aria2:url:s", "name=Shared"):
                assert found(tx, text) == everything[1:], text
            assert found(tx, "engine=ytdlp") == found(tx, "hits>0") == found(tx, "big") == []
            others = ["!pinned=yes user~BO", "key!=aria2:url:s"]
            for text in ("MINE", "node=''", "!user=ann", "key~:M", "name~/^m/", *others):
                assert found(tx, text) == everything[:1], text
            others = ["user!=''", "node='',nas", "node~NA | MINE"]
            for text in ("age>=0", "last_used<=0 | last_used>0", "size=''", *others):
                assert found(tx, text) == everything, text
            assert found(tx, "mine", user_id=ann.id) == found(tx, "user!~bob", user_id=ann.id)
            assert found(tx, "user~b | user!=ann | name=mine", user_id=ann.id) == []
            assert [row.entry.id for row in tx.cache.overviews(Query(), key="aria2:url:m").rows] == [mine.id]
            assert [len(row.replicas) for row in tx.cache.overviews(Query()).rows] == [0, 1]

        await store.read(check)
