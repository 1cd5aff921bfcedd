"""Copies of content on other nodes: made while lines are cut and bytes are spoiled, and healed from each other."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from oddaemon.domain.cache import Replica, ReplicaState
from oddaemon.domain.errors import Conflict, InvalidArgument, NotAllowed, NotFound, NotReady
from oddaemon.domain.failure import ReasonCode
from oddaemon.domain.job import JobState
from oddaemon.domain.node import NodeSnapshot
from oddaemon.domain.types import Bytes, NodeId, ReplicaId
from oddaemon.domain.user import Principal, Proof, Role
from oddaemon.services import copying
from oddaemon.services.cache import CacheService
from oddaemon.services.node_removal import forget_replicas
from oddaemon.services.views import JobView
from tests.support.many import SLOW, URL, ManyHouse, many
from tests.support.wait import until

DONE = JobState.COMPLETED
MIB = 1 << 20
LARGE = {"size": str(5 * MIB + 17), "files": "2"}
"""More than one piece of each file."""


def cache_of(home: ManyHouse) -> CacheService:
    reconciler = home.core.reconciler

    async def none(_: Sequence[ReplicaId]) -> dict[ReplicaId, Bytes]:
        return {}

    return CacheService(
        store=home.store, clock=reconciler.clock, nodes=lambda: list(home.clients.values()), wake=reconciler.wake,
        settle=reconciler.deleter.settled, in_use=frozenset, measure=none,
    )  # fmt: skip


async def done(home: ManyHouse, **options: str) -> tuple[JobView, str, str]:
    """A finished download, its key and its node."""
    view = await home.add(URL.format(1), options={"size": "100", **options})
    await home.until_state(view, DONE)
    [replica] = await home.replicas_of(view)
    job = await home.job(view)
    assert job is not None
    assert job.cache_key is not None
    return view, job.cache_key, replica.node_id


def others(home: ManyHouse, node: str) -> list[str]:
    return [name for name in home.names if name != node]


async def events(home: ManyHouse, kind: str) -> list[Any]:
    return [event for event in await home.store.read(lambda tx: tx.events.after(0, limit=1000)) if event.type == kind]


async def assert_same(home: ManyHouse, view: JobView) -> None:
    """Every ready replica has the same bytes, with the recorded size and digest."""
    ready = [found for found in await home.replicas_of(view) if found.state is ReplicaState.READY]
    files = await home.store.read(lambda tx: tx.cache.files(ready[0].entry_id))
    for replica in ready:
        for file in files:
            data = (home[replica.node_id].folder / str(replica.id) / file.disk_path).read_bytes()
            assert (len(data), hashlib.sha256(data).hexdigest()) == (file.size, file.sha256)


async def remove_node(home: ManyHouse, name: str) -> list[Replica]:
    at = home.core.reconciler.clock.now()
    home.workers[NodeId(name)].line.cut = True
    lost = await home.store.write(lambda tx: forget_replicas(tx, NodeId(name), at))
    home.core.board.nodes.pop(NodeId(name))
    home.clients.pop(NodeId(name))
    home.core.reconciler.lost(lost)
    return lost


@pytest.fixture
async def home(tmp_path: Path) -> AsyncIterator[ManyHouse]:
    async with many(tmp_path) as built:
        yield built


async def test_a_copy_has_the_same_bytes_and_is_an_equal(home: ManyHouse) -> None:
    view, key, first = await done(home, **LARGE)
    second = others(home, first)[0]
    shown = await cache_of(home).copy(home.admin, key, second)
    assert {found.node_id: str(found.state) for found in shown.replicas} == {first: "ready", second: "copying"}
    await home.until_replicas(view, **{first: "ready", second: "ready"})
    await assert_same(home, view)
    [told] = await events(home, "cache.copied")
    assert (told.data["node"], told.data["from"], told.data["bytes"]) == (second, first, 5 * MIB + 17)
    # where there is one there is nothing to do
    await cache_of(home).copy(home.admin, key, second)
    assert len(await home.replicas_of(view)) == 2
    # a hit is served by the one that can be reached, and nothing is downloaded
    home[first].line.cut = True
    await home.until_offline(first)
    again = await home.add(URL.format(1), options={"size": "100", **LARGE})
    job = await home.until_state(again, DONE)
    assert job.cache_hit
    assert home.dispatches() == 1
    home[first].line.cut = False
    await home.until_online()
    # and removal takes both
    for one in (view, again):
        await home.core.downloads.remove(home.admin, one.job.id, keep_data=False)
    await home.until_nothing_is_left()
    assert await home.replicas() == []


async def test_what_was_on_a_removed_node_is_shown_where_it_is(home: ManyHouse) -> None:
    view, key, first = await done(home, **LARGE)
    second = others(home, first)[0]
    await cache_of(home).copy(home.admin, key, second)
    await home.until_replicas(view, **{first: "ready", second: "ready"})
    await remove_node(home, first)
    job = await home.until_state(view, DONE)
    assert job.node_id == second


async def test_a_copy_goes_on_after_a_cut_and_a_restart_from_the_bytes_that_are_there(home: ManyHouse) -> None:
    view, key, first = await done(home, **LARGE)
    second = others(home, first)[0]
    written: list[int] = []
    cut: list[bool] = []
    plain = home[second].line.agent.storage.write

    def some(replica_id: ReplicaId, path: str, offset: int, data: bytes) -> None:
        plain(replica_id, path, offset, data)
        written.append(len(data))
        if sum(written) >= 3 * MIB and not cut:
            cut.append(True)
            home[second].line.cut = True

    home[second].line.agent.storage.write = some  # type: ignore[method-assign]
    await cache_of(home).copy(home.admin, key, second)
    await home.until_offline(second)
    await home.crash()
    await home.start()
    await home.until_online(*others(home, second))
    assert {found.node_id: str(found.state) for found in await home.replicas_of(view)}[NodeId(second)] == "copying"
    home[second].line.cut = False
    await home.until_replicas(view, **{first: "ready", second: "ready"})
    await assert_same(home, view)
    assert sum(written) == 5 * MIB + 17  # nothing came twice


@pytest.mark.parametrize("ever", [False, True], ids=["once", "always"])
async def test_wrong_bytes_are_brought_again_and_never_ready(
    home: ManyHouse, monkeypatch: pytest.MonkeyPatch, ever: bool
) -> None:
    monkeypatch.setattr(copying, "AGAIN", timedelta(seconds=0.05))
    view, key, first = await done(home, **LARGE)
    second = others(home, first)[0]
    plain = home[second].line.agent.storage.write
    spoiled: list[int] = []

    def spoil(replica_id: ReplicaId, path: str, offset: int, data: bytes) -> None:
        if len(data) == MIB and (ever or not spoiled):
            spoiled.append(offset)
            data = b"?" + data[1:]
        plain(replica_id, path, offset, data)

    home[second].line.agent.storage.write = spoil  # type: ignore[method-assign]
    await cache_of(home).copy(home.admin, key, second)
    if ever:
        await until(lambda: _told(home), what="the copy to be given up")
        await home.until_replicas(view, **{first: "ready"})
        [told] = await events(home, "cache.copy_failed")
        assert "SHA-256" in told.data["why"]
        assert (await home.job(view)).state is DONE  # type: ignore[union-attr]
    else:
        await home.until_replicas(view, **{first: "ready", second: "ready"})
        await assert_same(home, view)
    assert spoiled
    await home.until_nothing_is_left()


async def _told(home: ManyHouse) -> bool:
    return bool(await events(home, "cache.copy_failed"))


async def test_a_wish_is_met_and_met_again_when_a_node_is_lost(home: ManyHouse) -> None:
    view, key, first = await done(home)
    await cache_of(home).pin(home.admin, [key], pinned=True, replicas=2)

    async def two() -> bool:
        found = await home.replicas_of(view)
        return len(found) == 2 and all(one.state is ReplicaState.READY for one in found)

    await until(two, what="a second copy")
    assert first in {one.node_id for one in await home.replicas_of(view)}
    # removed for good: the other copy is the source of a new one, not the origin
    await remove_node(home, first)
    await until(two, what="a second copy again")
    nodes = {one.node_id for one in await home.replicas_of(view)}
    assert first not in nodes
    # one that is away is waited for until the grace is over
    gone = next(node for node in nodes if node in home.workers)
    home.workers[gone].line.cut = True
    await home.until_offline(gone)
    await home.end_grace()

    async def three() -> bool:
        return len({one.node_id for one in await home.replicas_of(view) if one.state is ReplicaState.READY}) == 3

    await until(three, what="a copy in the place of the one that is away")
    assert home.dispatches() == 1
    assert (await home.job(view)).state is DONE  # type: ignore[union-attr]


async def test_a_wish_survives_a_restart_and_ends_with_the_pin(home: ManyHouse) -> None:
    view, key, _ = await done(home)
    home.limits = replace(home.limits, min_disk_free=Bytes(10**18))
    [shown] = await cache_of(home).pin(home.admin, [key], pinned=True, replicas=3)
    assert shown.entry.replicas == 3
    await home.crash()
    await home.start()
    await home.until_online()
    # there is no room above the reserve anywhere
    assert len(await home.replicas_of(view)) == 1
    [shown] = await cache_of(home).pin(home.admin, [key], pinned=True)
    assert shown.entry.replicas == 3
    [shown] = await cache_of(home).pin(home.admin, [key], pinned=False)
    assert shown.entry.replicas == 1
    for bad in (0, 101):
        with pytest.raises(InvalidArgument):
            await cache_of(home).pin(home.admin, [key], pinned=True, replicas=bad)


async def test_a_copy_waits_for_room_above_the_reserve(home: ManyHouse) -> None:
    view, key, first = await done(home)
    second = others(home, first)[0]
    free = Bytes(50)

    def small(seen: NodeSnapshot) -> NodeSnapshot:
        return replace(seen, disk=replace(seen.disk, free=Bytes(home.limits.min_disk_free + free)))

    home[second].disk = small
    await until(lambda: home.core.board.nodes[NodeId(second)].disk.free == home.limits.min_disk_free + 50)
    await cache_of(home).copy(home.admin, key, second)

    async def waits() -> bool:
        found = [one for one in await home.replicas_of(view) if one.node_id == second]
        return found[0].reason is not None and found[0].reason.code is ReasonCode.WAITING_FOR_SPACE

    await until(waits, what="the copy to wait for room")
    assert str((await home.replicas_of(view))[1].id) not in home[second].directories()


async def test_a_copy_ends_with_its_entry(home: ManyHouse) -> None:
    view, key, first = await done(home, **LARGE)
    second = others(home, first)[0]
    plain = home[second].line.agent.storage.write
    begun: list[int] = []

    def cut_after(replica_id: ReplicaId, path: str, offset: int, data: bytes) -> None:
        plain(replica_id, path, offset, data)
        begun.append(offset)
        if len(begun) == 2:
            home[second].line.cut = True

    home[second].line.agent.storage.write = cut_after  # type: ignore[method-assign]
    await cache_of(home).copy(home.admin, key, second)
    await home.until_offline(second)
    await home.core.downloads.remove(home.admin, view.job.id, keep_data=False)
    home[second].line.cut = False
    await home.until_nothing_is_left()
    assert await home.replicas() == []


async def test_without_any_copy_left_it_is_fetched_from_its_source(home: ManyHouse) -> None:
    view, key, first = await done(home)
    second = others(home, first)[0]
    await cache_of(home).copy(home.admin, key, second)
    await home.until_replicas(view, **{first: "ready", second: "ready"})
    await remove_node(home, first)
    assert (await home.job(view)).state is DONE  # type: ignore[union-attr]
    await remove_node(home, second)
    await home.until_job(lambda job: job.state is DONE and job.node_id not in (first, second), view)
    assert home.dispatches() >= 1


async def test_what_cannot_be_copied_is_refused(home: ManyHouse) -> None:
    running = await home.add(URL.format(2), options=SLOW)
    node = await home.node_of(running)
    job = await home.job(running)
    assert job is not None
    assert job.cache_key is not None
    cache = cache_of(home)
    with pytest.raises(NotReady):
        await cache.copy(home.admin, job.cache_key, others(home, node.id)[0])
    with pytest.raises(Conflict):
        await cache.copy(home.admin, job.cache_key, node.id)
    with pytest.raises(NotFound):
        await cache.copy(home.admin, job.cache_key, "nowhere")
    with pytest.raises(InvalidArgument):
        await cache.copy(home.admin, job.cache_key, "")
    with pytest.raises(NotFound):
        await cache.copy(home.admin, "no:url:key", node.id)
    user = Principal(user_id=home.admin.user_id, username="bob", role=Role.USER, proof=Proof.API_KEY)
    with pytest.raises(NotAllowed):
        await cache.copy(user, job.cache_key, node.id)
