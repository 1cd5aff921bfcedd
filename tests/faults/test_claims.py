"""Several jobs on one entry when things go wrong: orders of wishes, crashes in between, private torrents, clocks."""

from __future__ import annotations

import asyncio
import itertools
import random
from collections import Counter, defaultdict
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from oddaemon.app.system_clock import SystemClock
from oddaemon.domain.cache import ReplicaState
from oddaemon.domain.errors import OpenDebridError, WrongState
from oddaemon.domain.failure import ReasonCode
from oddaemon.domain.job import Hold, JobState
from oddaemon.domain.types import Bytes, Handle, Seconds
from oddaemon.domain.user import Principal
from oddaemon.ports.node_client import Dispatch
from oddaemon.services.node_agent import NodeAgent
from oddaemon.services.views import JobView
from oddaemon.storage.local import LocalStorage
from tests.support.core import House, house
from tests.support.wait import until

DATABASES = ("sqlite", "postgresql")

URL = "http://sim.invalid/file.bin"
MAGNET = "magnet:?xt=urn:btih:" + "ab" * 20
DONE, QUEUED, ACTIVE, FAILED, CANCELLED = (
    JobState.COMPLETED,
    JobState.QUEUED,
    JobState.ACTIVE,
    JobState.FAILED,
    JobState.CANCELLED,
)
SLOW = {"size": "1000000", "rate": "1000"}


class ShiftedClock(SystemClock):
    """The machine's time, set forward or back by somebody."""

    shift = timedelta()

    def now(self) -> datetime:
        return datetime.now(UTC) + ShiftedClock.shift


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> type[ShiftedClock]:
    monkeypatch.setattr("tests.support.core.SystemClock", ShiftedClock)
    monkeypatch.setattr(ShiftedClock, "shift", timedelta())
    return ShiftedClock


async def nothing_left(home: House) -> bool:
    def look(tx):  # type: ignore[no-untyped-def]
        return not tx.cache.all_replicas() and not tx.cache.claimless()

    return await home.store.read(look) and home.directories() == []


async def remove(home: House, view: JobView, who: Principal | None = None) -> None:
    await home.core.downloads.remove(who or home.admin, view.job.id, keep_data=False)


# ── private torrents ─────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_private_torrent_added_again_by_its_owner_is_no_second_download(tmp_path: Path) -> None:
    options = {"size": "5000", "private": "true", "delay-metadata": "100ms"}
    async with house(tmp_path) as home:
        first = await home.until_state(await home.add(MAGNET, options=options), DONE)
        again = await home.until_state(await home.add(MAGNET, options=options), DONE)
        assert again.entry_id == first.entry_id
        await until(lambda: len(home.directories()) == 1)
        assert first.cache_key is not None
        assert first.cache_key.endswith(f":@{home.admin.user_id}")


async def test_a_private_torrent_is_split_between_its_users_while_it_runs(tmp_path: Path) -> None:
    options = {"size": "20000", "rate": "20000", "private": "true", "delay-metadata": "500ms"}
    async with house(tmp_path) as home:
        maya, noor = await home.user("maya"), await home.user("noor")
        people = [home.admin, maya, noor, maya]
        views = [await home.add(MAGNET, who, options=options) for who in people]
        jobs = [await home.until_state(view, DONE) for view in views]
        entries: dict[object, set[object]] = defaultdict(set)
        for job in jobs:
            entries[job.entry_id].add(job.user_id)
            assert str(job.cache_key).endswith(f":@{job.user_id}")
        assert [len(users) for users in entries.values()] == [1, 1, 1]
        assert jobs[1].entry_id == jobs[3].entry_id
        await until(lambda: len(home.directories()) == 3)
        for view, who in zip(views, people, strict=True):
            await remove(home, view, who)
        await until(lambda: nothing_left(home))


async def test_trackers_of_joiners_unite_while_it_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[set[str]] = []
    dispatch = NodeAgent.dispatch

    async def noted(agent: NodeAgent, order: Dispatch) -> Handle:
        given.append(set(order.source.trackers))
        return await dispatch(agent, order)

    monkeypatch.setattr(NodeAgent, "dispatch", noted)
    one, two = "http://one.invalid/announce", "udp://two.invalid:80/"
    options = {"size": "20000", "rate": "10000"}
    async with house(tmp_path) as home:
        first = await home.add(MAGNET, options=options)
        await home.until_state(first, ACTIVE)
        joined = await home.add(f"{MAGNET}&tr={one}&tr={two}", options=options)
        await home.until_state(joined, ACTIVE)
        await until(lambda: given[-1] == {one, two}, what="the trackers to be used")
        await home.until_state(await home.add(f"{MAGNET}&tr={two}", options=options), ACTIVE)
        for view in (first, joined):
            await home.until_state(view, DONE)
        assert given == [set(), {one, two}], "nothing begins again for trackers that are known"


