"""Limits of several users at once, with limits of their own, over the real store and the reconciler."""

from __future__ import annotations

import asyncio
import random
import re
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest

from oddaemon.app.system_clock import SystemClock
from oddaemon.domain.admission import Allowance
from oddaemon.domain.cache import Replica, ReplicaState
from oddaemon.domain.errors import LimitExceeded, NotAllowed, NotFound, OpenDebridError
from oddaemon.domain.failure import FailureCode, ReasonCode
from oddaemon.domain.job import Job, JobState
from oddaemon.domain.types import Bytes
from oddaemon.domain.user import Principal, UserLimits
from oddaemon.services import resolver
from oddaemon.services.quotas import Quotas
from oddaemon.services.served import day_of, next_day
from oddaemon.services.stored import stored_by
from oddaemon.services.views import JobView, UsageView
from tests.support.core import House, house
from tests.support.wait import until

URL = "http://sim.invalid/file.bin"
SLOW = {"size": "1000000", "rate": "1000"}
DONE, QUEUED, ACTIVE, FAILED = JobState.COMPLETED, JobState.QUEUED, JobState.ACTIVE, JobState.FAILED


async def running(home: House) -> Counter[str]:
    views = await home.core.jobs.page(
        home.admin, filter="state=active", sort="", offset=0, limit=200, include_old=True
    )
    return Counter(view.user for view in views.rows)


async def until_running(home: House, **wanted: int) -> None:
    async def as_wanted() -> bool:
        return await running(home) == Counter(wanted)

    try:
        await until(as_wanted)
    except AssertionError:
        raise AssertionError(f"{wanted} wanted, {await running(home)} run") from None


async def shown(home: House, view: JobView) -> Job:
    return (await home.core.jobs.get(home.admin, str(view.job.number))).job


async def until_waits(home: House, view: JobView, code: ReasonCode) -> str:
    """What the job says when it waits for this reason."""
    said: list[str] = []

    async def told() -> bool:
        found = await shown(home, view)
        if found.state is QUEUED and found.reason is not None and found.reason.code is code:
            said.append(found.reason.message)
        return bool(said)

    await until(told, what=f"job {view.job.number} to wait for {code}")
    return said[-1]


async def used(home: House, who: Principal) -> int:
    return (
        await home.store.read(lambda tx: stored_by(tx, who.user_id, Bytes(0), split=home.limits.storage_split))
    ).used


async def test_what_a_user_uses_is_told_to_the_user_and_to_admins(tmp_path: Path) -> None:
    async with house(tmp_path, per_user=1, storage_per_user=Bytes(50_000)) as home:
        maya, noor = await home.user("maya"), await home.user("noor")
        await home.allow(maya, UserLimits(jobs=7, storage=Bytes(20_000)))
        quotas = Quotas(store=home.store, clock=SystemClock(), limits=lambda: home.limits, requests=lambda _: 4)
        await home.until_state(await home.add(f"{URL}1", maya, options={"size": "7000"}), DONE)
        slow = {"size": "9000", "rate": "100"}
        await home.until_state(await home.add(f"{URL}2", maya, options=slow), ACTIVE)
        await home.add(f"{URL}3", maya, options=slow)

        async def told() -> UsageView:
            return await quotas.usage(maya)

        async def sized() -> bool:
            return (await told()).stored >= 7000

        await until(sized)
        now = SystemClock().now()
        await home.store.write(lambda tx: tx.served.add(day_of(now), {maya.user_id: Bytes(33)}))
        usage = await told()
        assert usage.allowance == Allowance(running=1, jobs=7, storage=Bytes(20_000))
        assert (usage.username, usage.running, usage.jobs, usage.requests) == ("maya", 1, 2, 4)
        assert (usage.served_today, usage.day_ends_at) == (33, next_day(now))
        assert (await quotas.usage(home.admin, "maya")).jobs == 2
        assert (await quotas.usage(noor)).stored == 0
        for other in ("maya", "nobody"):
            with pytest.raises(NotFound):
                await quotas.usage(noor, other)
        with pytest.raises(NotAllowed):
            await quotas.usage(replace(maya, scopes=frozenset()))


# ── slots and jobs ───────────────────────────────────────────────────────────────────────────────────────────────


