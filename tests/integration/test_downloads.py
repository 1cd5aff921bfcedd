"""Jobs from add to rm over a real store and the scripted engine: the invariants of product.md section 5, one by one."""

from __future__ import annotations

import asyncio
import errno
import os
from collections import Counter
from collections.abc import Sequence, Set
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from oddaemon.app.current_settings import limits_of
from oddaemon.app.settings import Settings
from oddaemon.domain.cache import ReplicaState
from oddaemon.domain.errors import (
    InvalidArgument,
    InvalidOption,
    InvalidSelection,
    InvalidSource,
    LimitExceeded,
    NotFound,
    WrongState,
)
from oddaemon.domain.failure import FailureCode, ReasonCode
from oddaemon.domain.job import Hold, JobState
from oddaemon.domain.types import Bytes, JobId, NodeId, Seconds
from oddaemon.ports.engine import FillFile, FillState
from oddaemon.services import reconciler, stopping
from oddaemon.services.filling import Filler, Prepared
from oddaemon.services.node_agent import NodeAgent
from oddaemon.services.scheduler import Start
from oddaemon.services.views import AddOrder
from tests.support.core import HERE, House, house
from tests.support.wait import until

DATABASES = ("sqlite", "postgresql")

URL = "http://sim.invalid/file.bin"
DONE, QUEUED, ACTIVE, FAILED, CANCELLED = (
    JobState.COMPLETED,
    JobState.QUEUED,
    JobState.ACTIVE,
    JobState.FAILED,
    JobState.CANCELLED,
)
SLOW = {"size": "1000000", "rate": "1000"}


async def test_an_add_completes_with_its_file_on_disk(tmp_path: Path) -> None:
    async with house(tmp_path) as home:
        view = await home.add(URL, options={"size": "5000"})
        job = await home.until_state(view, DONE)
        assert (job.size, job.done, job.files_selected) == (5000, 5000, 1)
        (replica,) = await home.replicas()
        assert replica.state is ReplicaState.READY
        assert home.storage.size_of(replica.id) == 5000
        assert [event.type for event in home.events if event.job_number == job.number] == [
            "job.created", "job.started", "job.completed",
        ]  # fmt: skip


async def test_what_is_not_a_source_stores_nothing(tmp_path: Path) -> None:
    async with house(tmp_path) as home:
        for bad in ("", "hello", "magnet:?dn=x", "file:///etc/passwd", "http://", "-o x", "http://a/\nb"):
            with pytest.raises(InvalidSource):
                await home.add(bad)
        with pytest.raises(InvalidOption):
            await home.add(URL, options={"exec": "rm"})
        counts = await home.store.read(lambda tx: tx.jobs.count_by_state())
        assert sum(counts.values()) == 0


async def test_fifty_adds_at_once_make_one_download_and_fifty_claims(tmp_path: Path) -> None:
    async with house(tmp_path, per_user=0) as home:
        users = [home.admin, await home.user("maya"), await home.user("noor")]
        views = await asyncio.gather(
            *(home.add(URL, users[n % 3], options={"size": "20000", "rate": "40000"}) for n in range(50))
        )
        for view in views:
            await home.until_state(view, DONE)
        assert len({view.job.number for view in views}) == 50
        assert len(await home.replicas()) == 1
        assert len(home.directories()) == 1


async def test_a_later_add_of_the_same_is_complete_at_once(tmp_path: Path) -> None:
    async with house(tmp_path) as home:
        await home.until_state(await home.add(URL, options={"size": "5000"}), DONE)
        second = await home.add(URL, await home.user("maya"), options={"size": "5000"})
        job = await home.until_state(second, DONE)
        assert job.cache_hit
        assert len(await home.replicas()) == 1


@pytest.mark.parametrize("damage", ["delete", "truncate"])
async def test_a_ready_file_that_is_gone_is_fetched_again_once(tmp_path: Path, damage: str) -> None:
    async with house(tmp_path) as home:
        first = await home.add(URL, options={"size": "5000"})
        await home.until_state(first, DONE)
        (replica,) = await home.replicas()
        (stored,) = home.storage.walk(replica.id)
        path = tmp_path / "downloads" / str(replica.id) / stored.path
        if damage == "delete":
            path.unlink()
        else:
            path.write_bytes(b"short")
        second = await home.add(URL, await home.user("maya"), options={"size": "5000"})
        assert second.job.state is QUEUED or not second.job.cache_hit
        await home.until_state(second, DONE)
        await home.until_state(first, DONE)
        assert home.storage.size_of(replica.id) == 5000
        requeued = [e for e in home.events if e.type == "job.queued" and e.job_number == first.job.number]
        assert [event.data["reason"] for event in requeued] == ["files_missing"]