# ── checksums ────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_wrong_checksum_of_a_joiner_does_not_touch_files_that_others_have(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    emptied: list[object] = []
    monkeypatch.setattr(LocalStorage, "empty", lambda _, replica_id, keep: emptied.append(replica_id))
    options = {"size": "9000", "files": "3"}
    async with house(tmp_path) as home:
        maya = await home.user("maya")
        mine = await home.add(MAGNET, files="1", options=options)
        await home.until_state(mine, DONE)
        theirs = await home.add(MAGNET, maya, files="2", checksum="sha256=" + "0" * 64, options=options)
        job = await home.until_state(theirs, FAILED, DONE)
        assert job.state is FAILED
        assert emptied == []
        assert (await home.job(mine)).state is DONE  # type: ignore[union-attr]


async def test_a_wrong_checksum_on_kept_data_leaves_nothing_behind(tmp_path: Path) -> None:
    async with house(tmp_path) as home:
        view = await home.add(URL, options={"size": "5000"})
        await home.until_state(view, DONE)
        await home.core.downloads.remove(home.admin, view.job.id, keep_data=True)
        wrong = await home.add(URL, checksum="sha256=" + "0" * 64, options={"size": "5000"})
        await home.until_state(wrong, FAILED)
        await remove(home, wrong)
        await until(lambda: nothing_left(home))


async def test_a_joiner_with_a_wrong_checksum_fails_alone(tmp_path: Path) -> None:
    async with house(tmp_path) as home:
        maya = await home.user("maya")
        options = {"size": "20000", "rate": "40000"}
        good = await home.add(URL, options=options)
        bad = await home.add(URL, maya, checksum="sha256=" + "0" * 64, options=options)
        await home.until_state(good, DONE)
        assert (await home.until_state(bad, FAILED)).error is not None
        await remove(home, bad, maya)
        assert (await home.job(good)).state is DONE  # type: ignore[union-attr]
        await until(lambda: len(home.directories()) == 1)


# ── orders of wishes ─────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("wishes", list(itertools.permutations(["pause", "cancel", "rm", "select"], 2)), ids="-".join)
async def test_two_claimants_whatever_one_does_the_other_gets_its_files(
    tmp_path: Path, wishes: tuple[str, str]
) -> None:
    async with house(tmp_path) as home:
        maya = await home.user("maya")
        options = {"size": "40000", "rate": "40000", "files": "4"}
        mine = await home.add(MAGNET, options=options)
        theirs = await home.add(MAGNET, maya, files="1-2", options=options)
        await home.until_state(theirs, ACTIVE, DONE)  # a busy machine may look only when it is over
        service = home.core.downloads
        for wish in wishes:
            try:
                if wish == "pause":
                    await service.pause(home.admin, mine.job.id)
                elif wish == "cancel":
                    await service.cancel(home.admin, mine.job.id)
                elif wish == "rm":
                    await remove(home, mine)
                else:
                    await home.core.job_files.select(home.admin, str(mine.job.number), "3")
            except OpenDebridError:
                # a job that is gone, cancelled or complete with what it still wants refuses the rest
                ended = wishes[0] in {"rm", "cancel"} or (await home.job(mine)).state is DONE  # type: ignore[union-attr]
                assert ended, wishes
        job = await home.until_state(theirs, DONE)
        assert (job.files_selected, job.size) == (2, 20000)
        assert len(home.directories()) == 1
        await remove(home, theirs, maya)
        if wishes[-1] != "rm" and "rm" not in wishes:
            await remove(home, mine)
        await until(lambda: nothing_left(home))


async def test_a_selection_that_shrinks_to_what_is_there_completes(tmp_path: Path) -> None:
    async with house(tmp_path) as home:
        options = {"size": "200000", "files": "100", "rate": "4000"}  # 50 seconds for all of it
        view = await home.add(MAGNET, options=options)
        await home.until_state(view, ACTIVE)

        async def first_is_there() -> bool:
            page = await home.core.job_files.files(home.admin, str(view.job.number), offset=0, limit=10)
            return bool(page.rows) and page.rows[0].file.ready

        await until(first_is_there)
        await home.core.job_files.select(home.admin, str(view.job.number), "1")
        job = await home.until_state(view, DONE)
        assert job.size == 2000
        (replica,) = await home.replicas()
        assert home.storage.size_of(replica.id) < 100_000
        await home.core.job_files.select(home.admin, str(view.job.number), "1,4")
        job = await home.until_state(view, DONE)
        assert job.size == 4000


