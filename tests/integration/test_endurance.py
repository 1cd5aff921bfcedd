"""Many of everything: what is left open after hundreds of cycles, and a store with ten thousand jobs."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import random
import threading
from dataclasses import replace
from pathlib import Path

from oddaemon.domain.cache import ReplicaState
from oddaemon.domain.errors import WrongState
from oddaemon.domain.job import Job, JobState
from oddaemon.domain.types import Bytes
from oddaemon.ports.store import Transaction
from oddaemon.services.ids import new_job_id
from oddaemon.services.views import JobView
from oddaemon.testing.store_samples import a_job
from tests.support.core import House, house
from tests.support.wait import until

URL = "http://sim.invalid/file.bin"
JOBS, CHUNK = 10_000, 1000


def descriptors() -> int:
    gc.collect()
    return len(os.listdir("/proc/self/fd"))


async def test_five_hundred_adds_and_cancels_leave_nothing_open(tmp_path: Path) -> None:
    """F11."""
    async with house(tmp_path, per_user=0, per_node=0) as home:

        async def cycle(n: int) -> None:
            view = await home.add(f"{URL}{n}", options={"size": "1000000", "rate": "1000"})
            await home.core.downloads.cancel(home.admin, view.job.id)

        async def batch(first: int) -> None:
            await asyncio.gather(*(cycle(first + n) for n in range(25)))
            await until(lambda: home.directories() == [])

        await batch(0)  # what is opened once is open now
        before = descriptors(), threading.active_count(), len(asyncio.all_tasks())
        for first in range(25, 525, 25):
            await batch(first)
        await until(lambda: len(asyncio.all_tasks()) <= before[2] + 2)
        assert abs(descriptors() - before[0]) <= 5
        assert abs(threading.active_count() - before[1]) <= 5
        assert await home.replicas() == []
        counts = await home.store.read(lambda tx: dict(tx.jobs.count_by_state()))
        assert {state: count for state, count in counts.items() if count} == {JobState.CANCELLED: 525}


async def test_ten_thousand_jobs_are_listed_survive_a_start_and_take_one_more(tmp_path: Path) -> None:
    async with house(tmp_path) as home:
        admin = await home.store.read(lambda tx: tx.users.get(home.admin.user_id))
        assert admin is not None

        def insert(tx: Transaction, first: int) -> None:
            for n in range(first, first + CHUNK):
                sample = a_job(tx, admin)
                tx.jobs.insert(replace(sample, id=new_job_id(), name=f"{n:05}.iso", state=JobState.CANCELLED))

        for first in range(0, JOBS, CHUNK):
            await home.store.write(lambda tx, first=first: insert(tx, first))  # type: ignore[misc]
        assert await names(home, "state=cancelled", "!name") == (JOBS, [f"{JOBS - 1 - n:05}.iso" for n in range(100)])
        assert await names(home, "name=04999.iso", "") == (1, ["04999.iso"])
        await home.crash()
        await home.start()
        view: JobView = await home.add(URL, options={"size": "5000"})
        done: Job = await home.until_state(view, JobState.COMPLETED)
        assert done.number == JOBS + 1
        assert (await names(home, "", "name"))[0] == JOBS + 1


async def names(home: House, filter: str, sort: str) -> tuple[int, list[str]]:
    page = await home.core.jobs.page(
        home.admin, filter=filter, sort=sort, offset=0, limit=100, include_old=True
    )
    return page.total, [view.job.name or "" for view in page.rows]


async def test_two_hundred_writers_and_fifty_readers_meet_no_lock(tmp_path: Path) -> None:
    """F7."""
    async with house(tmp_path) as home:
        views = [await home.add(f"{URL}{n}", paused=True) for n in range(20)]

        async def write(n: int) -> None:
            job_id = views[n % 20].job.id

            def further(tx: Transaction) -> None:
                job = tx.jobs.get(job_id)
                assert job is not None
                tx.jobs.update(replace(job, done=Bytes(job.done + 1)))

            for _ in range(5):
                await home.store.write(further)

        async def read() -> None:
            for _ in range(10):
                assert (await names(home, "", "!done"))[0] == 20

        await asyncio.gather(*(write(n) for n in range(200)), *(read() for _ in range(50)))
        jobs = [await home.job(view) for view in views]
        assert [job.done for job in jobs if job is not None] == [50] * 20


async def test_a_thousand_random_steps_never_pass_the_limit_and_lose_nothing(tmp_path: Path) -> None:
    """F2: add, cancel, fail and crash, with two at a time."""
    rng = random.Random(11)
    async with house(tmp_path, per_node=2, per_user=0, retries=1) as home:
        known: dict[int, JobView] = {}
        for step in range(1000):
            act = rng.random()
            if act < 0.45:
                options = {"size": "2000", "rate": rng.choice(["0", "20000"])}
                if rng.random() < 0.3:
                    retry = rng.choice(["passing", "lasting"])
                    options |= {"fail-at": "50", "fail-code": "NETWORK", "fail-retry": retry}
                view = await home.add(f"{URL}{rng.randrange(60)}", options=options)
                known[view.job.number] = view
            elif act < 0.6 and known:
                with contextlib.suppress(WrongState):
                    await home.core.downloads.cancel(home.admin, rng.choice(list(known.values())).job.id)
            elif act < 0.603:
                await home.crash()
                await home.start()
            else:
                await asyncio.sleep(0)
            if step % 10 == 0:
                assert await filling(home) <= 2

        async def all_ended() -> bool:
            assert await filling(home) <= 2
            counts = await home.store.read(lambda tx: dict(tx.jobs.count_by_state()))
            assert sum(counts.values()) == len(known)
            return not counts.get(JobState.QUEUED) and not counts.get(JobState.ACTIVE)

        await until(all_ended)
        replicas = {str(replica.id) for replica in await home.replicas()}
        assert set(home.directories()) <= replicas
        for view in known.values():
            await home.core.downloads.remove(home.admin, view.job.id, keep_data=False)
        await until(lambda: home.directories() == [])


async def filling(home: House) -> int:
    return sum(replica.state is ReplicaState.FILLING for replica in await home.replicas())