async def test_an_unmounted_disk_invalidates_nothing_and_nothing_is_written(tmp_path: Path) -> None:
    async with house(tmp_path) as home:
        first = await home.add(URL, options={"size": "5000"})
        await home.until_state(first, DONE)
        (tmp_path / "downloads").rename(tmp_path / "away")
        (tmp_path / "downloads").mkdir()
        second = await home.add(URL, options={"size": "5000"})
        other = await home.add(URL + "2", options={"size": "5000"})
        assert (second.job.state, second.job.cache_hit) == (QUEUED, False)

        async def says_so() -> bool:
            seen = [(await home.core.jobs.get(home.admin, str(view.job.number))).job for view in (second, other)]
            assert DONE not in [job.state for job in seen]
            return {job.reason and job.reason.code for job in seen} == {ReasonCode.STORAGE_MISSING}

        await until(says_so)
        assert (await home.job(first)).state is DONE  # type: ignore[union-attr]
        assert list((tmp_path / "downloads").iterdir()) == []
        (tmp_path / "downloads").rmdir()
        (tmp_path / "away").rename(tmp_path / "downloads")
        await home.until_state(second, DONE)
        await home.until_state(other, DONE)


@pytest.mark.parametrize(
    ("trouble", "code", "hold"),
    [
        (errno.ENOSPC, ReasonCode.NO_SPACE, Hold.DISK),
        (errno.EDQUOT, ReasonCode.NO_SPACE, Hold.DISK),
        (errno.EROFS, ReasonCode.STORAGE_FAILED, Hold.NONE),
        (errno.EIO, ReasonCode.STORAGE_FAILED, Hold.NONE),
    ],
)
async def test_a_disk_that_takes_no_directory_lets_jobs_wait(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, trouble: int, code: ReasonCode, hold: Hold
) -> None:
    for kind, (reason, _) in stopping.PUT_OFF.items():
        monkeypatch.setitem(stopping.PUT_OFF, kind, (reason, Seconds(0.1)))

    def refuse(*_: object, **__: object) -> None:
        raise OSError(trouble, os.strerror(trouble))

    async with house(tmp_path, retries=1) as home:
        with monkeypatch.context() as broken:
            broken.setattr(os, "mkdir", refuse)
            view = await home.add(URL, options={"size": "5000"})
            job = await home.until_job(lambda job: job.reason is not None and job.reason.code is code, view)
            assert (job.state, job.hold) == (QUEUED, hold)
            tries = len([event for event in home.events if event.type == "job.started"])
            await until(lambda: len([e for e in home.events if e.type == "job.started"]) >= tries + 3)
        job = await home.until_state(view, DONE, FAILED)
        assert (job.state, job.hold) == (DONE, Hold.NONE)


async def test_a_passing_failure_is_tried_again_and_keeps_the_bytes(tmp_path: Path) -> None:
    async with house(tmp_path) as home:
        options = {"size": "50000", "fail-at": "60", "fail-times": "2", "fail-code": "NETWORK", "fail-retry": "passing"}
        job = await home.until_state(await home.add(URL, options=options), DONE)
        assert job.error is None


async def test_a_passing_failure_that_never_passes_ends(tmp_path: Path) -> None:
    async with house(tmp_path, retries=2) as home:
        options = {"size": "5000", "fail-at": "0", "fail-code": "ORIGIN_BUSY", "fail-retry": "passing"}
        job = await home.until_state(await home.add(URL, options=options), FAILED)
        assert job.error is not None
        assert job.error.code is FailureCode.ORIGIN_BUSY


async def test_a_lasting_failure_fails_all_its_claimants_at_once(tmp_path: Path) -> None:
    async with house(tmp_path) as home:
        options = {
            "size": "50000",
            "rate": "100000",
            "fail-at": "50",
            "fail-code": "ORIGIN_GONE",
            "fail-retry": "lasting",
        }
        views = [await home.add(URL, options=options), await home.add(URL, await home.user("maya"), options=options)]
        for view in views:
            assert (await home.until_state(view, FAILED)).error.code is FailureCode.ORIGIN_GONE  # type: ignore[union-attr]