async def test_each_user_runs_as_many_as_their_own_limit_says_also_when_it_changes(tmp_path: Path) -> None:
    async with house(tmp_path, per_user=2, per_node=0) as home:
        maya, noor, olga = [await home.user(name) for name in ("maya", "noor", "olga")]
        await home.allow(maya, UserLimits(running=1))
        await home.allow(noor, UserLimits(running=0))
        views = {
            who.username: [await home.add(f"{URL}{n}-{who.username}", who, options=SLOW) for n in range(4)]
            for who in (maya, noor, olga)
        }
        await until_running(home, maya=1, noor=4, olga=2)
        assert await until_waits(home, views["maya"][3], ReasonCode.USER_LIMIT) == "user limit: 1 of 1 running"
        await home.allow(maya, UserLimits(running=3))
        await until_running(home, maya=3, noor=4, olga=2)
        # a lower one pauses the last ones: nothing is lost
        await home.allow(noor, UserLimits(running=1))
        await until_running(home, maya=3, noor=1, olga=2)
        assert await until_waits(home, views["noor"][3], ReasonCode.USER_LIMIT) == "user limit: 1 of 1 running"
        assert len(home.directories()) == 9
        assert (await home.job(views["noor"][0]) or views["noor"][0].job).state is ACTIVE
        await home.allow(noor, UserLimits())
        await until_running(home, maya=3, noor=2, olga=2)


async def test_a_user_has_as_many_jobs_as_their_own_limit_says_however_they_come_to_be(tmp_path: Path) -> None:
    async with house(tmp_path, jobs_per_user=2) as home:
        maya, noor = await home.user("maya"), await home.user("noor")
        there = await home.add(URL, noor, options={"size": "5000"})
        await home.until_state(there, DONE)
        await home.allow(noor, UserLimits(jobs=3))
        for n in range(2):
            await home.add(f"{URL}{n}", maya, options=SLOW)
        with pytest.raises(LimitExceeded) as refused:
            await home.add(f"{URL}2", maya, options=SLOW)
        assert refused.value.message == "you have 2 unfinished downloads, and that is the limit"
        views = [await home.add(f"{URL}{n}", noor, options=SLOW) for n in range(3)]
        with pytest.raises(LimitExceeded):
            await home.add(f"{URL}3", noor, options=SLOW)
        # no way round it: cancel, add, and try the cancelled one again
        cancelled = await home.core.downloads.cancel(noor, views[0].job.id)
        await home.add(f"{URL}3", noor, options=SLOW)
        for who in (noor, home.admin):
            with pytest.raises(LimitExceeded):
                await home.core.downloads.retry(who, cancelled.job.id)
        assert (await home.job(cancelled) or views[0].job).state is JobState.CANCELLED
        await home.allow(noor, UserLimits(jobs=0))
        await home.core.downloads.retry(noor, cancelled.job.id)


async def test_the_size_that_may_be_is_that_of_each_jobs_own_selection(tmp_path: Path) -> None:
    async with house(tmp_path, max_download_size=Bytes(5000)) as home:
        maya, noor = await home.user("maya"), await home.user("noor")
        for rate in ("0", "4000"):
            five = {"size": "10000", "files": "5", "rate": rate}
            parts = [await home.add(f"{URL}{rate}", maya, options=five, files="1-2")]
            parts.append(await home.add(f"{URL}{rate}", noor, options=five, files="3-4"))
            whole = await home.add(f"{URL}{rate}", home.admin, options=five)
            job = await home.until_state(whole, FAILED, DONE)
            assert job.error is not None
            assert job.error.message == "it is 9.8 KiB, and limits.max_download_size is 4.9 KiB"
            for view in parts:
                await home.until_state(view, DONE)
            # growing to more is refused, one in place of another is not
            with pytest.raises(LimitExceeded, match=r"it is 5\.9 KiB"):
                await home.core.job_files.select(maya, str(parts[0].job.number), "+5")
            await home.core.job_files.select(maya, str(parts[0].job.number), "1,5")
            await home.until_state(parts[0], DONE)


# ── storage ──────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_what_would_take_more_than_may_be_stored_waits_as_soon_as_that_is_known(tmp_path: Path) -> None:
    async with house(tmp_path, storage_per_user=Bytes(10_000)) as home:
        maya, noor = await home.user("maya"), await home.user("noor")
        first = await home.add(f"{URL}1", maya, options={"size": "7000"})
        await home.until_state(first, DONE)
        big = {"size": "6000", "rate": "3000"}
        second = await home.add(f"{URL}2", maya, options=big)
        said = await until_waits(home, second, ReasonCode.STORAGE_LIMIT)
        assert re.fullmatch(r"storage limit: [6-9]\.\d KiB of 9\.8 KiB used, needs [1-5]\.\d KiB", said)
        # a smaller one may pass it, and another user is not held up
        await home.until_state(await home.add(f"{URL}3", maya, options={"size": "1000"}), DONE)
        await home.until_state(await home.add(f"{URL}4", noor, options={"size": "9000"}), DONE)
        job = await home.job(second)
        assert job is not None
        assert job.state is QUEUED
        await home.core.downloads.remove(maya, first.job.id, keep_data=False)
        await home.until_state(second, DONE)
        assert await used(home, maya) == 7000