async def test_force_while_it_fills_joins_and_a_third_joins_too(tmp_path: Path) -> None:
    async with house(tmp_path) as home:
        options = {"size": "20000", "rate": "40000"}
        first = await home.add(URL, options=options)
        await home.until_state(first, ACTIVE)
        forced = [await home.add(URL, force=True, options=options) for _ in range(3)]
        jobs = [await home.until_state(view, DONE) for view in (first, *forced)]
        assert len({job.entry_id for job in jobs}) == 1
        again = [await home.add(URL, force=True, options=options) for _ in range(3)]
        later = [await home.until_state(view, DONE) for view in again]
        assert len({job.entry_id for job in later}) == 1
        assert later[0].entry_id != jobs[0].entry_id
        for view in (first, *forced, *again):
            await remove(home, view)
        await until(lambda: nothing_left(home))


async def test_a_forced_generation_that_fails_leaves_the_old_one_to_be_hit(tmp_path: Path) -> None:
    async with house(tmp_path) as home:
        first = await home.until_state(await home.add(URL, options={"size": "5000"}), DONE)
        bad = {"size": "5000", "fail-code": "ORIGIN_GONE"}
        failed = await home.add(URL, force=True, options=bad)
        await home.until_state(failed, FAILED)
        hit = await home.until_state(await home.add(URL, options={"size": "5000"}), DONE)
        assert (hit.entry_id, hit.cache_hit) == (first.entry_id, True)
        await remove(home, failed)
        await until(lambda: len(home.directories()) == 1)


# ── time ─────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_machine_that_was_off_for_longer_than_the_no_progress_limit_goes_on(
    tmp_path: Path, clock: type[ShiftedClock]
) -> None:
    async with house(tmp_path) as home:
        view = await home.add(URL, options={"size": "6000", "rate": "6000", "delay-metadata": "1s"})
        await home.until_state(view, ACTIVE)
        await home.crash()
        clock.shift = timedelta(days=8)
        await home.start()
        await home.until_state(view, DONE)


async def test_a_wait_ends_when_the_clock_is_set_back(tmp_path: Path, clock: type[ShiftedClock]) -> None:
    script = {"size": "5000", "fail-at": "50", "fail-times": "1", "fail-code": "TIMEOUT", "fail-retry": "passing"}
    async with house(tmp_path, retry_wait=Seconds(3600), retry_wait_max=Seconds(3600)) as home:
        view = await home.add(URL, options=script)
        await home.until_job(lambda job: job.reason is not None and job.reason.code is ReasonCode.RETRY, view)
        clock.shift = timedelta(days=-400)
        home.core.reconciler.wake()
        await home.until_state(view, DONE)


@pytest.mark.parametrize("jump", [timedelta(days=400), timedelta(days=-400)], ids=["forward", "back"])
async def test_a_clock_that_jumps_ends_nothing_and_holds_nothing_up(
    tmp_path: Path, clock: type[ShiftedClock], jump: timedelta
) -> None:
    async with house(tmp_path) as home:
        runs = await home.add(URL + "1", options={"size": "6000", "rate": "3000"})
        waits = await home.add(
            URL + "2",
            options={
                "size": "5000",
                "fail-at": "50",
                "fail-times": "2",
                "fail-code": "TIMEOUT",
                "fail-retry": "passing",
            },
        )
        slow = await home.add(URL + "3", options={"size": "3000", "rate": "1000", "delay-metadata": "1s"})
        await home.until_state(runs, ACTIVE)
        clock.shift = jump
        for view in (runs, waits, slow):
            await home.until_state(view, DONE)


