"""Jobs that wait between two attempts: having the next one at once, and why some cannot be tried again."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from oddaemon.domain.cache import Replica, ReplicaState
from oddaemon.domain.errors import WrongState
from oddaemon.domain.events import JobChanged
from oddaemon.domain.job import Hold, Job, JobState
from oddaemon.ports.store import Transaction
from oddaemon.services.claims import job_event, live_replica


def _waiting_replica(tx: Transaction, job: Job) -> Replica | None:
    replica = live_replica(tx, job.entry_id) if job.entry_id is not None else None
    return replica if replica is not None and replica.state is ReplicaState.WAITING else None


def waits_for_a_try(tx: Transaction, job: Job) -> bool:
    if job.state is not JobState.QUEUED or job.hold is Hold.USER:
        return False
    replica = _waiting_replica(tx, job)
    return job.next_try_at is not None or (replica is not None and replica.next_try_at is not None)


def hurried(tx: Transaction, job: Job, at: datetime) -> Job:
    """The job, and what it waits for, without a time before which nothing is tried."""
    job = tx.jobs.update(replace(job, reason=None, next_try_at=None, updated_at=at))
    replica = _waiting_replica(tx, job)
    if replica is not None:
        tx.cache.update_replica(replace(replica, next_try_at=None, reason=None, updated_at=at))
    tx.events.add(job_event(JobChanged, job, at, hold=str(job.hold)))
    return job


def no_retry(tx: Transaction, job: Job) -> WrongState:
    """Why a job cannot be tried again, and what can be done with it instead."""
    if job.state is JobState.QUEUED and job.hold is Hold.USER:
        return WrongState(f"job {job.number} is paused", hint=f"odctl resume {job.number}")
    if waits_for_a_try(tx, job):
        return WrongState(
            f"job {job.number} waits for its next try", hint=f"odctl retry --now {job.number} lets it come at once"
        )
    if job.state is JobState.QUEUED:
        return WrongState(
            f"job {job.number} waits for its turn, not for a next try", hint=f"odctl show {job.number} says why"
        )
    return WrongState(f"job {job.number} is {job.state}: only failed and cancelled jobs can be tried again")
