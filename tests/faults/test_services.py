"""More ways to make a job complete without its files, lose a claim or pass a limit, over the scripted engine."""

from __future__ import annotations

import asyncio
import hashlib
import random
import threading
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from oddaemon.domain.cache import ReplicaState
from oddaemon.domain.errors import LimitExceeded, OpenDebridError
from oddaemon.domain.failure import FailureCode, ReasonCode
from oddaemon.domain.job import JobState
from oddaemon.domain.types import Seconds
from oddaemon.engines.simulated.script import file_bytes, read_script
from oddaemon.services.views import JobView
from oddaemon.storage.local import LocalStorage
from tests.support.core import House, house
from tests.support.wait import until

DATABASES = ("sqlite", "postgresql")

URL = "http://sim.invalid/file.bin"
MAGNET = "magnet:?xt=urn:btih:" + "cd" * 20
DONE, QUEUED, ACTIVE, FAILED = JobState.COMPLETED, JobState.QUEUED, JobState.ACTIVE, JobState.FAILED
THREE = {"size": "9000", "files": "3"}


async def lose(home: House, index: int) -> None:
    """Deletes a file behind the daemon's back."""
    (replica,) = await home.replicas()
    stored = home.storage.walk(replica.id)
    (home.folder / "downloads" / str(replica.id) / stored[index].path).unlink()


async def all_there(home: House) -> bool:
    (replica,) = await home.replicas()
    files = await home.store.read(lambda tx: tx.cache.files(replica.entry_id))
    on_disk = {file.path: file.size for file in home.storage.walk(replica.id)}
    return all(on_disk.get(file.disk_path) == file.size for file in files if file.ready)


async def test_a_retry_looks_at_the_disk_before_it_completes(tmp_path: Path) -> None:
    async with house(tmp_path) as home:
        await home.until_state(await home.add(MAGNET, options=THREE), DONE)
        none = await home.add(MAGNET, await home.user("maya"), files="1", options=THREE)
        await home.until_state(none, DONE)
        picky = await home.add(MAGNET, files="2", checksum="sha256=" + "0" * 64, options=THREE)
        await home.until_state(picky, FAILED)
        nothing = await home.add(MAGNET, files="*.mkv", options=THREE)
        await home.until_state(nothing, FAILED)
        await lose(home, 1)
        await home.core.job_files.select(home.admin, str(nothing.job.number), "2")
        await home.core.downloads.retry(home.admin, nothing.job.id)
        await home.until_state(nothing, DONE)
        assert await all_there(home)


async def test_a_selection_that_grows_by_what_is_gone_fetches_it(tmp_path: Path) -> None:
    async with house(tmp_path) as home:
        mine = await home.add(MAGNET, files="1", options=THREE)
        await home.until_state(mine, DONE)
        theirs = await home.add(MAGNET, await home.user("maya"), options=THREE)
        await home.until_state(theirs, DONE)
        await lose(home, 2)
        await home.core.job_files.select(home.admin, str(mine.job.number), "1,3")
        await home.until_state(mine, DONE)
        assert await all_there(home)


async def test_growing_that_fails_leaves_what_others_have(tmp_path: Path) -> None:
    async with house(tmp_path) as home:
        options = THREE | {"fail-at": "50", "fail-code": "ORIGIN_GONE"}
        mine = await home.add(MAGNET, files="1", options=THREE)
        await home.until_state(mine, DONE)
        theirs = await home.add(MAGNET, await home.user("maya"), options=options)
        await home.until_state(theirs, FAILED, DONE)
        job = await home.job(mine)
        assert job is not None
        assert job.state is DONE
        assert await all_there(home)
        again = await home.add(MAGNET, files="1", options=THREE)
        assert (await home.until_state(again, DONE)).cache_hit


@pytest.mark.parametrize("wish", ["rm", "cancel", "pause"])
async def test_a_wish_while_the_key_is_looked_for(tmp_path: Path, wish: str) -> None:
    async with house(tmp_path) as home:
        view = await home.add(URL, options={"size": "5000", "delay-key": "500ms"})
        service = home.core.downloads
        if wish == "rm":
            await service.remove(home.admin, view.job.id, keep_data=False)
        elif wish == "cancel":
            await service.cancel(home.admin, view.job.id)
        else:
            await service.pause(home.admin, view.job.id)
        witness = await home.add(URL + "2", options={"size": "5000", "delay-key": "700ms"})
        await home.until_state(witness, DONE)
        job = await home.job(view)
        if wish == "rm":
            assert job is None
        else:
            assert job is not None
            assert job.state is (QUEUED if wish == "pause" else JobState.CANCELLED)
        assert len(home.directories()) == 1
        if wish == "pause":
            await service.resume(home.admin, view.job.id)
            await home.until_state(view, DONE)