# ── the disk ─────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_the_reserve_holds_when_sizes_are_known_late(tmp_path: Path) -> None:
    async with house(tmp_path) as home:
        free = home.storage.usage().free
        # in shares of the disk: others write to it, too
        home.limits = type(home.limits)(min_disk_free=Bytes(free * 94 // 100), resume_free=Bytes(1))
        options = {"size": str(free * 28 // 1000), "rate": "1000", "delay-metadata": "300ms"}
        views = [await home.add(f"{URL}{n}", options=options) for n in range(5)]

        async def reserved() -> int | None:
            jobs = [await home.job(view) for view in views]
            replicas = [found for found in await home.replicas() if found.state is ReplicaState.FILLING]
            states = Counter(job.state for job in jobs if job is not None)
            waiting = [job for job in jobs if job is not None and job.state is QUEUED]
            settled = all(home.core.board.reasons.get(job.id) is not None for job in waiting)
            return len(replicas) if states[ACTIVE] + states[QUEUED] == 5 and states[ACTIVE] <= 2 and settled else None

        assert await until(reserved) == 2


async def test_a_disk_that_fills_and_empties_again_and_again_does_not_lose_a_job(tmp_path: Path) -> None:
    async with house(tmp_path) as home:
        before = home.limits
        full = type(before)(min_disk_free=Bytes(1 << 60), resume_free=Bytes(1))
        views = [await home.add(f"{URL}{n}", options={"size": "30000", "rate": "4000"}) for n in range(2)]
        for _ in range(2):
            await home.until_state(views[0], ACTIVE)
            home.limits = full
            await home.until_job(lambda job: job.hold is Hold.DISK, views[0])
            home.limits = before
        for view in views:
            await home.until_state(view, DONE)


# ── everything at once ───────────────────────────────────────────────────────────────────────────────────────────


async def test_two_hundred_torrents_at_once(tmp_path: Path) -> None:
    async with house(tmp_path, per_user=0, per_node=0) as home:
        hashes = [f"{n:040x}" for n in range(200)]
        views = await asyncio.gather(
            *(home.add(f"magnet:?xt=urn:btih:{found}", options={"size": "3000", "rate": "3000"}) for found in hashes)
        )
        for view in views:
            await home.until_state(view, DONE)
        assert len(home.directories()) == 200
        order: dict[object, list[str]] = defaultdict(list)
        for event in home.events:
            if event.job_number is not None and event.type in {"job.created", "job.started", "job.completed"}:
                order[event.job_number].append(event.type)
        # one that was stopped by a busy machine's silence is started again
        odd = {
            number: types for number, types in order.items()
            if (types[0], *set(types[1:-1]), types[-1]) != ("job.created", "job.started", "job.completed")
        }  # fmt: skip
        assert odd == {}
        assert len(order) == 200


@pytest.mark.parametrize("seed", [1])
async def test_a_storm_of_wishes_with_a_crash_in_the_middle_leaves_the_books_right(tmp_path: Path, seed: int) -> None:
    rng = random.Random(seed)
    async with house(tmp_path, per_user=3, per_node=6) as home:
        people = [home.admin, await home.user("maya"), await home.user("noor")]
        views: list[tuple[JobView, Principal]] = []

        async def step() -> None:
            service = home.core.downloads
            wish = rng.choice(["add", "add", "add", "rm", "cancel", "pause", "resume", "retry", "select", "force"])
            who = rng.choice(people)
            mine = [view for view, owner in views if owner is who]
            try:
                if wish in {"add", "force"} or not mine:
                    options = {"size": "4000", "files": "2", "rate": rng.choice(["0", "8000", "40000"])}
                    if rng.random() < 0.15:
                        options |= {"fail-at": "50", "fail-times": "1", "fail-code": "TIMEOUT", "fail-retry": "passing"}
                    source = rng.choice([f"{URL}{rng.randrange(12)}", f"magnet:?xt=urn:btih:{rng.randrange(8):040x}"])
                    files = rng.choice(["all", "1", "2"])
                    view = await home.add(source, who, options=options, files=files, force=wish == "force")
                    views.append((view, who))
                    return
                view = rng.choice(mine)
                if wish == "rm":
                    await remove(home, view, who)
                    views.remove((view, who))
                elif wish == "cancel":
                    await service.cancel(who, view.job.id)
                elif wish == "pause":
                    await service.pause(who, view.job.id)
                elif wish == "resume":
                    await service.resume(who, view.job.id)
                elif wish == "retry":
                    await service.retry(who, view.job.id)
                else:
                    await home.core.job_files.select(who, str(view.job.number), rng.choice(["1", "2", "all"]))
            except OpenDebridError:
                return

        for n in range(250):
            await step()
            if n in {100, 180}:
                await home.crash()
                await home.start()
            await asyncio.sleep(rng.choice([0, 0, 0.01, 0.05]))  # the moment is what is random here
        for view, who in views:
            job = await home.job(view)
            if job is not None and job.hold is Hold.USER:
                with suppress(WrongState):  # it completes all the same when its files are there
                    await home.core.downloads.resume(who, job.id)
        for view, _ in views:
            await home.until_state(view, DONE, FAILED, CANCELLED)
        jobs = [await home.job(view) for view, _ in views]
        assert all(job is not None and job.state is not FAILED for job in jobs), [job for job in jobs if job]
        await _books_are_right(home)
        for view, who in views:
            await remove(home, view, who)
        await until(lambda: nothing_left(home))


async def _books_are_right(home: House) -> None:
    """Every directory has its row and every row its directory; a claimed entry has at most one replica that stays; the
    files that are called ready are there in their size."""

    async def at_rest() -> bool:
        replicas = await home.replicas()
        return {str(found.id) for found in replicas} == set(home.directories()) and not [
            found for found in replicas if found.state in {ReplicaState.FILLING, ReplicaState.DELETING}
        ]

    try:
        await until(at_rest)
    except AssertionError:
        raise AssertionError(f"{[(str(r.id), r.state) for r in await home.replicas()]} {home.directories()}") from None
    replicas = await home.replicas()
    assert max(Counter(found.entry_id for found in replicas).values(), default=0) <= 1
    for replica in replicas:
        files = await home.store.read(lambda tx, entry=replica.entry_id: tx.cache.files(entry))  # type: ignore[misc]
        on_disk = {file.path: file.size for file in home.storage.walk(replica.id)}
        for file in files:
            if file.ready:
                assert on_disk.get(file.disk_path) == file.size
        claimed = await home.store.read(lambda tx, entry=replica.entry_id: tx.jobs.of_entry(entry))  # type: ignore[misc]
        assert any(job.state is not CANCELLED for job in claimed)


async def test_a_slot_is_never_lost(tmp_path: Path) -> None:
    """F2: after any number of endings the free slots are the limit less what runs."""
    rng = random.Random(5)
    async with house(tmp_path, per_user=2, retries=0) as home:
        peak = 0

        async def watch() -> None:
            nonlocal peak
            while True:
                counts = await home.store.read(lambda tx: tx.jobs.count_by_state())
                peak = max(peak, Counter(counts)[ACTIVE])
                await asyncio.sleep(0.005)

        watcher = asyncio.create_task(watch())
        views = []
        for n in range(40):
            options = {"size": "1000", "rate": rng.choice(["5000", "20000"])}
            if rng.random() < 0.3:
                options |= {"fail-at": "50", "fail-code": "ORIGIN_GONE"}
            views.append(await home.add(f"{URL}{n}", options=options))
            if rng.random() < 0.3:
                victim = views.pop(rng.randrange(len(views)))
                await remove(home, victim)
        for view in views:
            await home.until_state(view, DONE, FAILED)
        watcher.cancel()
        assert peak == 2


async def test_a_stalled_engine_answer_holds_up_no_add(tmp_path: Path) -> None:
    """F10: an engine that hangs is the reconciler's trouble, not a caller's."""
    async with house(tmp_path) as home:
        await home.add(URL + "1", options={"size": "5000", "rate": "5000", "hang": "true", "fail-at": "10"})
        loop = asyncio.get_running_loop()
        began = loop.time()
        for n in range(20):
            await home.add(f"{URL}-{n}", options=SLOW)
        assert loop.time() - began < 10


async def test_a_retry_that_brings_nothing_new_of_a_failed_one_shares_the_download(tmp_path: Path) -> None:
    async with house(tmp_path, retry_wait=Seconds(0.05), queue_paused=True) as home:
        maya = await home.user("maya")
        options = {"size": "5000", "fail-code": "ORIGIN_GONE", "fail-times": "1"}
        mine, theirs = await home.add(URL, options=options), await home.add(URL, maya, options=options)
        # both wait for the one download that fails: joining it later would be a retry
        for view in (mine, theirs):
            await home.until_job(lambda job: job.entry_id is not None, view)
        home.limits = replace(home.limits, queue_paused=False)
        home.core.reconciler.wake()
        await home.until_state(mine, FAILED)
        await home.until_state(theirs, FAILED)
        await home.core.downloads.retry(maya, theirs.job.id)
        await home.until_state(theirs, DONE)
        assert (await home.job(mine)).state is FAILED  # type: ignore[union-attr]
        await home.core.downloads.retry(home.admin, mine.job.id)
        job = await home.until_state(mine, DONE)
        assert job.size == 5000
        assert len(home.directories()) == 1