async def test_when_nobody_knows_how_large_it_will_be_it_goes_as_far_as_it_may(tmp_path: Path) -> None:
    async with house(tmp_path, storage_per_user=Bytes(20_000)) as home:
        maya = await home.user("maya")
        await home.until_state(await home.add(f"{URL}1", maya, options={"size": "15000"}), DONE)
        view = await home.add(f"{URL}2", maya, options={"size": "12000", "rate": "5000", "no-length": "true"})
        await home.until_state(view, ACTIVE)
        await until_waits(home, view, ReasonCode.STORAGE_LIMIT)

        async def paused() -> list[Replica]:
            return [found for found in await home.replicas() if found.state is ReplicaState.PAUSED]

        await until(paused)
        assert 5000 <= (await paused())[0].done < 12_000
        # nothing can be begun, and adding says so where it can be known
        third = await home.add(f"{URL}3", maya, options={"size": "1"})
        await until_waits(home, third, ReasonCode.STORAGE_LIMIT)
        await home.allow(maya, UserLimits(storage=Bytes(30_000)))
        await home.until_state(view, DONE)
        await home.until_state(third, DONE)


async def test_of_many_whose_size_nobody_knows_one_alone_can_pass_what_may_be_stored(tmp_path: Path) -> None:
    async with house(tmp_path, storage_per_user=Bytes(10_000), per_user=5, queue_paused=True) as home:
        maya = await home.user("maya")
        views = [await home.add(f"{URL}{n}", maya, options={"size": "6000"}) for n in range(5)]
        home.limits = replace(home.limits, queue_paused=False)
        home.core.reconciler.wake()

        async def settled() -> bool:
            codes = [job.reason.code for view in views if (job := await shown(home, view)).reason is not None]
            return len(await running(home)) == 0 and codes.count(ReasonCode.STORAGE_LIMIT) >= 3

        await until(settled)
        assert await used(home, maya) <= 12_000


async def test_what_can_never_fit_fails_saying_so_and_nobody_else_with_it(tmp_path: Path) -> None:
    async with house(tmp_path, storage_per_user=Bytes(10_000)) as home:
        maya, noor = await home.user("maya"), await home.user("noor")
        await home.allow(noor, UserLimits(storage=Bytes(0)))
        options = {"size": "12000", "rate": "6000", "delay-metadata": "0.3"}
        mine, theirs = await home.add(URL, maya, options=options), await home.add(URL, noor, options=options)
        job = await home.until_state(mine, FAILED, DONE)
        assert job.error is not None
        assert job.error.code is FailureCode.TOO_LARGE
        assert job.error.message == "it is 11.7 KiB, and its user may store 9.8 KiB in all"
        await home.until_state(theirs, DONE)


async def test_downloads_whose_size_is_never_known_do_not_keep_each_other_from_ending(tmp_path: Path) -> None:
    async with house(tmp_path, storage_per_user=Bytes(8_000), per_user=5) as home:
        maya = await home.user("maya")
        # seconds lie between the plan that sees too much and the end: a busy machine may sleep through one
        grows = {"rate": "1500", "no-length": "true"}
        endless = await home.add(f"{URL}endless", maya, options=grows | {"size": "90000"})

        async def settled() -> bool:
            states = [(await shown(home, view)).state for view in views]
            return states.count(DONE) == 1 and states.count(QUEUED) == 2 and not await running(home)

        job = await home.until_state(endless, FAILED)
        assert job.error is not None
        assert job.error.code is FailureCode.TOO_LARGE
        await home.core.downloads.remove(home.admin, job.id, keep_data=False)
        views = [await home.add(f"{URL}{n}", maya, options=grows | {"size": "7900"}) for n in range(3)]
        await until(settled)
        [done] = [job for view in views if (job := await shown(home, view)).state is DONE]
        views = [view for view in views if view.job.id != done.id]
        await home.core.downloads.remove(home.admin, done.id, keep_data=False)

        async def one_more() -> bool:
            return DONE in [(await shown(home, view)).state for view in views]

        await until(one_more)