async def test_retry_revives_only_the_callers_job(tmp_path: Path) -> None:
    async with house(tmp_path, queue_paused=True) as home:
        options = {
            "size": "50000",
            "fail-at": "50",
            "fail-times": "1",
            "fail-code": "ORIGIN_GONE",
            "fail-retry": "lasting",
        }
        mine, theirs = await home.add(URL, options=options), await home.add(URL, await home.user("m"), options=options)
        # both wait for the one download that fails
        for view in (mine, theirs):
            await home.until_job(lambda job: job.entry_id is not None, view)
        home.limits = replace(home.limits, queue_paused=False)
        home.core.reconciler.wake()
        await home.until_state(mine, FAILED)
        await home.until_state(theirs, FAILED)
        await home.core.downloads.retry(home.admin, mine.job.id)
        await home.until_state(mine, DONE)
        assert (await home.job(theirs)).state is FAILED  # type: ignore[union-attr]
        retried = await home.core.downloads.retry(home.admin, theirs.job.id)
        assert retried.job.state is DONE


@pytest.mark.parametrize("lie", ["short", "long"])
async def test_an_engines_own_ok_is_not_enough(tmp_path: Path, lie: str) -> None:
    async with house(tmp_path, retries=1) as home:
        job = await home.until_state(await home.add(URL, options={"size": "5000", lie: "10"}), FAILED)
        assert job.error is not None
        assert job.error.code in {FailureCode.SHORT_READ, FailureCode.ORIGIN_CHANGED}


async def test_a_result_without_files_never_completes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def nothing(self: NodeAgent, engine: object, replica_id: object) -> list[FillFile]:
        return []

    monkeypatch.setattr(NodeAgent, "list_files", nothing)
    async with house(tmp_path, retries=1) as home:
        job = await home.until_state(await home.add(URL, options={"size": "10"}), FAILED, DONE)
        assert job.state is FAILED


async def test_pause_changes_only_that_job_and_the_last_pause_stops_the_engine(tmp_path: Path) -> None:
    async with house(tmp_path) as home:
        maya = await home.user("maya")
        mine, theirs = await home.add(URL, options=SLOW), await home.add(URL, maya, options=SLOW)
        await home.until_state(mine, ACTIVE)
        await home.until_state(theirs, ACTIVE)
        await home.core.downloads.pause(home.admin, mine.job.id)
        assert (await home.job(theirs)).state is ACTIVE  # type: ignore[union-attr]
        (replica,) = await home.replicas()
        assert replica.state is ReplicaState.FILLING
        await home.core.downloads.pause(maya, theirs.job.id)

        async def paused() -> bool:
            return (await home.replicas())[0].state is ReplicaState.PAUSED

        await until(paused)
        await home.core.downloads.resume(home.admin, mine.job.id)
        await home.until_state(mine, ACTIVE)
        held = await home.job(theirs)
        assert held is not None
        assert (held.state, held.hold) == (QUEUED, Hold.USER)


async def test_a_pause_for_a_while_ends_by_itself(tmp_path: Path) -> None:
    async with house(tmp_path) as home:
        view = await home.add(URL, options={"size": "50000", "rate": "100000"})
        await home.core.downloads.pause(home.admin, view.job.id, duration=Seconds(0.3))
        await home.until_state(view, DONE)


async def test_rm_leaves_not_one_byte_and_never_touches_anothers_job(tmp_path: Path) -> None:
    async with house(tmp_path) as home:
        maya = await home.user("maya")
        mine = await home.add(URL, options={"size": "5000"})
        theirs = await home.add(URL, maya, options={"size": "5000"})
        await home.until_state(theirs, DONE)
        await home.until_state(mine, DONE)
        removed = await home.core.downloads.remove(home.admin, mine.job.id, keep_data=False)
        assert removed.freed == 0
        assert len(home.directories()) == 1
        removed = await home.core.downloads.remove(maya, theirs.job.id, keep_data=False)
        assert removed.freed == 5000
        await until(lambda: home.directories() == [])
        await until(lambda: _nothing_left(home))


async def _nothing_left(home: House) -> bool:
    entries = await home.store.read(lambda tx: tx.cache.claimless())
    return not await home.replicas() and not entries


async def test_cancel_while_it_runs_deletes_the_bytes_and_retry_begins_anew(tmp_path: Path) -> None:
    async with house(tmp_path) as home:
        view = await home.add(URL, options={"size": "60000", "rate": "30000"})
        await home.until_state(view, ACTIVE)
        await home.core.downloads.cancel(home.admin, view.job.id)
        assert (await home.job(view)).state is CANCELLED  # type: ignore[union-attr]
        await until(lambda: home.directories() == [])
        await home.core.downloads.retry(home.admin, view.job.id)
        await home.until_state(view, DONE)


async def test_keep_data_keeps_a_finished_entry_for_the_next_add(tmp_path: Path) -> None:
    async with house(tmp_path) as home:
        view = await home.add(URL, options={"size": "5000"})
        await home.until_state(view, DONE)
        await home.core.downloads.remove(home.admin, view.job.id, keep_data=True)
        again = await home.add(URL, options={"size": "5000"})
        assert (await home.until_state(again, DONE)).cache_hit