async def test_adds_at_once_do_not_pass_the_limit_of_jobs(tmp_path: Path) -> None:
    async with house(tmp_path, jobs_per_user=5) as home:
        slow = {"size": "100000", "rate": "1000"}
        results = await asyncio.gather(
            *(home.add(f"{URL}{n}", options=slow) for n in range(20)), return_exceptions=True
        )
        assert Counter(type(result) for result in results)[LimitExceeded] == 15


async def test_attempts_are_counted_through_crashes(tmp_path: Path) -> None:
    async with house(tmp_path, retries=3) as home:
        options = {"size": "5000", "fail-at": "0", "fail-code": "TIMEOUT", "fail-retry": "passing"}
        view = await home.add(URL, options=options)

        async def attempts() -> int:
            return max((replica.attempts for replica in await home.replicas()), default=0)

        await until(lambda: attempts())
        seen = await attempts()
        await home.crash()
        await home.start()
        job = await home.until_state(view, FAILED)
        assert job.error is not None
        assert job.error.code is FailureCode.TIMEOUT
        (replica,) = await home.replicas()
        assert seen < replica.attempts == 4


@pytest.mark.parametrize("lie", ["short", "long"])
async def test_a_lying_engine_never_completes_a_joiner(tmp_path: Path, lie: str) -> None:
    async with house(tmp_path, retries=1) as home:
        options = {"size": "5000", "rate": "10000", lie: "7"}
        views = [await home.add(URL, options=options) for _ in range(3)]
        for view in views:
            assert (await home.until_state(view, FAILED, DONE)).state is FAILED
        assert not [event for event in home.events if event.type == "job.completed"]


async def test_clean_up_and_cache_rm_never_take_what_is_claimed(tmp_path: Path) -> None:
    async with house(tmp_path) as home:
        rng = random.Random(3)
        views = [await home.add(f"{URL}{n}", options={"size": "5000", "rate": "9000"}) for n in range(6)]
        for view in views[:3]:
            await home.core.downloads.remove(home.admin, view.job.id, keep_data=rng.random() < 0.5)
        entries = await home.store.read(lambda tx: tx.cache.claimless())
        for entry in entries:
            jobs = await home.store.read(lambda tx, e=entry: tx.jobs.of_entry(e.id))  # type: ignore[misc]
            assert not jobs
        for view in views[3:]:
            await home.until_state(view, DONE)
        await until(lambda: len(home.directories()) == 3)


async def test_a_crash_at_every_step_of_a_removal_and_an_add(tmp_path: Path) -> None:
    rng = random.Random(11)
    async with house(tmp_path) as home:
        for _ in range(12):
            view = await home.add(URL, options={"size": "3000", "rate": "30000"})
            await asyncio.sleep(rng.random() * 0.15)  # the moment is what is random here
            await home.core.downloads.remove(home.admin, view.job.id, keep_data=False)
            again = await home.add(URL, options={"size": "3000", "rate": "30000"})
            await asyncio.sleep(rng.random() * 0.05)  # the moment is what is random here
            await home.crash()
            await home.start()
            job = await home.until_state(again, DONE)
            assert job.size == 3000
            await until(lambda: len(home.directories()) == 1)
            replicas = await home.replicas()
            assert [replica.state for replica in replicas] == [ReplicaState.READY]
            await home.core.downloads.remove(home.admin, again.job.id, keep_data=False)


async def test_wishes_of_two_users_in_every_order_at_once_never_deadlock(tmp_path: Path) -> None:
    async with house(tmp_path) as home:
        maya = await home.user("maya")
        options = {"size": "20000", "rate": "20000", "files": "2"}
        mine, theirs = await home.add(MAGNET, options=options), await home.add(MAGNET, maya, options=options)
        service = home.core.downloads

        async def try_(call: object) -> None:
            try:
                await call  # type: ignore[misc]
            except OpenDebridError:
                return

        for _ in range(10):
            await asyncio.gather(
                *(try_(service.pause(who, view.job.id)) for who, view in ((home.admin, mine), (maya, theirs))),
                *(try_(service.resume(who, view.job.id)) for who, view in ((home.admin, mine), (maya, theirs))),
                try_(home.core.job_files.select(home.admin, str(mine.job.number), "1")),
                try_(service.cancel(maya, theirs.job.id)),
                try_(service.retry(maya, theirs.job.id)),
            )
        await try_(service.resume(home.admin, mine.job.id))
        await try_(service.resume(maya, theirs.job.id))
        job = await home.until_state(theirs, DONE, JobState.CANCELLED)
        if job.state is JobState.CANCELLED:
            await service.retry(maya, theirs.job.id)
        await home.until_state(theirs, DONE)
        await home.until_state(mine, DONE)
        await until(lambda: len(home.directories()) == 1)