async def test_what_waits_for_room_that_its_user_may_never_have_fails(tmp_path: Path) -> None:
    async with house(tmp_path, storage_per_user=Bytes(10_000)) as home:
        maya = await home.user("maya")
        await home.until_state(await home.add(URL, maya, options={"size": "9000"}), DONE)
        waiting = await home.add(f"{URL}1", maya, options={"size": "8000", "rate": "1000"})
        paused = await home.add(f"{URL}2", maya, options={"size": "8000"}, paused=True)
        await until_waits(home, waiting, ReasonCode.STORAGE_LIMIT)
        await home.until_job(lambda job: job.size == 8000, waiting)
        await home.allow(maya, UserLimits(storage=Bytes(7_000)))
        job = await home.until_state(waiting, FAILED)
        assert job.error is not None
        assert job.error.code is FailureCode.TOO_LARGE
        assert (await shown(home, paused)).state is QUEUED


async def test_an_add_and_a_retry_and_a_growth_that_would_take_too_much_are_refused_and_change_nothing(
    tmp_path: Path,
) -> None:
    async with house(tmp_path, storage_per_user=Bytes(0)) as home:
        maya, noor = await home.user("maya"), await home.user("noor")
        four = {"size": "8000", "files": "4"}
        await home.until_state(await home.add(URL, noor, options=four), DONE)
        await home.until_state(await home.add(f"{URL}1", noor, options={"size": "3000"}), DONE)
        await home.allow(maya, UserLimits(storage=Bytes(7000)))
        # there for noor, and too much for maya
        whole = await home.add(URL, maya, options=four)
        job = await home.until_state(whole, FAILED, DONE)
        assert job.error is not None
        assert job.error.code is FailureCode.STORAGE_LIMIT
        assert job.error.message == "storage limit: 0 B of 6.8 KiB used, and this needs 7.8 KiB"
        mine = await home.add(URL, maya, options=four, files="1-2")
        await home.until_state(mine, DONE)
        other = await home.add(f"{URL}1", maya, options={"size": "3000"})
        await home.until_state(other, DONE)
        assert await used(home, maya) == 7000
        before = await home.job(mine)
        with pytest.raises(LimitExceeded) as refused:
            await home.core.job_files.select(maya, str(mine.job.number), "+3")
        assert refused.value.message == "storage limit: 2.9 KiB of 6.8 KiB used, and this needs 5.9 KiB"
        assert refused.value.details == {"limit": 7000, "used": 3000}
        assert await home.job(mine) == before
        # the same bytes again cost nothing, fewer are always fine
        again = await home.add(URL, maya, options=four, files="2")
        await home.until_state(again, DONE)
        assert await used(home, maya) == 7000
        await home.core.job_files.select(maya, str(mine.job.number), "2")
        assert await used(home, maya) == 5000
        # its content is there by now: retried, also by an admin, it is still its owner who has to have room
        failing = {"size": "4000", "files": "2", "fail-at": "60", "fail-code": "ORIGIN_GONE", "fail-times": "1"}
        failed = await home.add(f"{URL}3", maya, options=failing)
        await home.until_state(failed, FAILED)
        await home.until_state(await home.add(f"{URL}3", noor, options=failing), DONE)
        for who in (maya, home.admin):
            with pytest.raises(LimitExceeded):
                await home.core.downloads.retry(who, failed.job.id)
        assert (await home.job(failed) or failed.job).state is FAILED
        # lowered below what is there: it stays
        await home.allow(maya, UserLimits(storage=Bytes(1)))
        for view in (mine, other, again):
            assert (await home.until_state(view, DONE)).state is DONE
        await home.core.downloads.remove(maya, whole.job.id, keep_data=False)


async def test_shared_bytes_are_charged_in_full_or_split_by_file(tmp_path: Path) -> None:
    async with house(tmp_path) as home:
        maya, noor, olga = [await home.user(name) for name in ("maya", "noor", "olga")]
        four = {"size": "8000", "files": "4"}
        await home.until_state(await home.add(URL, maya, options=four), DONE)
        theirs = await home.add(URL, noor, options=four, files="1-2")
        await home.until_state(await home.add(f"{URL}1", olga, options={"size": "600"}), DONE)
        await home.until_state(await home.add(f"{URL}1", noor, options={"size": "600"}), DONE)
        assert [await used(home, who) for who in (maya, noor, olga)] == [8000, 4600, 600]
        home.limits = replace(home.limits, storage_split=True)
        assert [await used(home, who) for who in (maya, noor, olga)] == [6000, 2300, 300]
        # who comes to share it has to have room for a part only, and when one leaves the others are charged more
        home.limits = replace(home.limits, storage_per_user=Bytes(3300))
        await home.until_state(await home.add(URL, olga, options=four, files="1-3"), DONE)
        assert [await used(home, who) for who in (maya, noor, olga)] == [4332, 1632, 2632]
        await home.core.downloads.remove(noor, theirs.job.id, keep_data=False)
        assert [await used(home, who) for who in (maya, noor, olga)] == [5000, 300, 3300]
        home.limits = replace(home.limits, storage_per_user=Bytes(3200))
        job = await home.until_state(await home.add(URL, noor, options=four), DONE, FAILED)
        assert job.error is not None
        assert job.error.code is FailureCode.STORAGE_LIMIT


