"""Nodes that are cut off, freeze, die, lie and come back: no job is lost, and nothing is fetched twice but after a
grace."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path
from uuid import uuid4

import pytest

from oddaemon.domain.errors import InvalidArgument, InvalidOption, StorageFailed
from oddaemon.domain.failure import ReasonCode
from oddaemon.domain.job import JobState
from oddaemon.domain.node import NodeLimits
from oddaemon.domain.types import Bytes, NodeId, ReplicaId, Seconds
from oddaemon.ports.engine import FillState, FillStatus
from oddaemon.ports.node_client import NodeStatuses
from oddaemon.services import hits, reconciler
from oddaemon.services.node_removal import forget_replicas
from tests.support import many as many_nodes
from tests.support.many import SLOW, URL, ManyHouse, many
from tests.support.wait import until

DONE = JobState.COMPLETED


async def test_a_cut_that_is_shorter_than_the_grace_loses_nothing_and_repeats_nothing(tmp_path: Path) -> None:
    async with many(tmp_path) as home:
        view = await home.add(URL.format(1), options=SLOW)
        node = await home.node_of(view)
        node.line.cut = True
        await home.until_offline(node.id)

        async def says_so() -> bool:
            shown = (await home.core.jobs.get(home.admin, str(view.job.number))).job
            assert shown.state is JobState.ACTIVE
            return shown.reason is not None and f"node {node.id} is offline since" in shown.reason.message

        await until(says_so)
        await node.finish()  # the engine went on without us
        other = await home.add(URL.format(2), options={"size": "10"})
        await home.until_state(other, DONE)
        assert (await home.job(view)).state is JobState.ACTIVE  # type: ignore[union-attr]
        node.line.cut = False
        await home.until_state(view, DONE)
        assert home.dispatches() == 2
        await home.until_nothing_is_left()


async def test_of_a_node_that_is_away_no_speed_is_shown_and_the_log_says_it_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    async with many(tmp_path) as home:
        view = await home.add(URL.format(1), options=SLOW)
        node = await home.node_of(view)

        async def speed_is_shown() -> bool:
            return (await home.core.jobs.get(home.admin, str(view.job.number))).live.rate_down > 0

        async def none_is_shown() -> bool:
            live = (await home.core.jobs.get(home.admin, str(view.job.number))).live
            return live.rate_down == 0 and live.eta is None

        await until(speed_is_shown)
        node.line.cut = True
        await home.until_offline(node.id)
        await until(none_is_shown)
        said = [record for record in caplog.records if getattr(record, "action", "") == "node_unreached"]
        assert [record.node for record in said] == [node.id]  # type: ignore[attr-defined]


async def test_a_restart_of_the_controller_during_the_cut_changes_nothing(tmp_path: Path) -> None:
    async with many(tmp_path) as home:
        view = await home.add(URL.format(1), options=SLOW)
        node = await home.node_of(view)
        node.line.cut = True
        await home.until_offline(node.id)
        await home.crash()
        await home.start()
        await home.until_online(*(name for name in home.names if name != node.id))
        assert not home.is_online(node.id)
        await node.finish()
        node.line.cut = False
        await home.until_state(view, DONE)
        assert home.dispatches() == 1


async def test_after_the_grace_it_is_downloaded_elsewhere_once(tmp_path: Path) -> None:
    async with many(tmp_path) as home:
        view = await home.add(URL.format(1), options=SLOW)
        first = await home.node_of(view)
        first.line.cut = True
        await home.until_offline(first.id)
        await home.end_grace()

        async def moved() -> bool:
            return any(found.node_id != first.id and found.handle for found in await home.replicas_of(view))

        await until(moved)
        # nor does another controller take it over again, or forget that it was
        for _ in range(2):
            await home.crash()
            await home.start()
            await home.until_online(*(name for name in home.names if name != first.id))
        assert len(await home.replicas_of(view)) == 2
        # it comes back: stopped there, and its bytes stay until the other is complete
        first.line.cut = False

        async def stopped() -> bool:
            return not await first.running()

        await until(stopped)
        assert first.directories()
        assert await home.downloads_of(view) == 1
        second = await home.node_of(view)
        await second.finish()
        await home.until_state(view, DONE)
        await home.until_replicas(view, **{second.id: "ready"})
        await home.until_nothing_is_left()
        assert home.dispatches() == 2


async def test_one_that_comes_back_complete_is_kept_and_the_takeover_goes(tmp_path: Path) -> None:
    async with many(tmp_path) as home:
        view = await home.add(URL.format(1), options=SLOW)
        first = await home.node_of(view)
        first.line.cut = True
        await home.until_offline(first.id)
        await home.end_grace()

        async def moved() -> bool:
            return len(await home.replicas_of(view)) == 2 and await home.downloads_of(view) == 2

        await until(moved)
        await first.finish()
        first.line.cut = False
        await home.until_state(view, DONE)
        await home.until_replicas(view, **{first.id: "ready"})
        await home.until_nothing_is_left()


async def test_what_is_ready_on_a_node_that_is_gone_is_fetched_again_for_whoever_wants_it(tmp_path: Path) -> None:
    async with many(tmp_path) as home:
        view = await home.add(URL.format(1), options={"size": "10"})
        await home.until_state(view, DONE)
        (replica,) = await home.replicas_of(view)
        first = home[replica.node_id]
        first.line.cut = True
        await home.until_offline(first.id)
        again = await home.add(URL.format(1), options={"size": "10"})

        async def waits() -> bool:
            shown = (await home.core.jobs.get(home.admin, str(again.job.number))).job
            return shown.reason is not None and shown.reason.code is ReasonCode.NODE_OFFLINE

        await until(waits)
        assert home.dispatches() == 1
        await home.end_grace()
        job = await home.until_state(again, DONE)
        assert job.node_id != first.id
        first.line.cut = False
        await home.until_online()
        # both are there, and right; what is gone from one is had from the other
        assert len(await home.replicas_of(view)) == 2
        await home.until_nothing_is_left()
        third = await home.add(URL.format(1), options={"size": "10"})
        assert (await home.until_state(third, DONE)).cache_hit
        assert home.dispatches() == 2


async def test_a_wish_for_a_node_that_is_away_waits_for_it(tmp_path: Path) -> None:
    async with many(tmp_path) as home:
        home["b"].line.cut = True
        await home.until_offline("b")
        await home.end_grace()
        view = await home.add(URL.format(1), options={"size": "10"}, node="b")

        async def waits() -> bool:
            shown = (await home.core.jobs.get(home.admin, str(view.job.number))).job
            return shown.reason is not None and "node b is offline since" in shown.reason.message

        await until(waits)
        home["b"].line.cut = False
        job = await home.until_state(view, DONE)
        assert job.node_id == NodeId("b")


async def test_draining_moves_nothing_and_takes_nothing(tmp_path: Path) -> None:
    async with many(tmp_path, "a", "b") as home:
        view = await home.add(URL.format(1), options=SLOW)
        first = await home.node_of(view)
        await home.end_grace()
        await home.core.reconciler.watch.set(first.id, lambda node: replace(node, draining=True))
        for number in range(2, 6):
            other = await home.add(URL.format(number), options={"size": "10"})
            job = await home.until_state(other, DONE)
            assert job.node_id != first.id
        assert await home.downloads_of(view) == 1
        await first.finish()
        await home.until_state(view, DONE)
        assert home.dispatches() == 5


async def test_a_frozen_node_holds_up_nobody(tmp_path: Path) -> None:
    async with many(tmp_path) as home:
        view = await home.add(URL.format(1), options=SLOW)
        node = await home.node_of(view)
        node.line.frozen = True
        for number in range(2, 12):
            other = await home.add(URL.format(number), options={"size": "10"})
            await home.until_state(other, DONE)
        node.line.frozen = False
        await node.finish()
        await home.until_state(view, DONE)
        await home.until_nothing_is_left()
        job = await home.job(view)
        assert job is not None
        assert job.attempts == 0


async def test_an_add_does_not_wait_for_the_frozen_node_that_has_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(many_nodes, "FROZEN", 8)
    monkeypatch.setattr(hits, "CHECK_SECONDS", 0.1)
    async with many(tmp_path) as home:
        home.life = replace(home.life, heartbeat_every=Seconds(3600))  # it counts as online all the time
        view = await home.add(URL.format(1), options={"size": "10"})
        await home.until_state(view, DONE)
        (replica,) = await home.replicas_of(view)
        home[replica.node_id].line.frozen = True
        async with asyncio.timeout(7):  # the node would take longer, twice
            first = await home.add(URL.format(1), options={"size": "10"})
            second = await home.add(URL.format(1), options={"size": "10"})
        home[replica.node_id].line.frozen = False
        for again in (first, second):
            await home.until_state(again, DONE)
        assert home.dispatches() == 1


async def test_what_a_node_says_of_anothers_replica_is_passed_over(tmp_path: Path) -> None:
    async with many(tmp_path, "a", "b") as home:
        view = await home.add(URL.format(1), options=SLOW)
        node = await home.node_of(view)
        liar = home["b" if node.id == "a" else "a"]
        (replica,) = await home.replicas_of(view)
        nobodys = ReplicaId(uuid4())

        def lies(told: NodeStatuses) -> NodeStatuses:
            false = {
                found: FillStatus(replica_id=found, state=state, done=Bytes(4000), total=Bytes(4000))
                for found, state in ((replica.id, FillState.COMPLETE), (nobodys, FillState.FAILED))
            }
            return replace(told, statuses={**told.statuses, **false})

        liar.line.lies = lies
        asked = liar.line.calls["statuses"]
        home.core.reconciler.news(liar.id)
        await until(lambda: liar.line.calls["statuses"] > asked + 1, what="the liar to be asked twice")
        assert await home.downloads_of(view) == 1
        assert (await home.job(view)).state is JobState.ACTIVE  # type: ignore[union-attr]
        await node.finish()
        await home.until_state(view, DONE)
        assert not liar.line.calls["delete"]


async def test_a_node_that_fails_every_dispatch_does_not_swallow_the_queue(tmp_path: Path) -> None:
    async with many(tmp_path, "a", "b") as home:
        home["a"].line.fails = StorageFailed("Input/output error")
        views = [await home.add(URL.format(number), options={"size": "10"}) for number in range(8)]
        for view in views:
            job = await home.until_state(view, DONE)
            assert (job.node_id, job.attempts) == (NodeId("b"), 0)
        home["a"].line.fails = None
        await home.until_nothing_is_left()


async def test_a_dispatch_that_does_not_arrive_waits_for_the_node_and_counts_no_attempt(tmp_path: Path) -> None:
    async with many(tmp_path, "a") as home:
        home["a"].line.lost = frozenset({"dispatch"})
        view = await home.add(URL.format(1), options=SLOW)
        await until(lambda: home["a"].line.calls["dispatch"] > 0)
        await home.until_job(lambda job: job.state is JobState.QUEUED, view)
        home["a"].line.lost = frozenset()
        await home.node_of(view)
        await home["a"].finish()
        await home.until_state(view, DONE)
        (replica,) = await home.replicas_of(view)
        assert replica.attempts == 0


async def test_removing_a_job_of_a_node_that_is_away_is_delivered_when_it_is_back(tmp_path: Path) -> None:
    async with many(tmp_path, "a", "b") as home:
        view = await home.add(URL.format(1), options=SLOW)
        node = await home.node_of(view)
        node.line.cut = True
        await home.until_offline(node.id)
        await home.core.downloads.remove(home.admin, view.job.id, keep_data=False)
        assert node.directories()
        await home.crash()
        await home.start()
        node.line.cut = False
        await home.until_nothing_is_left()
        assert not node.directories()


async def test_what_completes_elsewhere_leaves_its_secrets_nowhere(tmp_path: Path) -> None:
    async with many(tmp_path, "a", "b") as home:
        view = await home.add(URL.format(1), options={**SLOW, "password": "hunter2"})
        left = await home.node_of(view)
        left.line.cut = True
        await home.until_offline(left.id)
        await home.end_grace()
        other = home["b" if left.id == "a" else "a"]
        await until(other.running, what="it runs elsewhere")
        replicas = [found.id for found in await home.replicas_of(view)]
        assert len(replicas) == 2
        await other.finish()
        await home.until_state(view, DONE)
        found = await home.store.read(lambda tx: [tx.materials.of_replica(replica) for replica in replicas])
        assert [material.erased for material in found if material is not None] == [True, True]
        assert not any(material.secrets for material in found if material is not None)


async def remove(home: ManyHouse, name: str) -> None:
    at = home.core.reconciler.clock.now()
    await home.store.write(lambda tx: forget_replicas(tx, NodeId(name), at))
    await home.store.write(lambda tx: tx.nodes.delete(NodeId(name)))
    home.core.reconciler.watch.forget(NodeId(name))
    del home.clients[NodeId(name)]
    del home.workers[NodeId(name)]
    home.core.reconciler.wake()


async def test_a_node_that_is_removed_is_healed_from_the_source(tmp_path: Path) -> None:
    async with many(tmp_path, "a", "b") as home:
        ready = await home.add(URL.format(1), options={"size": "10"}, node="a")
        await home.until_state(ready, DONE)
        begun = await home.add(URL.format(2), options=SLOW, node="a")
        await home.node_of(begun)
        home["a"].line.cut = True
        await home.until_offline("a")
        await remove(home, "a")
        await home.until_state(ready, DONE)
        await (await home.node_of(begun)).finish()
        for view in (ready, begun):
            assert (await home.until_state(view, DONE)).node_id == NodeId("b")
        await home.until_nothing_is_left()


async def test_two_large_jobs_never_overfill_one_disk(tmp_path: Path) -> None:
    async with many(tmp_path, "a", "b", min_disk_free=Bytes(1000)) as home:
        for worker in home.workers.values():
            worker.disk = lambda seen: replace(seen, disk=replace(seen.disk, free=Bytes(7000)))
        await until(lambda: all(home.core.board.nodes[found].disk.free == 7000 for found in home.workers))
        # each needs 4000 of the 6000 above the reserve, and says so only when it runs
        views = [await home.add(URL.format(number), options=SLOW) for number in range(4)]

        async def settled() -> bool:
            jobs = [(await home.core.jobs.get(home.admin, str(view.job.number))).job for view in views]
            waiting = [job for job in jobs if job.reason and job.reason.code is ReasonCode.WAITING_FOR_SPACE]
            running = [len(await worker.running()) for worker in home.workers.values()]
            return len(waiting) == 2 and running == [1, 1]

        await until(settled, what="one on each, and two that wait")


async def test_what_an_admin_set_for_a_node_holds_there_alone(tmp_path: Path) -> None:
    async with many(tmp_path, "a", "b") as home:
        one = NodeLimits(running=1)
        await home.core.reconciler.watch.set(NodeId("a"), lambda node: replace(node, limits=one))
        views = [await home.add(URL.format(number), options=SLOW) for number in range(6)]

        async def running() -> list[int]:
            return [len(await worker.running()) for worker in home.workers.values()]

        async def placed() -> bool:
            return sum(await running()) == len(views)

        await until(placed)
        assert await running() == [1, 5]


async def test_a_job_says_after_a_restart_why_it_is_where_it_is(tmp_path: Path) -> None:
    async with many(tmp_path, "a", "b") as home:
        home["a"].line.cut = True
        await home.until_offline("a")
        view = await home.add(URL.format(1), options=SLOW)
        await home.node_of(view)

        async def why() -> str:
            return (await home.core.jobs.get(home.admin, str(view.job.number))).placement

        before = await why()
        assert "node a is offline since" in before
        await home.crash()
        await home.start()
        await until(lambda: bool(home.core.board.placements))
        assert await why() == before


async def test_what_an_admin_changed_waits_for_no_rest_between_plans(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reconciler, "FULL_PASS", 3600)
    async with many(tmp_path, queue_paused=True) as home:
        view = await home.add(URL.format(1), options=SLOW)
        await until(lambda: home.core.reconciler.view.by_entry, what="the job to be understood")
        # as after a plan of many thousands
        home.core.reconciler.planner.cost = Seconds(3600)
        home.limits = replace(home.limits, queue_paused=False)
        home.core.reconciler.wake_at_once()
        await home.node_of(view)


async def test_a_label_is_waited_for_kept_over_a_restart_and_chosen_among_those_that_have_it(tmp_path: Path) -> None:
    async with many(tmp_path) as home:
        views = [
            await home.add(URL.format(number), options=SLOW, node_labels={"disk": "ssd"}) for number in range(2)
        ]

        async def waits() -> bool:
            shown = [(await home.core.jobs.get(home.admin, str(view.job.number))).job for view in views]
            return all(
                job.state is JobState.QUEUED and job.reason is not None
                and job.reason.message == "no node has the label disk=ssd" for job in shown
            )  # fmt: skip

        await until(waits, what="a reason")
        other = await home.add(URL.format(9), options={"size": "10"})
        await home.until_state(other, DONE)
        await home.crash()
        for name in ("b", "c"):
            home[name].labels = {"disk": "ssd"}
        home.limits = replace(home.limits, queue_paused=True)
        await home.start()
        await home.until_online()
        home.limits = replace(home.limits, queue_paused=False)
        home.core.reconciler.wake_at_once()
        assert {(await home.node_of(view)).id for view in views} == {"b", "c"}
        # after a takeover it is still kept to
        dead = await home.node_of(views[0])
        left = next(home[name] for name in ("b", "c") if name != dead.id)
        await dead.kill()
        await home.until_offline(dead.id)
        await home.end_grace()
        assert (await home.node_of(views[0])).id == left.id


async def test_a_node_and_a_label_that_it_does_not_have_are_waited_for_with_a_reason(tmp_path: Path) -> None:
    async with many(tmp_path) as home:
        view = await home.add(URL.format(1), options={"size": "10"}, node="a", node_labels={"gpu": "yes"})

        async def waits() -> bool:
            job = (await home.core.jobs.get(home.admin, str(view.job.number))).job
            return job.reason is not None and job.reason.message == "node a does not have the label gpu=yes"

        await until(waits, what="a reason")
        home["a"].labels = {"gpu": "yes"}
        await home.until_state(view, DONE)
        assert home["a"].line.calls["dispatch"] == 1


async def test_a_controller_without_engines_takes_what_a_worker_can_do_and_refuses_what_none_can(
    tmp_path: Path,
) -> None:
    home = ManyHouse(tmp_path, names=("a",), pure=True)
    home.limits = replace(home.limits, per_user=0, per_node=0)
    await home.start()
    try:
        await home.until_online()
        view = await home.add(URL.format(1), options={"size": "10"}, engine="simulated")
        await home.until_state(view, DONE)
        probed = await home.core.prober.probe(
            home.admin, URL.format(2), torrent=None, engine="simulated", options={"size": "10"}, deadline=Seconds(9)
        )
        assert (probed.would_run_on, probed.engine) == ("a", "simulated")
        with pytest.raises(InvalidOption):
            await home.add(URL.format(3), options={"nonsense": "10"}, engine="simulated")
        with pytest.raises(InvalidArgument, match="there is no engine 'other'"):
            await home.add(URL.format(4), engine="other")
    finally:
        await home.close()
