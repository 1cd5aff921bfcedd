"""The job's transition table under any sequence of signals: nothing leaves it, nothing is left over."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oddaemon.domain.errors import WrongState
from oddaemon.domain.failure import Failure, FailureCode, Reason, ReasonCode
from oddaemon.domain.job import TRANSITIONS, UNFINISHED, Hold, Job, JobState, Signal, advance, can
from oddaemon.domain.source import SourceKind
from oddaemon.domain.types import JobId, JobNumber, UserId

START = datetime(2026, 1, 1, tzinfo=UTC)
REASON = Reason(code=ReasonCode.QUEUED, message="its turn has not come")
FAILURE = Failure(code=FailureCode.ORIGIN_GONE, message="404")
NEW = Job(
    id=JobId(UUID(int=1)),
    number=JobNumber(1),
    user_id=UserId(UUID(int=2)),
    source="http://e/",
    kind=SourceKind.URL,
    created_at=START,
    updated_at=START,
)

SIGNALS = st.lists(st.sampled_from(Signal), max_size=40)
JOBS = st.builds(
    lambda state, hold, attempts, engine_state, failed: replace(
        NEW,
        state=state,
        hold=hold,
        attempts=attempts,
        engine_state=engine_state,
        error=FAILURE if failed else None,
        reason=REASON,
        next_try_at=START,
        hold_until=START,
    ),
    st.sampled_from(JobState),
    st.sampled_from(Hold),
    st.integers(0, 9),
    st.none() | st.just("downloading"),
    st.booleans(),
)


def step(job: Job, signal: Signal, at: datetime) -> Job:
    return advance(job, signal, at=at, reason=REASON, failure=FAILURE)


@given(SIGNALS)
def test_any_history_keeps_the_job_consistent(signals: list[Signal]) -> None:
    job, at = NEW, START
    for signal in signals:
        at += timedelta(seconds=1)
        if not can(job, signal):
            with pytest.raises(WrongState):
                step(job, signal, at)
            continue
        job = step(job, signal, at)
        assert job.updated_at == at
        assert job.finished == (job.completed_at is not None)
        assert (job.error is not None) == (job.state is JobState.FAILED)
        assert (job.reason is None) == job.finished or job.state is JobState.ACTIVE
        if job.finished:
            assert (job.hold, job.hold_until, job.next_try_at, job.engine_state) == (Hold.NONE, None, None, None)


@given(JOBS, st.sampled_from(Signal))
def test_only_the_table_decides(job: Job, signal: Signal) -> None:
    if (job.state, signal) in TRANSITIONS:
        assert can(job, signal)
        assert step(job, signal, START).state is TRANSITIONS[job.state, signal]
    else:
        assert not can(job, signal)
        with pytest.raises(WrongState) as caught:
            step(job, signal, START)
        assert str(job.state) in caught.value.message
        assert str(signal) in caught.value.message


@given(JOBS, st.sampled_from(Signal))
def test_a_step_changes_the_state_and_what_belongs_to_it_and_nothing_else(job: Job, signal: Signal) -> None:
    if not can(job, signal):
        return
    after = step(job, signal, START)
    belongs = {"state", "updated_at", "reason", "completed_at", "error", "engine_state", "started_at", "hold",
               "hold_until", "next_try_at", "attempts"}  # fmt: skip
    same = {name: getattr(job, name) for name in Job.__dataclass_fields__ if name not in belongs}
    assert same == {name: getattr(after, name) for name in same}


@given(JOBS)
def test_a_hold_survives_the_queue_and_ends_when_it_runs(job: Job) -> None:
    for signal in (Signal.YIELD, Signal.REFILL, Signal.GROW):
        if can(job, signal):
            assert step(job, signal, START).hold is job.hold
    if can(job, Signal.START):
        assert step(job, Signal.START, START).hold is Hold.NONE


@given(JOBS)
def test_a_retry_starts_the_count_anew(job: Job) -> None:
    if can(job, Signal.RETRY):
        after = step(job, Signal.RETRY, START)
        assert (after.attempts, after.next_try_at, after.error, after.state) == (0, None, None, JobState.QUEUED)


@given(st.sampled_from(JobState))
def test_every_state_can_reach_an_end_and_come_back(state: JobState) -> None:
    def reachable(start: JobState) -> set[JobState]:
        found = {start}
        while more := {to for (at, _), to in TRANSITIONS.items() if at in found} - found:
            found |= more
        return found

    assert reachable(state) >= set(JobState)


@given(JOBS)
def test_only_an_unfinished_job_without_a_hold_wants_to_run(job: Job) -> None:
    assert job.wants_to_run == (job.state in UNFINISHED and job.hold is Hold.NONE)
