"""CacheService on a real store and a real disk: what goes, what stays, and that a dry run tells the truth."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from uuid import uuid4

import pytest

from oddaemon.domain.admission import Limits
from oddaemon.domain.cache import CacheEntry, EntryFile, Replica, ReplicaState
from oddaemon.domain.errors import Conflict, InvalidArgument, InvalidFilter, NotAllowed, NotFound, StorageMissing
from oddaemon.domain.job import Job, JobState
from oddaemon.domain.node import DiskUsage, NodeSnapshot
from oddaemon.domain.source import SourceKind
from oddaemon.domain.types import Bytes, EngineName, EntryId, JobId, NodeId, ReplicaId, Seconds, UserId
from oddaemon.domain.user import Principal, Proof, Role, User
from oddaemon.ports.store import Store, Transaction
from oddaemon.services.cache import CacheService
from oddaemon.services.cleanup import Cleanup
from oddaemon.services.node_agent import NodeAgent
from oddaemon.services.views import CleanupResult
from oddaemon.storage.local import LocalStorage
from oddaemon.store.migrate import open_store
from oddaemon.testing.fakes import ManualClock, RecordingBus

NODE = NodeId("local")
DAY = 86400.0


class Agent(NodeAgent):
    """The real agent; the test says how full the disk is, and whether it is there."""

    free = 10**9
    present = True

    async def snapshot(self) -> NodeSnapshot:
        disk = DiskUsage(total=Bytes(10**12), free=Bytes(self.free), present=self.present)
        return NodeSnapshot(id=NODE, name="nas", is_controller=True, online=True, disk=disk, engines=())


class House:
    def __init__(self, store: Store, clock: ManualClock, bus: RecordingBus, base: Path) -> None:
        self.store, self.clock, self.bus = store, clock, bus
        self.storage = LocalStorage(base)
        self.storage.prepare(known=False)
        self.agent = Agent(id=NODE, display_name="nas", engines={}, storage=self.storage)
        self.opened: set[ReplicaId] = set()
        self.woken: list[EntryId | None] = []
        self.admin = Principal(user_id=UserId(uuid4()), username="ann", role=Role.ADMIN, proof=Proof.PEER_UID)
        self.user = Principal(user_id=UserId(uuid4()), username="bob", role=Role.USER, proof=Proof.API_KEY)
        self.cache = CacheService(
            store=store,
            clock=clock,
            nodes=lambda: [self.agent],
            wake=self.woken.append,
            settle=self.settle,
            in_use=lambda: self.opened,
            measure=self.measure,
        )

    async def settle(self, replicas: Sequence[ReplicaId]) -> Mapping[ReplicaId, Bytes]:
        """What the reconciler does with replicas that are marked."""
        freed = {}
        for replica_id in replicas:
            (replica,) = await self.store.read(
                lambda tx: [found for found in tx.cache.all_replicas() if found.id == replica_id]  # noqa: B023
            )
            assert replica.state is ReplicaState.DELETING
            freed[replica_id] = await self.agent.delete(replica.engine, replica_id)

            def work(tx: Transaction, replica: Replica = replica) -> None:
                tx.cache.delete_replica(replica.id)
                if not tx.cache.replicas_of(replica.entry_id):
                    tx.cache.delete_entry(replica.entry_id)

            await self.store.write(work)
        return freed

    async def measure(self, replicas: Sequence[ReplicaId]) -> Mapping[ReplicaId, Bytes]:
        return {replica: self.storage.size_of(replica) for replica in replicas}

    async def users(self) -> None:
        def work(tx: Transaction) -> None:
            for who in (self.admin, self.user):
                at = self.clock.now()
                tx.users.insert(
                    User(id=who.user_id, username=who.username, role=who.role, created_at=at, updated_at=at)
                )

        await self.store.write(work)

    async def entry(
        self,
        key: str,
        *,
        size: int = 1000,
        age: float = 0,
        state: ReplicaState = ReplicaState.READY,
        jobs: Sequence[tuple[Principal, JobState]] = (),
        pinned: bool = False,
        generation: int = 1,
        current: bool = True,
    ) -> ReplicaId:
        at = self.clock.now() - timedelta(seconds=age)
        entry = CacheEntry(
            id=EntryId(uuid4()), key=key, generation=generation, engine=EngineName("aria2"), created_at=at,
            current=current, name=key, total_size=Bytes(size), files_known=True, complete_at=at, last_used_at=at,
            pinned=pinned, kept=True,
        )  # fmt: skip
        replica = Replica(
            id=ReplicaId(uuid4()), entry_id=entry.id, node_id=NODE, engine=entry.engine, created_at=at, updated_at=at,
            state=state, done=Bytes(size),
        )  # fmt: skip
        directory = self.storage.allocate(replica.id)
        (directory / "f.bin").write_bytes(b"x" * size)
        (directory / "f.bin.torrent").write_bytes(b"left over")

        def work(tx: Transaction) -> None:
            tx.cache.insert_entry(entry)
            tx.cache.put_files(
                entry.id, [EntryFile(index=1, path="f.bin", disk_path="f.bin", size=Bytes(size), ready=True)]
            )
            tx.cache.insert_replica(replica)
            for who, job_state in jobs:
                tx.jobs.insert(
                    Job(
                        id=JobId(uuid4()), number=tx.jobs.take_number(), user_id=who.user_id, source=key,
                        kind=SourceKind.URL, created_at=at, updated_at=at, state=job_state, entry_id=entry.id,
                        cache_key=key,
                    )
                )  # fmt: skip

        await self.store.write(work)
        return replica.id

    async def keys(self) -> set[str]:
        page = await self.cache.page(self.admin, filter="", sort="key", offset=0, limit=100)
        return {view.entry.key for view in page.rows}

    async def cleanup(
        self,
        *,
        older: float | None = None,
        until_free: int | None = None,
        dry_run: bool = False,
        verify: bool = False,
        node: str = "",
        named: list[tuple[str, int]] | None = None,
    ) -> CleanupResult:
        return await self.cache.cleanup(
            self.admin,
            older=None if older is None else Seconds(older),
            until_free=None if until_free is None else Bytes(until_free),
            node=node,
            dry_run=dry_run,
            verify=verify,
            named=named,
        )


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    bus = RecordingBus()
    store = await open_store(tmp_path / "od.db", publish=bus.publish)
    try:
        house = House(store, ManualClock(), bus, tmp_path / "downloads")
        await house.users()
        yield house
    finally:
        await store.close()


def names(result: CleanupResult) -> list[str]:
    return [item.view.entry.key for item in result.items]


COMPLETED, CANCELLED, FAILED = JobState.COMPLETED, JobState.CANCELLED, JobState.FAILED


async def test_users_see_what_they_claim_and_admins_all(house: House) -> None:
    await house.entry("aria2:url:a", jobs=[(house.user, COMPLETED), (house.admin, COMPLETED)])
    await house.entry("aria2:url:b", jobs=[(house.admin, COMPLETED)])
    page = await house.cache.page(house.user, filter="", sort="", offset=0, limit=10)
    assert [(view.entry.key, list(view.users), len(view.jobs)) for view in page.rows] == [("aria2:url:a", ["bob"], 1)]
    page = await house.cache.page(house.admin, filter="", sort="key", offset=0, limit=10)
    assert [list(view.users) for view in page.rows] == [["ann", "bob"], ["ann"]]
    with pytest.raises(NotFound):
        await house.cache.page(house.user, filter="", sort="", offset=0, limit=10, key="aria2:url:b")
    with pytest.raises(InvalidFilter):
        await house.cache.page(house.admin, filter="nonsense=1", sort="", offset=0, limit=10)


async def test_one_entry_shows_its_replicas_sizes(house: House) -> None:
    replica = await house.entry("k", size=123)
    (view,) = (await house.cache.page(house.admin, filter="", sort="", offset=0, limit=10, key="k")).rows
    assert (view.replica_sizes, view.files) == ({str(replica): 123}, 1)


async def test_only_what_nobody_claims_and_nobody_pinned_goes(house: House) -> None:
    await house.entry("free", size=500)
    await house.entry("cancelled", jobs=[(house.user, CANCELLED)])
    await house.entry("failed", jobs=[(house.user, FAILED)])
    await house.entry("claimed", jobs=[(house.user, COMPLETED)])
    await house.entry("pinned", pinned=True)
    await house.entry("running", state=ReplicaState.FILLING)
    opened = await house.entry("opened")
    house.opened.add(opened)
    result = await house.cleanup()
    assert sorted(names(result)) == ["cancelled", "free"]
    assert await house.keys() == {"failed", "claimed", "pinned", "running", "opened"}
    assert len(house.storage.replicas()) == 5


async def test_a_run_removes_nothing_that_its_dry_run_did_not_name(house: House) -> None:
    """Also when more fits by the time somebody has said yes."""
    for key in ("one", "other"):
        await house.entry(key, age=3 * DAY)
    assert names(await house.cleanup(older=DAY, named=[])) == []
    dry = await house.cleanup(older=2 * DAY, dry_run=True)
    plan = [(item.view.entry.key, item.view.entry.generation) for item in dry.items]
    assert sorted(key for key, _ in plan) == ["one", "other"]
    await house.entry("came late", age=3 * DAY)
    assert names(await house.cleanup(older=2 * DAY, named=[*plan[:1], ("none", 1), (plan[1][0], 9)])) == [plan[0][0]]
    assert await house.keys() == {plan[1][0], "came late"}


async def test_a_dry_run_tells_what_the_real_run_does_to_the_byte_and_changes_nothing(house: House) -> None:
    for number in range(4):
        await house.entry(f"k{number}", size=1000 * (number + 1), age=number * DAY)
    dry = await house.cleanup(older=DAY, dry_run=True)
    assert not dry.applied
    assert len(await house.keys()) == 4
    assert len(house.storage.replicas()) == 4
    assert not house.bus.events
    real = await house.cleanup(older=DAY)
    assert real.applied
    assert [(i.view.entry.key, i.freed) for i in real.items] == [(i.view.entry.key, i.freed) for i in dry.items]
    assert names(real) == ["k3", "k2", "k1"]
    assert real.freed == dry.freed == 2000 + 3000 + 4000 + 3 * len(b"left over")
    assert house.bus.types == ["cache.evicted"] * 3
    assert await house.keys() == {"k0"}


async def test_until_so_much_is_free_the_least_recently_used_go_first(house: House) -> None:
    for number in range(4):
        await house.entry(f"k{number}", size=991, age=(4 - number) * DAY)
    house.agent.free = 10_000
    assert names(await house.cleanup(until_free=10_000)) == []
    assert names(await house.cleanup(until_free=11_500)) == ["k0", "k1"]
    assert await house.keys() == {"k2", "k3"}


async def test_age_and_room_together(house: House) -> None:
    for number in range(4):
        await house.entry(f"k{number}", size=991, age=(4 - number) * DAY)
    house.agent.free = 10_000
    assert names(await house.cleanup(older=3 * DAY, until_free=99_999)) == ["k0", "k1"]


async def test_nothing_goes_while_the_disk_is_missing(house: House) -> None:
    await house.entry("k")
    house.agent.present = False
    assert names(await house.cleanup()) == []
    assert names(await house.cleanup(verify=True)) == []
    (item,) = (await house.cache.remove(house.admin, ["k"], dry_run=False)).items
    assert isinstance(item.error, StorageMissing)
    assert await house.keys() == {"k"}


async def test_a_node_can_be_named(house: House) -> None:
    await house.entry("k")
    with pytest.raises(NotFound):
        await house.cleanup(node="elsewhere")
    assert names(await house.cleanup(node="nas")) == ["k"]


async def test_verify_drops_the_dead_and_marks_the_missing(house: House) -> None:
    good = await house.entry("good")
    dead = await house.entry("dead")
    claimed = await house.entry("claimed", jobs=[(house.user, COMPLETED)])
    (house.storage.allocate(dead) / "f.bin").unlink()
    (house.storage.allocate(claimed) / "f.bin").write_bytes(b"short")
    dry = await house.cleanup(verify=True, dry_run=True)
    assert names(dry) == ["dead"]
    replica = await house.store.read(lambda tx: tx.cache.replica(claimed))
    assert replica is not None
    assert replica.state is ReplicaState.READY
    real = await house.cleanup(verify=True)
    assert (names(real), real.freed) == (["dead"], dry.freed)
    replica = await house.store.read(lambda tx: tx.cache.replica(claimed))
    assert replica is not None
    assert replica.state is ReplicaState.MISSING
    (job,) = await house.store.read(lambda tx: tx.jobs.by_numbers([1]))
    assert job.state is JobState.QUEUED
    assert await house.keys() == {"good", "claimed"}
    assert good in house.storage.replicas()


async def test_remove_says_why_something_stays(house: House) -> None:
    await house.entry("free", size=10)
    await house.entry("claimed", jobs=[(house.user, COMPLETED)])
    await house.entry("pinned", pinned=True)
    keys = ["free", "claimed", "pinned", "free"]
    dry = await house.cache.remove(house.admin, keys, dry_run=True)
    assert len(await house.keys()) == 3
    real = await house.cache.remove(house.admin, keys, dry_run=False)
    assert real.freed == dry.freed == 10 + len(b"left over")
    found = {item.view.entry.key: item.error for item in real.items}
    assert found["free"] is None
    assert isinstance(found["claimed"], Conflict)
    assert "pinned" in str(found["pinned"])
    assert await house.keys() == {"claimed", "pinned"}
    with pytest.raises(NotFound):
        await house.cache.remove(house.admin, ["pinned", "unknown"], dry_run=False)
    with pytest.raises(InvalidArgument):
        await house.cache.remove(house.admin, [], dry_run=False)


async def test_remove_takes_every_unclaimed_generation(house: House) -> None:
    await house.entry("k", generation=1, current=False)
    await house.entry("k", generation=2, jobs=[(house.user, COMPLETED)])
    result = await house.cache.remove(house.admin, ["k"], dry_run=False)
    assert [(item.view.entry.generation, item.error is None) for item in result.items] == [(1, True), (2, False)]


async def test_pin_the_current_generation_and_unpin_without_losing_anything(house: House) -> None:
    await house.entry("k", generation=1, current=False, age=9 * DAY)
    await house.entry("k", generation=2, age=8 * DAY)
    (view,) = await house.cache.pin(house.admin, ["k"], pinned=True)
    assert (view.entry.generation, view.entry.pinned) == (2, True)
    assert [item.view.entry.generation for item in (await house.cleanup()).items] == [1]

    def drop_kept(tx: Transaction) -> None:
        (entry,) = tx.cache.generations("k")
        tx.cache.update_entry(replace(entry, kept=False))

    await house.store.write(drop_kept)
    (view,) = await house.cache.pin(house.admin, ["k"], pinned=False)
    assert (view.entry.pinned, view.entry.kept) == (False, True)
    assert names(await house.cleanup(older=DAY)) == ["k"]
    with pytest.raises(NotFound):
        await house.cache.pin(house.admin, ["k"], pinned=True)


async def test_only_admins_change_the_cache(house: House) -> None:
    await house.entry("k", jobs=[(house.user, COMPLETED)])
    with pytest.raises(NotAllowed):
        await house.cache.pin(house.user, ["k"], pinned=True)
    with pytest.raises(NotAllowed):
        await house.cache.remove(house.user, ["k"], dry_run=True)
    with pytest.raises(NotAllowed):
        await house.cache.cleanup(house.user, older=None, until_free=None, node="", dry_run=True, verify=False)


async def test_lru_is_off_by_default_and_follows_the_settings(house: House) -> None:
    for number in range(3):
        await house.entry(f"k{number}", size=991, age=(3 - number) * DAY)
    house.agent.free = 10_000
    limits = Limits(lru_max_age=Seconds(DAY), lru_until_free=Bytes(99_999))
    cleanup = Cleanup(house.cache, house.clock, lambda: limits)
    assert await cleanup.once() == 0
    limits = Limits(lru_enabled=True)
    assert await cleanup.once() == 0
    limits = Limits(lru_enabled=True, lru_max_age=Seconds(2.5 * DAY))
    assert await cleanup.once() == 1000
    limits = Limits(lru_enabled=True, lru_until_free=Bytes(10_900))
    assert await cleanup.once() == 1000
    assert await house.keys() == {"k2"}