async def test_an_add_during_a_removal_gets_a_replica_of_its_own(tmp_path: Path) -> None:
    async with house(tmp_path) as home:
        for _ in range(10):
            view = await home.add(URL, options={"size": "5000"})
            await home.until_state(view, ACTIVE, DONE)
            await home.core.downloads.remove(home.admin, view.job.id, keep_data=False)
            again = await home.add(URL, options={"size": "5000"})
            await home.until_state(again, DONE)
            assert len(home.directories()) <= 2
            await home.core.downloads.remove(home.admin, again.job.id, keep_data=False)


async def test_the_user_limit_holds_while_it_runs(tmp_path: Path) -> None:
    async with house(tmp_path, per_user=2) as home:
        views = [await home.add(f"{URL}{n}", options=SLOW) for n in range(2)]
        for view in views:
            await home.until_state(view, ACTIVE)
        views += [await home.add(f"{URL}{n}", options=SLOW) for n in range(2, 5)]

        async def counts() -> Counter[JobState]:
            return Counter(await home.store.read(lambda tx: tx.jobs.count_by_state()))

        assert (await counts())[ACTIVE] == 2

        async def reason() -> bool:
            found = await home.core.jobs.get(home.admin, str(views[4].job.number))
            return found.job.reason is not None and "user limit: 2 of 2 running" in found.job.reason.message

        await until(reason)
        assert await counts() == Counter({ACTIVE: 2, QUEUED: 3})
        await home.core.downloads.remove(home.admin, views[0].job.id, keep_data=False)

        async def the_next_started() -> bool:
            return await counts() == Counter({ACTIVE: 2, QUEUED: 2})

        await until(the_next_started)


async def test_the_number_of_jobs_of_a_user_is_limited(tmp_path: Path) -> None:
    async with house(tmp_path, jobs_per_user=1) as home:
        await home.add(URL, options=SLOW)
        with pytest.raises(LimitExceeded):
            await home.add(URL + "2", options=SLOW)


async def test_too_large_a_download_fails_saying_so(tmp_path: Path) -> None:
    async with house(tmp_path, max_download_size=Bytes(1000)) as home:
        job = await home.until_state(await home.add(URL, options={"size": "5000", "rate": "1000"}), FAILED)
        assert job.error is not None
        assert job.error.code is FailureCode.TOO_LARGE


async def test_kill_9_and_start_again_goes_on(tmp_path: Path) -> None:
    async with house(tmp_path) as home:
        views = [await home.add(f"{URL}{n}", options={"size": "60000", "rate": "30000"}) for n in range(3)]
        await home.until_state(views[0], ACTIVE, DONE)
        await home.crash()
        await home.start()
        for view in views:
            await home.until_state(view, DONE)
        assert len(home.directories()) == 3


async def test_an_engine_that_forgets_is_told_again(tmp_path: Path) -> None:
    async with house(tmp_path) as home:
        view = await home.add(
            URL, options={"size": "30000", "rate": "20000", "crash": "true", "fail-at": "40", "fail-times": "1"}
        )
        await home.until_state(view, DONE)


async def test_one_call_names_a_bounded_number_of_jobs(tmp_path: Path) -> None:
    async with house(tmp_path, queue_paused=True) as home:
        view = await home.add(URL)
        for ids in (["1-9999,1-9999"], ["1-9999"] * 2, ["1"] * 10_001, ["1-999999999"]):
            with pytest.raises(InvalidArgument, match="more than 10000 jobs"):
                await home.core.jobs.pick(home.admin, ids)
        with pytest.raises(InvalidArgument, match="more than 10000 jobs"):
            await home.core.jobs.get(home.admin, "1-9999,1-9999")
        picked = await home.core.jobs.pick(home.admin, ["1-9000", "1,1"])
        assert [one.job and one.job.id for one in picked] == [view.job.id] * 2


async def test_a_stranger_sees_and_touches_nothing(tmp_path: Path) -> None:
    async with house(tmp_path) as home:
        maya = await home.user("maya")
        view = await home.add(URL, options={"size": "5000"})
        service = home.core.downloads
        for call in (
            home.core.jobs.get(maya, str(view.job.number)),
            home.core.job_files.files(maya, str(view.job.number), offset=0, limit=10),
            service.pause(maya, view.job.id),
            service.cancel(maya, view.job.id),
            service.remove(maya, view.job.id, keep_data=False),
            service.set(maya, view.job.id, ["name=x"]),
        ):
            with pytest.raises(NotFound):
                await call
        picked = await home.core.jobs.pick(maya, [str(view.job.number), "999"])
        assert [type(found.error) for found in picked] == [NotFound, NotFound]
        page = await home.core.jobs.page(maya, filter="", sort="", offset=0, limit=10, include_old=True)
        assert page.total == 0


