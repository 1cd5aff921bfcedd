"""Cuts, returns, kills and restarts in an order that a seed decides: every accepted job ends well, nothing is fetched
twice unless a grace has passed, and nothing is left over."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from oddaemon.domain.job import JobState
from oddaemon.services.views import JobView
from tests.support.many import URL, ManyHouse, Worker, many
from tests.support.wait import until

JOBS, STEPS = 8, 14
OPTIONS = {"size": "4000", "files": "2", "rate": "1000"}


@dataclass(slots=True)
class Run:
    home: ManyHouse
    chance: random.Random
    jobs: list[JobView] = field(default_factory=list)
    log: list[str] = field(default_factory=list)
    most: Counter[int] = field(default_factory=Counter)
    """How many engines were at one key at the same time, at the most, by job."""

    async def step(self) -> None:
        worker = self.chance.choice(list(self.home.workers.values()))
        what = self.chance.choice(["cut", "cut", "back", "back", "freeze", "kill", "crash", "add", "time", "time"])
        self.log.append(f"{what} {worker.id}")
        match what:
            case "cut":
                worker.line.cut = True
            case "back":
                await self._back(worker)
            case "freeze":
                worker.line.frozen = True
            case "kill":
                await worker.kill()
            case "crash":
                await self.home.crash()
                await self.home.start()
            case "add":
                await self._add(self.chance.randrange(JOBS))
            case _:
                await worker.clock.advance(self.chance.choice([1, 3, 10]))
        await asyncio.sleep(self.chance.choice([0, 0.05, 0.4]))
        await self._count()

    async def _add(self, number: int) -> None:
        self.jobs.append(await self.home.add(URL.format(number), options=OPTIONS))

    async def _back(self, worker: Worker) -> None:
        if worker.dead:
            await worker.revive()
        worker.line.cut = worker.line.frozen = False

    async def _count(self) -> None:
        for view in self.jobs:
            self.most[view.job.number] = max(self.most[view.job.number], await self.home.downloads_of(view))

    async def end(self) -> None:
        for worker in self.home.workers.values():
            await self._back(worker)
        await self.home.until_online()

        async def ended() -> bool:
            for worker in self.home.workers.values():
                await worker.clock.advance(10)
            states = [await self.home.job(view) for view in self.jobs]
            return all(job is not None and job.state is JobState.COMPLETED for job in states)

        await until(ended, timeout=120, what="every job completed")
        await self.home.until_nothing_is_left()
        assert not any(found.attempts for found in await self.home.replicas())


async def played(folder: Path, seed: int, *, grace: bool) -> Run:
    async with many(folder, "a", "b", "c") as home:
        run = Run(home, random.Random(seed))
        try:
            for number in range(3):
                await run._add(number)
            if grace:
                await home.end_grace()
            for _ in range(STEPS):
                await run.step()
            await run.end()
        except AssertionError as error:
            raise AssertionError(f"seed {seed}: {run.log}: {error}") from error
        return run


@pytest.mark.parametrize("seed", range(4))
async def test_within_the_grace_nothing_is_downloaded_twice(tmp_path: Path, seed: int) -> None:
    run = await played(tmp_path, seed, grace=False)
    assert max(run.most.values()) <= 1, (seed, run.log)
    replicas = {worker.id: worker.directories() for worker in run.home.workers.values()}
    assert sum(map(len, replicas.values())) == len({view.job.source for view in run.jobs}), (seed, run.log)


@pytest.mark.parametrize("seed", range(100, 104))
async def test_past_it_every_job_ends_well_all_the_same(tmp_path: Path, seed: int) -> None:
    await played(tmp_path, seed, grace=True)