@pytest.mark.parametrize("seed", [3])
async def test_a_storm_of_wishes_never_leads_above_what_may_be_stored(tmp_path: Path, seed: int) -> None:
    """Whatever users do, what their jobs take is never above the limit by more than what ended before its size had been
    looked at; and all ends well once there is no limit any more."""
    rng, limit = random.Random(seed), Bytes(20_000)
    async with house(tmp_path, storage_per_user=limit, per_user=2, per_node=0) as home:
        people = [await home.user("maya"), await home.user("noor")]
        mine: list[tuple[JobView, Principal]] = []

        async def jobs() -> Sequence[Job]:
            found = [await home.job(view) for view, _ in mine]
            return [job for job in found if job is not None]

        for _ in range(80):
            who = rng.choice(people)
            with suppress(OpenDebridError):
                wish = rng.choice(["add", "add", "add", "rm", "cancel", "retry", "select"])
                own = [view for view, owner in mine if owner is who]
                if wish == "add" or not own:
                    number = rng.randrange(8)
                    options = {"size": str(1500 * (1 + number % 5)), "files": "3", "rate": "9000"}
                    source = f"magnet:?xt=urn:btih:{number:040x}"
                    files = rng.choice(["all", "1", "2-3"])
                    mine.append((await home.add(source, who, options=options, files=files), who))
                    continue
                view, service = rng.choice(own), home.core.downloads
                if wish == "rm":
                    await service.remove(who, view.job.id, keep_data=False)
                elif wish == "cancel":
                    await service.cancel(who, view.job.id)
                elif wish == "retry":
                    await service.retry(who, view.job.id)
                else:
                    await home.core.job_files.select(who, str(view.job.number), rng.choice(["1", "2", "all"]))
            for person in people:
                found = await home.store.read(
                    lambda tx, user=person.user_id: stored_by(tx, user, limit, split=False)  # type: ignore[misc]
                )
                assert found.used <= limit + 2 * 7500
            await asyncio.sleep(rng.choice([0, 0.01, 0.05]))  # the moment is what is random here
        home.limits = replace(home.limits, storage_per_user=Bytes(0))
        home.core.reconciler.wake()
        for view, _ in mine:
            job = await home.job(view)
            if job is not None and not job.finished:
                await home.until_state(view, DONE, FAILED, timeout=30)
        assert {job.error.code for job in await jobs() if job.error is not None} <= {FailureCode.STORAGE_LIMIT}


async def test_nothing_is_kept_that_would_be_charged_to_nobody(tmp_path: Path) -> None:
    async with house(tmp_path, storage_per_user=Bytes(10_000)) as home:
        maya = await home.user("maya")
        view = await home.add(URL, maya, options={"size": "4000"})
        await home.until_state(view, DONE)
        with pytest.raises(NotAllowed, match="storage is limited"):
            await home.core.downloads.remove(maya, view.job.id, keep_data=True)
        assert await home.job(view) is not None
        await home.allow(maya, UserLimits(storage=Bytes(0)))
        await home.core.downloads.remove(maya, view.job.id, keep_data=True)


# ── finding engine and key ───────────────────────────────────────────────────────────────────────────────────────


async def test_the_adds_of_one_user_do_not_keep_another_from_being_looked_at(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resolver, "LOOK_AT", 8)
    async with house(tmp_path) as home:
        maya, noor = await home.user("maya"), await home.user("noor")
        slow = {"size": "10", "delay-key": "0.5"}
        many = [await home.add(f"{URL}{n}", maya, options=slow) for n in range(40)]

        async def found() -> int:
            jobs = [await home.job(view) for view in many]
            return sum(job is not None and job.entry_id is not None for job in jobs)

        before = await found()
        one = await home.add(f"{URL}-noor", noor, options=slow)
        await home.until_job(lambda job: job.entry_id is not None, one)
        # four at a time: those that were under way, and those that are looked at together with it
        assert await found() <= before + 3 * resolver.EXTRACTIONS