async def test_dry_runs_change_nothing(tmp_path: Path) -> None:
    async with house(tmp_path) as home:
        view = await home.core.downloads.add(
            home.admin, AddOrder(source=URL, engine="simulated", options=SLOW), dry_run=True
        )
        assert view.job.number == 1
        real = await home.add(URL, options=SLOW)
        assert real.job.number == 1
        await home.core.downloads.remove(home.admin, real.job.id, keep_data=False, dry_run=True)
        await home.core.downloads.cancel(home.admin, real.job.id, dry_run=True)
        assert (await home.job(real)).state is not CANCELLED  # type: ignore[union-attr]


async def test_finished_jobs_refuse_what_makes_no_sense(tmp_path: Path) -> None:
    async with house(tmp_path) as home:
        view = await home.add(URL, options={"size": "10"})
        await home.until_state(view, DONE)
        service = home.core.downloads
        for call in (
            service.pause(home.admin, view.job.id),
            service.cancel(home.admin, view.job.id),
            service.retry(home.admin, view.job.id),
        ):
            with pytest.raises(WrongState):
                await call


WAITS = {"size": "50000", "fail-at": "60", "fail-times": "1", "fail-code": "ORIGIN_BUSY", "fail-retry": "passing"}


async def test_a_job_that_waits_for_its_next_try_can_be_hurried(tmp_path: Path) -> None:
    async with house(tmp_path, retry_wait=Seconds(3600), retry_wait_max=Seconds(3600)) as home:
        view = await home.add(URL, options=WAITS)
        await home.until_job(lambda job: job.reason is not None and job.reason.retry_at is not None, view)
        retry = home.core.downloads.retry
        with pytest.raises(WrongState) as refused:
            await retry(home.admin, view.job.id)
        assert refused.value.hint.startswith(f"odctl retry --now {view.job.number}")
        with pytest.raises(WrongState):
            await retry(home.admin, view.job.id, now=True, options={"rate": "5"})
        await retry(home.admin, view.job.id, now=True)
        await home.until_state(view, DONE)


async def test_retry_says_what_helps_a_job_that_has_not_ended(tmp_path: Path) -> None:
    async with house(tmp_path, per_user=1) as home:
        running = await home.add(URL, options=SLOW)
        await home.until_state(running, ACTIVE)
        waiting, paused = [await home.add(f"{URL}{number}", options=SLOW) for number in range(2)]
        await home.core.downloads.pause(home.admin, paused.job.id)
        for view, hint in ((running, ""), (waiting, "odctl show 2 says why"), (paused, "odctl resume 3")):
            for now in (False, True):
                with pytest.raises(WrongState) as refused:
                    await home.core.downloads.retry(home.admin, view.job.id, now=now)
                assert refused.value.hint == hint


async def test_a_job_moved_to_the_top_starts_next(tmp_path: Path) -> None:
    async with house(tmp_path, per_user=1) as home:
        running = await home.add(URL, options=SLOW)
        await home.until_state(running, ACTIVE)
        first, second, third = [await home.add(f"{URL}{n}", options=SLOW, priority=n % 2) for n in range(3)]
        await home.until_job(lambda job: job.entry_id is not None, third)
        await home.core.downloads.set(home.admin, third.job.id, ["position=top", "tags+=tv"])
        await home.core.downloads.cancel(home.admin, running.job.id)
        assert (await home.until_state(third, ACTIVE)).tags == ("tv",)
        for view in (first, second):
            with pytest.raises(InvalidArgument):
                await home.core.downloads.set(home.admin, view.job.id, ["position=3"])


async def test_the_seed_ratio_is_an_option_of_what_has_not_started(tmp_path: Path) -> None:
    async with house(tmp_path, per_user=1) as home:
        running = await home.add(URL, options=SLOW)
        await home.until_state(running, ACTIVE)
        waiting = await home.add(f"{URL}2", options=SLOW)
        with pytest.raises(WrongState, match="active"):
            await home.core.downloads.set(home.admin, running.job.id, ["seed_ratio=2"])
        with pytest.raises(InvalidOption):
            # this engine seeds nothing
            await home.core.downloads.set(home.admin, waiting.job.id, ["name=x", "seed_ratio=2"])
        changed = await home.core.downloads.set(home.admin, waiting.job.id, ["seed_ratio=none", "name=y"])
        assert changed.job.name == "y"