@pytest.mark.parametrize("wish", ["rm", "cancel", "pause", "pause and resume", "rm and add"])
async def test_a_wish_while_the_engine_is_being_told(tmp_path: Path, wish: str) -> None:
    async with house(tmp_path) as home:
        options = {"size": "5000", "rate": "20000", "delay-add": "600ms"}
        view = await home.add(MAGNET, options=options)

        async def told() -> bool:
            return any(replica.state is ReplicaState.FILLING for replica in await home.replicas())

        await until(told)
        service, again = home.core.downloads, None
        if wish.startswith("rm"):
            await service.remove(home.admin, view.job.id, keep_data=False)
        elif wish == "cancel":
            await service.cancel(home.admin, view.job.id)
        else:
            await service.pause(home.admin, view.job.id)
        if wish == "pause and resume":
            await service.resume(home.admin, view.job.id)
            await home.until_state(view, DONE)
        elif wish == "rm and add":
            again = await home.add(MAGNET, options=options)
            await home.until_state(again, DONE)
            await until(lambda: len(home.directories()) == 1)
        elif wish == "pause":

            async def rests() -> bool:
                (replica,) = await home.replicas()
                return replica.state is ReplicaState.PAUSED

            await until(rests)
            job = await home.job(view)
            assert job is not None
            assert job.state is QUEUED
        else:

            async def gone() -> bool:
                return not home.directories() and not await home.replicas()

            await until(gone)


@pytest.mark.parametrize("moment", [0.05, 0.3, 0.5, 0.9])
async def test_the_engine_crashes_while_several_claims_change(tmp_path: Path, moment: float) -> None:
    async with house(tmp_path) as home:
        maya = await home.user("maya")
        options = {"size": "20000", "rate": "20000", "files": "4", "crash": "true", "fail-at": "40", "fail-times": "1"}
        mine = await home.add(MAGNET, options=options, files="1-2")
        theirs = await home.add(MAGNET, maya, options=options, files="2-4")
        await home.until_state(mine, ACTIVE)
        await asyncio.sleep(moment)  # the moment is the point here
        await home.core.job_files.select(home.admin, str(mine.job.number), "1")
        await home.core.downloads.pause(maya, theirs.job.id)
        await home.until_state(mine, DONE)
        await home.core.downloads.resume(maya, theirs.job.id)
        job = await home.until_state(theirs, DONE)
        assert job.files_selected == 3
        assert await all_there(home)


async def test_sources_that_hang_do_not_starve_the_others(tmp_path: Path) -> None:
    async with house(tmp_path, per_user=0, retries=50) as home:
        maya = await home.user("maya")
        hanging = [await home.add(f"{URL}{n}", options={"size": "1000", "delay-key": "2"}) for n in range(12)]
        view = await home.add(URL + "-good", maya, options={"size": "1000"})
        await home.until_state(view, DONE)
        # it waits for those that are being asked already, not for all
        resolved = [job for other in hanging if (job := await home.job(other)) is not None and job.entry_id is not None]
        assert len(resolved) <= 8


class SlowDigest:
    """A checksum of a very large file."""

    go_on = threading.Event()

    def update(self, _: bytes) -> None:
        SlowDigest.go_on.wait(20)

    def hexdigest(self) -> str:
        return "0" * 64


