"""The store against a model in memory: whatever is done to both, they tell the same."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)

from oddaemon.domain.errors import NotFound
from oddaemon.domain.events import JobCreated
from oddaemon.domain.failure import Failure, FailureCode
from oddaemon.domain.filter_tree import Term
from oddaemon.domain.job import Hold, Job, JobState
from oddaemon.domain.query import SortKey
from oddaemon.domain.types import Bytes, EngineName, JobId
from oddaemon.domain.user import User
from oddaemon.ports.store import Query, Transaction
from oddaemon.store.migrate import open_store
from oddaemon.store.sql_store import SqlStore
from oddaemon.testing.store_samples import NOW, a_job, a_user
from tests.support.postgres import Databases

TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20)
TAGS = st.lists(st.sampled_from(["tv", "film", "a,b", "ä"]), max_size=3, unique=True).map(tuple)
CHANGES = st.fixed_dictionaries(
    {},
    optional={
        "name": st.none() | TEXT,
        "state": st.sampled_from(JobState),
        "hold": st.sampled_from(Hold),
        "priority": st.integers(-(2**63), 2**63 - 1),
        "size": st.none() | st.integers(0, 2**62).map(Bytes),
        "engine": st.none() | st.sampled_from(["aria2", "ytdlp"]).map(EngineName),
        "options": st.dictionaries(TEXT, TEXT, max_size=3),
        "tags": TAGS,
        "error": st.none() | st.builds(Failure, code=st.sampled_from(FailureCode), message=TEXT),
        "selection": TEXT,
    },
)


class Stop(Exception):
    pass


class StoreMachine(RuleBasedStateMachine):
    jobs = Bundle("jobs")

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="od-store-"))
        self.location = self.new_location()
        self.runner = asyncio.Runner()
        self.model: dict[JobId, Job] = {}
        self.last_number = 0
        self.events = 0
        self.store: SqlStore
        self.user: User = a_user("ann")

    def new_location(self) -> str | Path:
        """Of an unused store."""
        return self.folder / "store.db"

    @initialize()
    def start(self) -> None:
        self.reopen()
        self.runner.run(self.store.write(lambda tx: tx.users.insert(self.user)))

    @rule()
    def reopen(self) -> None:
        if hasattr(self, "store"):
            self.runner.run(self.store.close())
        self.store = self.runner.run(open_store(self.location))

    def add(self, tx: Transaction, changes: dict[str, object]) -> Job:
        job = tx.jobs.insert(replace(a_job(tx, self.user), **changes))  # type: ignore[arg-type]
        tx.events.add(JobCreated(at=NOW, job_id=job.id))
        return job

    @rule(target=jobs, changes=CHANGES)
    def insert(self, changes: dict[str, object]) -> JobId:
        job = self.runner.run(self.store.write(lambda tx: self.add(tx, changes)))
        self.last_number += 1
        self.events += 1
        assert job.number == self.last_number
        self.model[job.id] = job
        return job.id

    @rule(changes=st.lists(CHANGES, min_size=2, max_size=8), bad=st.sets(st.integers(0, 7)))
    def insert_together(self, changes: list[dict[str, object]], bad: set[int]) -> None:
        """Some of them fail after they have written."""

        def work(tx: Transaction, index: int) -> Job:
            job = self.add(tx, changes[index])
            if index in bad:
                raise Stop
            return job

        async def all_at_once() -> list[Job | BaseException]:
            return await asyncio.gather(
                *(self.store.write(lambda tx, index=index: work(tx, index)) for index in range(len(changes))),  # type: ignore[misc]
                return_exceptions=True,
            )

        made = [job for job in self.runner.run(all_at_once()) if isinstance(job, Job)]
        assert len(made) == len(set(range(len(changes))) - bad)
        assert sorted(job.number for job in made) == [self.last_number + step for step in range(1, len(made) + 1)]
        self.last_number += len(made)
        self.events += len(made)
        self.model |= {job.id: job for job in made}

    @rule(job_id=jobs, changes=CHANGES, fails=st.booleans())
    def update(self, job_id: JobId, changes: dict[str, object], fails: bool) -> None:
        changed = replace(self.model[job_id], **changes)  # type: ignore[arg-type]

        def work(tx: Transaction) -> Job:
            job = tx.jobs.update(changed)
            if fails:
                raise Stop
            return job

        if fails:
            with pytest.raises(Stop):
                self.runner.run(self.store.write(work))
            return
        job = self.runner.run(self.store.write(work))
        assert job.rev > max(known.rev for known in self.model.values())
        self.model[job_id] = job

    @rule(job_id=consumes(jobs))
    def delete(self, job_id: JobId) -> None:
        job = self.model.pop(job_id)
        self.runner.run(self.store.write(lambda tx: tx.jobs.delete(job_id)))
        with pytest.raises(NotFound):
            self.runner.run(self.store.write(lambda tx: tx.jobs.update(job)))

    @rule(state=st.sampled_from(["queued", "paused", "active", "completed,failed"]), descending=st.booleans())
    def list_by_state(self, state: str, descending: bool) -> None:
        where = Term(field="state", values=tuple(state.split(",")))
        query = Query(where=where, sort=[SortKey(field="priority", descending=descending)])
        wanted = [job for job in self.model.values() if _shown(job) in state.split(",")]
        wanted.sort(key=lambda job: (-job.priority if descending else job.priority, job.number))
        page = self.runner.run(self.store.read(lambda tx: tx.jobs.page(query)))
        assert (list(page.rows), page.total) == (wanted[:100], len(wanted))

    @rule(tag=st.sampled_from(["tv", "film", "ä", "t"]), offset=st.integers(0, 5), limit=st.integers(0, 5))
    def list_by_tag(self, tag: str, offset: int, limit: int) -> None:
        query = Query(where=Term(field="tag", values=(tag,)), offset=offset, limit=limit)
        wanted = sorted(job.number for job in self.model.values() if tag in job.tags)
        page = self.runner.run(self.store.read(lambda tx: tx.jobs.page_numbers(query)))
        assert (list(page.rows), page.total) == (wanted[offset : offset + limit], len(wanted))

    @invariant()
    def the_same_jobs(self) -> None:
        if not hasattr(self, "store"):
            return
        page = self.runner.run(self.store.read(lambda tx: tx.jobs.page(Query(limit=10_000))))
        assert list(page.rows) == sorted(self.model.values(), key=lambda job: job.number)
        assert self.runner.run(self.store.read(lambda tx: tx.events.newest_seq())) == self.events

    def teardown(self) -> None:
        if hasattr(self, "store"):
            self.runner.run(self.store.close())
        self.runner.close()
        shutil.rmtree(self.folder)


def _shown(job: Job) -> str:
    return "paused" if job.state is JobState.QUEUED and job.hold is Hold.USER else job.state.value


TestStoreModel = StoreMachine.TestCase
TestStoreModel.settings = settings(
    max_examples=10, stateful_step_count=20, deadline=None, suppress_health_check=list(HealthCheck)
)


class PostgresMachine(StoreMachine):
    databases: ClassVar[Databases]

    def new_location(self) -> str | Path:
        return self.databases.store()


def test_store_model_on_postgresql(postgres_databases: Databases) -> None:
    PostgresMachine.databases = postgres_databases
    run_state_machine_as_test(PostgresMachine, settings=settings(TestStoreModel.settings, max_examples=3))