async def test_a_paused_queue_says_so_and_goes_on(tmp_path: Path) -> None:
    async with house(tmp_path, queue_paused=True) as home:
        view = await home.add(URL, options={"size": "10"})

        async def reason() -> str | None:
            shown = (await home.core.jobs.get(home.admin, str(view.job.number))).job.reason
            return None if shown is None else shown.code

        async def paused() -> bool:
            return await reason() == ReasonCode.QUEUE_PAUSED

        await until(paused)
        home.limits = replace(home.limits, queue_paused=limits_of(Settings()).queue_paused)
        home.core.reconciler.wake()
        await home.until_state(view, DONE)
    assert limits_of(Settings.model_validate({"scheduler": {"paused": True}})).queue_paused


async def test_nodes_that_there_are_not_and_labels_that_none_can_have_are_refused(tmp_path: Path) -> None:
    async with house(tmp_path) as home:
        await until(lambda: bool(home.core.board.nodes))
        for bad in ({"": "yes"}, {"gpu": "y" * 600}, {str(number): "" for number in range(101)}):
            with pytest.raises(InvalidArgument, match="labels"):
                await home.add(URL, node_labels=bad)
        with pytest.raises(InvalidArgument, match="nowhere") as told:
            await home.add(URL, node="nowhere")
        assert HERE in told.value.hint
        node = home.core.board.nodes[HERE]
        assert replace(node, labels={"gpu": "yes", "room": "attic"}).has({"gpu": "yes"})
        assert not replace(node, labels={"gpu": "no"}).has({"gpu": "yes"})
        probe = home.core.prober.probe
        asked: dict[str, Any] = {"torrent": None, "engine": "simulated", "options": {}, "deadline": Seconds(9)}
        assert (await probe(home.admin, URL, **asked, on=HERE)).would_run_on == HERE
        with pytest.raises(InvalidArgument, match="nowhere"):
            await probe(home.admin, URL, **asked, on=NodeId("nowhere"))
        # which machines there are is no business of others
        bob = await home.user("bob")
        with pytest.raises(InvalidArgument, match="there is no node 'nowhere'") as untold:
            await home.add(URL, bob, node="nowhere")
        assert not untold.value.hint
        with pytest.raises(InvalidArgument) as untold:
            await probe(bob, URL, **asked, on=NodeId("nowhere"))
        assert not untold.value.hint


async def test_a_job_wants_at_least_one_file(tmp_path: Path) -> None:
    async with house(tmp_path) as home:
        with pytest.raises(InvalidSelection, match="at least one"):
            await home.add(URL, files="none")
        unknown = await home.add(URL, options={**SLOW, "delay-metadata": "600"})
        known = await home.add(f"{URL}2", options={**SLOW, "files": "2"})
        await home.until_job(lambda job: job.files_total == 2, known)
        for view in (unknown, known):
            with pytest.raises(InvalidSelection, match="at least one") as refused:
                await home.core.job_files.select(home.admin, str(view.job.number), "none")
            assert f"odctl pause {view.job.number}" in refused.value.hint
            assert (await home.job(view)).selection == "all"  # type: ignore[union-attr]


async def test_what_the_engine_says_is_told_of_what_runs(tmp_path: Path) -> None:
    async with house(tmp_path, per_user=1) as home:
        running = await home.add(URL, options=SLOW)
        await home.until_state(running, ACTIVE)
        waiting = await home.add(f"{URL}2", options=SLOW)
        raw = home.core.reports.raw

        async def said() -> bool:
            return "rate" in await raw(home.admin, str(running.job.number))

        await until(said)
        assert await raw(home.admin, str(waiting.job.number)) == {}
        with pytest.raises(NotFound):
            await raw(await home.user("maya"), str(running.job.number))


async def test_a_list_is_sorted_by_what_runs_now(tmp_path: Path) -> None:
    async with house(tmp_path, per_user=2) as home:
        for rate in ("1000", "90000"):
            view = await home.add(f"{URL}{rate}", options={"size": "9000000", "rate": rate})
            await home.until_state(view, ACTIVE)
        await home.add(f"{URL}waits", options={"size": "9000000", "rate": "5"})

        async def order(sort: str) -> list[int]:
            page = await home.core.jobs.page(home.admin, filter="", sort=sort, offset=0, limit=9, include_old=True)
            assert len(page.rows) == 3
            return [view.job.number for view in page.rows]

        async def fastest_first() -> bool:
            return await order("!rate_down,!size") == [2, 1, 3] and await order("rate_down") == [1, 2, 3]

        await until(fastest_first)


