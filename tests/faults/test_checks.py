"""`--force` and checksums on what is in the cache: whoever has the files keeps them, whatever comes of it."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import pytest

from oddaemon.domain.cache import Replica, ReplicaState
from oddaemon.domain.failure import FailureCode
from oddaemon.domain.job import Hold, Job, JobState
from oddaemon.domain.types import ReplicaId
from oddaemon.ports.store import Transaction
from oddaemon.services.views import JobView
from oddaemon.storage.local import LocalStorage
from tests.support.core import House, house
from tests.support.wait import until

DATABASES = ("sqlite", "postgresql")

URL = "http://sim.invalid/file.bin"
MAGNET = "magnet:?xt=urn:btih:" + "ab" * 20
DONE, QUEUED, ACTIVE, FAILED = JobState.COMPLETED, JobState.QUEUED, JobState.ACTIVE, JobState.FAILED
WRONG = "sha256=" + "0" * 64
LONG_CHECK = {"delay-metadata": "60s"}


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """What nobody wants is stopped soon."""
    monkeypatch.setattr("oddaemon.services.following.UNWANTED", 0.2)


async def ready_files(home: House, job: Job) -> Sequence[bool]:
    entry_id = job.entry_id
    assert entry_id is not None
    return await home.store.read(lambda tx: [file.ready for file in tx.cache.files(entry_id)])


async def state_of(home: House) -> ReplicaState:
    (replica,) = await home.replicas()
    return replica.state


async def is_untouched(home: House, first: JobView) -> None:
    """The job that was there before is complete, its files are ready, and others find them."""
    job = await home.job(first)
    assert job is not None
    assert job.state is DONE
    assert await ready_files(home, job) == [True]
    await until(lambda: _is(home, ReplicaState.READY), what="the replica to be ready")
    assert (await home.until_state(await home.add(MAGNET), DONE)).cache_hit


async def _is(home: House, state: ReplicaState) -> bool:
    return await state_of(home) is state


async def remove(home: House, view: JobView) -> None:
    await home.core.downloads.remove(home.admin, view.job.id, keep_data=False)


def only_file(home: House) -> Path:
    (path,) = (path for path in (home.folder / "downloads").rglob("*.bin") if path.is_file())
    return path


# ── a torrent is checked ─────────────────────────────────────────────────────────────────────────────────────────


async def test_a_paused_forced_add_of_a_torrent_changes_nothing(tmp_path: Path) -> None:
    async with house(tmp_path) as home:
        first = await home.add(MAGNET)
        await home.until_state(first, DONE)
        forced = await home.add(MAGNET, force=True, paused=True)
        job = await home.until_job(lambda job: job.entry_id is not None, forced)
        assert (job.state, job.hold, job.cache_hit) == (QUEUED, Hold.USER, False)
        assert await state_of(home) is ReplicaState.READY
        await remove(home, forced)
        await is_untouched(home, first)


@pytest.mark.parametrize("wish", ["rm", "cancel", "crash and rm"])
async def test_files_stay_ready_while_they_are_checked_and_after_it_is_broken_off(tmp_path: Path, wish: str) -> None:
    async with house(tmp_path) as home:
        first = await home.add(MAGNET)
        job = await home.until_state(first, DONE)
        forced = await home.add(MAGNET, force=True, options=LONG_CHECK)
        await home.until_state(forced, ACTIVE)
        assert await state_of(home) is ReplicaState.FILLING
        assert await ready_files(home, job) == [True]
        assert (await home.until_state(await home.add(MAGNET), DONE)).cache_hit
        if wish == "crash and rm":
            await home.crash()
            await home.start()
        if wish == "cancel":
            await home.core.downloads.cancel(home.admin, forced.job.id)
        else:
            await remove(home, forced)
        await is_untouched(home, first)


async def test_a_check_is_done_and_done_again_after_a_crash(tmp_path: Path) -> None:
    async with house(tmp_path) as home:
        first = await home.add(MAGNET)
        await home.until_state(first, DONE)
        forced = await home.add(MAGNET, force=True, options={"delay-metadata": "300ms"})
        await home.until_state(forced, ACTIVE)
        await home.crash()
        await home.start()
        job = await home.until_state(forced, DONE)
        assert (job.force, job.cache_hit) == (False, False)
        await is_untouched(home, first)


async def test_a_check_that_fails_for_good_fails_its_own_job_only(tmp_path: Path) -> None:
    async with house(tmp_path) as home:
        first = await home.add(MAGNET)
        await home.until_state(first, DONE)
        forced = await home.add(MAGNET, force=True, options={"fail-at": "0", "fail-code": "ORIGIN_GONE"})
        await home.until_state(forced, FAILED)
        await is_untouched(home, first)


async def test_a_check_that_waits_for_its_next_try_is_forgotten_with_its_job(tmp_path: Path) -> None:
    async with house(tmp_path) as home:
        first = await home.add(MAGNET)
        await home.until_state(first, DONE)
        again = {"fail-at": "0", "fail-code": "TIMEOUT", "fail-retry": "passing", "retry-after": "60s"}
        forced = await home.add(MAGNET, force=True, options=again)
        await until(lambda: _is(home, ReplicaState.WAITING))
        await remove(home, forced)
        await is_untouched(home, first)


async def test_what_a_broken_off_check_finds_gone_is_fetched_again(tmp_path: Path) -> None:
    async with house(tmp_path) as home:
        first = await home.add(MAGNET)
        await home.until_state(first, DONE)
        forced = await home.add(MAGNET, force=True, options=LONG_CHECK)
        await home.until_state(forced, ACTIVE)
        only_file(home).unlink()
        await remove(home, forced)
        await home.until_job(lambda job: job.state is not DONE, first)
        await home.until_state(first, DONE)
        await is_untouched(home, first)


async def test_what_is_gone_needs_its_room_again(tmp_path: Path) -> None:
    async with house(tmp_path) as home:
        job = await home.until_state(await home.add(URL, options={"size": "5000"}), DONE)
        assert job.entry_id is not None
        only_file(home).unlink()
        hits = home.core.hits
        seen = await hits.check_entry(job.entry_id)

        def mark(tx: Transaction) -> Sequence[Replica]:
            hits.record(tx, seen, job.updated_at)
            return tx.cache.all_replicas()

        (replica,) = await home.store.write(mark)
        assert (replica.state, replica.done, replica.progress_at) == (ReplicaState.MISSING, 0, job.updated_at)


# ── checksums ────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_wrong_checksum_on_a_cached_torrent_fails_that_job_alone(tmp_path: Path) -> None:
    async with house(tmp_path) as home:
        first = await home.add(MAGNET)
        await home.until_state(first, DONE)
        wrong = await home.add(MAGNET, checksum=WRONG)
        job = await home.until_state(wrong, FAILED, DONE)
        assert job.error is not None
        assert job.error.code is FailureCode.CHECKSUM
        await is_untouched(home, first)


async def test_a_wrong_checksum_on_a_cached_url_costs_one_fetch_and_replaces_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    emptied: list[ReplicaId] = []
    monkeypatch.setattr(LocalStorage, "empty", lambda _, replica_id, keep: emptied.append(replica_id))
    async with house(tmp_path) as home:
        first = await home.until_state(await home.add(URL), DONE)
        wrong = await home.until_state(await home.add(URL, checksum=WRONG), FAILED, DONE)
        assert wrong.error is not None
        assert wrong.error.code is FailureCode.CHECKSUM
        assert wrong.entry_id != first.entry_id
        assert emptied == []  # the fresh generation was not fetched a second time
        hit = await home.until_state(await home.add(URL), DONE)
        assert (hit.entry_id, hit.cache_hit) == (first.entry_id, True)


async def test_a_right_checksum_on_a_cached_url_is_a_hit(tmp_path: Path) -> None:
    async with house(tmp_path) as home:
        first = await home.until_state(await home.add(URL), DONE)
        right = hashlib.sha256(only_file(home).read_bytes()).hexdigest()
        job = await home.until_state(await home.add(URL, checksum=f"sha256={right}"), DONE, FAILED)
        assert (job.state, job.cache_hit, job.entry_id) == (DONE, True, first.entry_id)
        assert [event.type for event in home.events if event.job_number == job.number].count("cache.hit") == 1
        entry_id = first.entry_id
        assert entry_id is not None
        entry = await home.store.read(lambda tx: tx.cache.entry(entry_id))
        assert entry is not None
        assert entry.hits == 1


async def test_a_paused_add_of_what_is_there_completes_whoever_finds_the_key(tmp_path: Path) -> None:
    async with house(tmp_path) as home:
        await home.until_state(await home.add(URL), DONE)
        job = await home.until_state(await home.add(URL, paused=True), DONE)
        assert (job.cache_hit, job.hold) == (True, Hold.NONE)


async def test_a_paused_add_learns_its_key_and_stays_paused(tmp_path: Path) -> None:
    async with house(tmp_path) as home:
        view = await home.add(URL, paused=True)
        job = await home.until_job(lambda job: job.entry_id is not None, view)
        assert (job.state, job.hold) == (QUEUED, Hold.USER)
        assert home.directories() == []


# ── an entry grows ───────────────────────────────────────────────────────────────────────────────────────────────


async def test_growing_that_begins_afresh_spares_what_others_have(tmp_path: Path) -> None:
    async with house(tmp_path, retries=1) as home:
        both = {"size": "400000", "files": "2"}
        first = await home.add(URL, files="1", options=both)
        job = await home.until_state(first, DONE)
        path = only_file(home)
        inode = path.stat().st_ino
        bad = {"fail-at": "75", "fail-code": "ENGINE", "fail-retry": "afresh"}
        grown = await home.add(URL, files="2", options=both | bad)
        await home.until_state(grown, FAILED)  # the second attempt began afresh
        assert path.stat().st_ino == inode
        assert await ready_files(home, job) == [True, False]
        assert await state_of(home) is ReplicaState.READY
        assert (await home.job(first)).state is DONE  # type: ignore[union-attr]


async def test_beginning_afresh_takes_files_that_nobody_has_yet(tmp_path: Path) -> None:
    async with house(tmp_path) as home:
        bad = {"fail-at": "75", "fail-code": "ENGINE", "fail-retry": "afresh", "rate": "400000"}
        view = await home.add(URL, options={"size": "400000", "files": "2", "delay-add": "300ms"} | bad)
        await until(lambda: _is_again(home))
        job = await home.job(view)
        assert job is not None
        assert await ready_files(home, job) == [False, False]


async def _is_again(home: House) -> bool:
    return [found.afresh and found.state is ReplicaState.FILLING for found in await home.replicas()] == [True]


# ── generations ──────────────────────────────────────────────────────────────────────────────────────────────────


async def test_when_a_forced_generation_is_removed_the_one_before_is_hit_again(tmp_path: Path) -> None:
    async with house(tmp_path) as home:
        first = await home.until_state(await home.add(URL), DONE)
        forced = await home.add(URL, force=True)
        assert (await home.until_state(forced, DONE)).entry_id != first.entry_id
        await remove(home, forced)
        hit = await home.until_state(await home.add(URL), DONE)
        assert (hit.entry_id, hit.cache_hit) == (first.entry_id, True)


async def test_when_the_old_generation_is_removed_the_one_being_fetched_is_joined(tmp_path: Path) -> None:
    async with house(tmp_path) as home:
        old = await home.add(URL)
        await home.until_state(old, DONE)
        forced = await home.add(URL, force=True, options=LONG_CHECK)
        fresh = await home.until_state(forced, ACTIVE)
        await remove(home, old)
        joined = await home.until_job(lambda job: job.entry_id is not None, await home.add(URL))
        assert joined.entry_id == fresh.entry_id