async def test_checksums_of_large_files_hold_up_no_add(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with house(tmp_path, per_user=0, per_node=0) as home:
        await home.until_state(await home.add(MAGNET, options=THREE), DONE)
        monkeypatch.setattr("oddaemon.services.node_agent.hashlib.new", lambda *_, **__: SlowDigest())
        SlowDigest.go_on.clear()
        try:
            views = [
                await home.add(f"magnet:?xt=urn:btih:{n:040x}", checksum="sha256=" + "0" * 64, options={"size": "5000"})
                for n in range(40)
            ]
            await until(lambda: len(home.directories()) == 41)
            async with asyncio.timeout(60):
                hit = await home.add(MAGNET, options=THREE)
                await home.until_state(hit, DONE)
                other = await home.add(URL, options={"size": "5000"})
                await home.until_state(other, DONE)
        finally:
            SlowDigest.go_on.set()
        for view in views:
            await home.until_state(view, DONE)


async def test_a_checksum_of_what_is_ready_already_holds_up_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with house(tmp_path) as home:
        await home.until_state(await home.add(MAGNET, options=THREE), DONE)
        monkeypatch.setattr("oddaemon.services.node_agent.hashlib.new", lambda *_, **__: SlowDigest())
        SlowDigest.go_on.clear()
        try:
            late = await home.add(MAGNET, files="1", checksum="sha256=" + "0" * 64, options=THREE)
            await until(lambda: "checksum" in _reason(home, late))
            other = await home.add(URL, options={"size": "5000"})
            await home.until_state(other, DONE)
        finally:
            SlowDigest.go_on.set()
        await home.until_state(late, DONE)
        assert len(home.directories()) == 2


def _reason(home: House, view: JobView) -> str:
    reason = home.core.board.reasons.get(view.job.id)
    return reason.message if reason is not None else ""


async def test_a_checksum_of_a_file_that_is_not_there_yet_waits_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    emptied: list[object] = []
    monkeypatch.setattr(LocalStorage, "empty", lambda _, replica_id: emptied.append(replica_id))
    async with house(tmp_path) as home:
        mine = await home.add(MAGNET, files="1", options=THREE)
        await home.until_state(mine, DONE)
        digest = hashlib.sha256(file_bytes(MAGNET, read_script(THREE), 2)).hexdigest()
        theirs = await home.add(MAGNET, files="2", checksum=f"sha256={digest}", options=THREE)
        job = await home.until_state(theirs, DONE, FAILED)
        assert job.state is DONE, job.error
        assert emptied == []
        assert len(home.directories()) == 1
        assert len([event for event in home.events if event.type == "job.completed" and event.job_number == 1]) == 1


# ── limits ───────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_the_limit_of_a_node_holds_over_all_users(tmp_path: Path) -> None:
    async with house(tmp_path, per_user=10, per_node=2) as home:
        slow = {"size": "100000", "rate": "1000"}
        people = [home.admin, await home.user("maya"), await home.user("noor")]
        views = [await home.add(f"{URL}{n}", people[n % 3], options=slow) for n in range(6)]

        async def waiting_says_so() -> bool:
            reasons = [home.core.board.reasons.get(view.job.id) for view in views]
            return sum(reason is not None and reason.code is ReasonCode.NODE_LIMIT for reason in reasons) == 4

        await until(waiting_says_so)

        async def two_run() -> bool:
            counts = Counter(await home.store.read(lambda tx: tx.jobs.count_by_state()))
            assert counts[ACTIVE] <= 2
            return counts[ACTIVE] == 2

        await until(two_run)


async def test_users_are_served_in_turn(tmp_path: Path) -> None:
    async with house(tmp_path, per_user=1, per_node=1, queue_paused=True) as home:
        maya = await home.user("maya")
        options = {"size": "1000", "rate": "10000"}
        greedy = [await home.add(f"{URL}{n}", options=options) for n in range(12)]
        late = await home.add(f"{URL}-late", maya, options=options)
        home.limits = replace(home.limits, queue_paused=False)
        home.core.reconciler.wake()
        await home.until_state(late, DONE)
        done = [job for view in greedy if (job := await home.job(view)) is not None and job.state is DONE]
        assert len(done) <= 6


async def test_retries_wait_longer_each_time_and_as_long_as_the_origin_asks(tmp_path: Path) -> None:
    async with house(tmp_path, retries=4, retry_wait=Seconds(0.1), retry_wait_max=Seconds(10)) as home:
        options = {"size": "5000", "fail-at": "0", "fail-code": "ORIGIN_BUSY", "fail-retry": "passing"}
        loop = asyncio.get_running_loop()
        began = loop.time()
        await home.until_state(await home.add(URL, options=options), FAILED)
        assert loop.time() - began > 0.1 + 0.2 + 0.4 + 0.8
        began = loop.time()
        patient = await home.add(URL + "2", options=options | {"retry-after": "2", "fail-times": "1"})
        await home.until_state(patient, DONE)
        assert loop.time() - began > 1.9


async def test_a_download_without_seeds_ends_after_the_no_progress_limit_also_when_it_yields(tmp_path: Path) -> None:
    async with house(tmp_path, per_user=1, stall_yield=Seconds(0.3), no_progress_timeout=Seconds(2)) as home:
        stalled = {"size": "5000", "rate": "1000", "stall": "true", "fail-at": "20", "seeders": "0"}
        views = [await home.add(f"magnet:?xt=urn:btih:{n:040x}", options=stalled) for n in range(2)]
        for view in views:
            job = await home.until_state(view, FAILED)
            assert job.error is not None
            assert job.error.code is FailureCode.NO_PROGRESS
        late = await home.add(URL, options={"size": "5000"})
        await home.until_state(late, DONE)