async def test_selection_grows_without_reopening_others(tmp_path: Path) -> None:
    async with house(tmp_path) as home:
        maya = await home.user("maya")
        options = {"size": "9000", "files": "3"}
        mine = await home.add(URL, files="1", options=options)
        await home.until_state(mine, DONE)
        (replica,) = await home.replicas()
        assert len(home.storage.walk(replica.id)) == 1
        theirs = await home.add(URL, maya, files="2,3", options=options)
        job = await home.until_state(theirs, DONE)
        assert not job.cache_hit
        assert job.files_selected == 2
        assert (await home.job(mine)).state is DONE  # type: ignore[union-attr]
        assert len(home.storage.walk(replica.id)) == 3


async def test_a_selection_that_names_nothing_fails_saying_so(tmp_path: Path) -> None:
    async with house(tmp_path) as home:
        job = await home.until_state(await home.add(URL, files="*.mkv", options={"size": "9000", "files": "3"}), FAILED)
        assert job.error is not None
        assert job.error.code is FailureCode.BAD_SELECTION


async def test_force_fetches_a_new_generation_and_keeps_the_old_for_its_claimants(tmp_path: Path) -> None:
    async with house(tmp_path) as home:
        first = await home.add(URL, options={"size": "5000"})
        await home.until_state(first, DONE)
        forced = await home.add(URL, force=True, options={"size": "5000"})
        job = await home.until_state(forced, DONE)
        old = await home.job(first)
        assert old is not None
        assert job.entry_id != old.entry_id
        assert len(home.directories()) == 2
        third = await home.add(URL, options={"size": "5000"})
        assert (await home.until_state(third, DONE)).entry_id == job.entry_id


async def test_a_checksum_is_verified_per_job(tmp_path: Path) -> None:
    async with house(tmp_path) as home:
        wrong = await home.add(URL, checksum="sha256=" + "0" * 64, options={"size": "5000"})
        job = await home.until_state(wrong, FAILED)
        assert job.error is not None
        assert job.error.code is FailureCode.CHECKSUM


async def test_the_reserve_holds_two_that_fit_only_alone(tmp_path: Path) -> None:
    async with house(tmp_path) as home:
        free = home.storage.usage().free
        # in shares of the disk: others write to it, too
        home.limits = type(home.limits)(min_disk_free=Bytes(free * 94 // 100), resume_free=Bytes(1))
        big = {"size": str(free * 5 // 100), "rate": "1000"}
        one, two = await home.add(URL + "1", options=big), await home.add(URL + "2", options=big)

        async def one_waits_for_the_other() -> bool:
            jobs = [(await home.core.jobs.get(home.admin, str(view.job.number))).job for view in (one, two)]
            why = [job.reason.code for job in jobs if job.state is QUEUED and job.reason is not None]
            return why == [ReasonCode.WAITING_FOR_SPACE] and ACTIVE in [job.state for job in jobs]

        await until(one_waits_for_the_other)


async def test_a_full_disk_holds_what_runs_and_lets_it_go_on(tmp_path: Path) -> None:
    async with house(tmp_path) as home:
        view = await home.add(URL, options={"size": "60000", "rate": "20000"})
        await home.until_state(view, ACTIVE)
        before = home.limits
        home.limits = type(before)(min_disk_free=Bytes(1 << 60), resume_free=Bytes(1))
        job = await home.until_job(lambda job: job.hold is Hold.DISK, view)
        assert job.state is QUEUED
        assert job.reason is not None
        assert job.reason.code is ReasonCode.NO_SPACE
        home.limits = before
        await home.until_state(view, DONE)


async def test_a_stalled_one_yields_its_slot_and_ends_after_the_limit(tmp_path: Path) -> None:
    async with house(tmp_path, per_user=1, stall_yield=Seconds(0.3)) as home:
        stalled = await home.add(
            URL + "1", options={"size": "5000", "rate": "1000", "stall": "true", "fail-at": "20", "seeders": "0"}
        )
        await home.until_state(stalled, ACTIVE)
        other = await home.add(URL + "2", options={"size": "5000"})
        await home.until_state(other, DONE)


async def test_two_private_users_never_share(tmp_path: Path) -> None:
    async with house(tmp_path) as home:
        maya = await home.user("maya")
        options = {"size": "5000", "password": "hunter2"}
        mine, theirs = await home.add(URL, options=options), await home.add(URL, maya, options=options)
        one, two = await home.until_state(mine, DONE), await home.until_state(theirs, DONE)
        assert one.entry_id != two.entry_id
        assert not two.cache_hit
        assert len(home.directories()) == 2


async def test_not_one_byte_for_too_long_ends_it(tmp_path: Path) -> None:
    async with house(tmp_path, no_progress_timeout=Seconds(0.5), stall_yield=Seconds(0.1)) as home:
        options = {"size": "5000", "rate": "1000", "stall": "true", "fail-at": "0", "seeders": "0"}
        job = await home.until_state(await home.add(URL, options=options), FAILED)
        assert job.error is not None
        assert job.error.code is FailureCode.NO_PROGRESS


async def test_each_job_shows_its_own_selections_progress(tmp_path: Path) -> None:
    async with house(tmp_path) as home:
        options = {"size": "300000", "files": "3", "rate": "20000"}
        mine = await home.add(URL, files="1", options=options)
        theirs = await home.add(URL, await home.user("maya"), files="all", options=options)

        async def apart() -> bool:
            page = await home.core.jobs.page(home.admin, filter="", sort="", offset=0, limit=9, include_old=True)
            sizes = {view.job.number: view.job.size for view in page.rows}
            return sizes == {mine.job.number: 100_000, theirs.job.number: 300_000}

        await until(apart)


async def test_a_directory_that_nobody_owns_is_told_of_and_left_alone(tmp_path: Path) -> None:
    async with house(tmp_path) as home:
        await home.crash()
        stray = tmp_path / "downloads" / str(uuid4())
        stray.mkdir()
        (stray / "film.mkv").write_bytes(b"x")
        await home.start()
        await until(lambda: home.core.board.strays == {HERE: 1})
        assert (stray / "film.mkv").exists()


async def test_every_waiting_job_says_why(tmp_path: Path) -> None:
    async with house(tmp_path, per_user=1) as home:
        for number in range(4):
            await home.add(f"{URL}{number}", options=SLOW)
            page = await home.core.jobs.page(home.admin, filter="", sort="", offset=0, limit=9, include_old=True)
            assert all(view.job.reason is not None for view in page.rows if view.job.state is QUEUED)


async def test_the_loosest_speed_limit_wins_and_may_change_while_it_runs(tmp_path: Path) -> None:
    async with house(tmp_path) as home:
        maya = await home.user("maya")
        options = {"size": "1000000", "rate": "500000"}
        mine = await home.add(URL, options=options, max_rate_down=1000)
        await home.until_state(mine, ACTIVE)
        theirs = await home.add(URL, maya, options=options, max_rate_down=2000)
        await home.until_state(theirs, ACTIVE)
        (replica,) = await home.replicas()
        rates = home.core.reconciler.planner.filler.told.rates
        await until(lambda: rates.get(replica.id) == (2000, None))
        await home.core.downloads.set(maya, theirs.job.id, ["rate_down=none"])
        await until(lambda: rates.get(replica.id) == (None, None))
        await home.until_state(mine, DONE)


async def test_news_of_an_engine_are_not_left_waiting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reconciler, "POLL_AT_MOST", Seconds(600))
    monkeypatch.setattr(reconciler, "POLL_AT_LEAST", Seconds(600))
    async with house(tmp_path) as home:
        view = await home.add(URL, options={"size": "1000", "rate": "2000"})
        await home.until_state(view, ACTIVE)

        async def over() -> bool:
            found = (await home.agent.statuses()).statuses.values()
            return any(status.state is FillState.COMPLETE for status in found)

        await until(over)
        monkeypatch.setattr(reconciler, "NEWS_SHARE", 600)
        home.core.reconciler.news()
        await home.until_state(view, DONE)


async def test_a_resumed_job_does_not_say_that_it_is_paused(tmp_path: Path) -> None:
    async with house(tmp_path) as home:
        view = await home.add(URL, options=SLOW, paused=True)
        await until(lambda: view.job.id in home.core.board.reasons, what="the plan that notes the pause")
        resumed = await home.core.downloads.resume(home.admin, view.job.id)
        assert resumed.job.reason is None or resumed.job.reason.code is not ReasonCode.PAUSED


async def test_a_pause_between_the_plan_and_the_start_holds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with house(tmp_path) as home:
        prepare, held = Filler.prepare, asyncio.Event()

        async def late(self: Filler, starts: Sequence[Start], active: Set[JobId]) -> list[Prepared]:
            if not held.is_set():
                (job_id,) = active
                await home.core.downloads.pause(home.admin, job_id)
                held.set()
            return await prepare(self, starts, active)

        monkeypatch.setattr(Filler, "prepare", late)
        view = await home.add(URL, options={"size": "1000000", "rate": "1000"})
        await until(held.is_set)
        await until(lambda: home.core.reconciler.view.replicas)
        job = await home.job(view)
        assert job is not None
        assert (job.state, job.hold) == (JobState.QUEUED, Hold.USER)
