"""A job: one user's claim on one cache entry. The transition table, and the only function that sets a state.

    queued ──START──▶ active ──COMPLETE──▶ completed
      ▲ ▲               │ │                   │
      │ └────YIELD──────┘ └──FAIL──▶ failed   │
      └───────RETRY (failed, cancelled), REFILL, GROW (completed)

A paused job is `queued` with hold `user`; "paused" is only how it is shown and filtered.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum

from oddaemon.domain.errors import WrongState
from oddaemon.domain.failure import Failure, Reason
from oddaemon.domain.source import SourceKind
from oddaemon.domain.types import Bytes, BytesPerSecond, EngineName, EntryId, JobId, JobNumber, NodeId, UserId


class JobState(StrEnum):
    QUEUED = "queued"
    ACTIVE = "active"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"


class Hold(StrEnum):
    """What keeps a queued job from its turn."""

    NONE = "none"
    USER = "user"
    DISK = "disk"


class Signal(StrEnum):
    """What can happen to a job."""

    START = "start"
    """It has a slot and its replica is being filled."""
    YIELD = "yield"
    """It lost the slot: paused, held, stopped by a passing failure, or out of its turn."""
    COMPLETE = "complete"
    FAIL = "fail"
    CANCEL = "cancel"
    RETRY = "retry"
    REFILL = "refill"
    """Files that were ready are gone."""
    GROW = "grow"
    """Its owner selected more files of a completed job."""


TRANSITIONS: Mapping[tuple[JobState, Signal], JobState] = {
    (JobState.QUEUED, Signal.START): JobState.ACTIVE,
    (JobState.ACTIVE, Signal.YIELD): JobState.QUEUED,
    (JobState.QUEUED, Signal.COMPLETE): JobState.COMPLETED,
    (JobState.ACTIVE, Signal.COMPLETE): JobState.COMPLETED,
    (JobState.QUEUED, Signal.FAIL): JobState.FAILED,
    (JobState.ACTIVE, Signal.FAIL): JobState.FAILED,
    (JobState.QUEUED, Signal.CANCEL): JobState.CANCELLED,
    (JobState.ACTIVE, Signal.CANCEL): JobState.CANCELLED,
    (JobState.FAILED, Signal.CANCEL): JobState.CANCELLED,
    (JobState.FAILED, Signal.RETRY): JobState.QUEUED,
    (JobState.CANCELLED, Signal.RETRY): JobState.QUEUED,
    (JobState.COMPLETED, Signal.REFILL): JobState.QUEUED,
    (JobState.COMPLETED, Signal.GROW): JobState.QUEUED,
}

UNFINISHED = frozenset({JobState.QUEUED, JobState.ACTIVE})


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """What a user lists, watches and removes. `source` is masked when it is shown."""

    id: JobId
    number: JobNumber
    user_id: UserId
    source: str
    kind: SourceKind
    created_at: datetime
    updated_at: datetime
    state: JobState = JobState.QUEUED
    hold: Hold = Hold.NONE
    hold_until: datetime | None = None
    """When a user's hold ends by itself (`pause --for`)."""
    reason: Reason | None = None
    name: str | None = None
    renamed: bool = False
    """The user chose the name; what the engine learns does not replace it."""
    engine: EngineName | None = None
    engine_wish: EngineName | None = None
    engine_state: str | None = None
    node_id: NodeId | None = None
    node_wish: NodeId | None = None
    node_labels: Mapping[str, str] = field(default_factory=dict)
    """Only a node that has them all may take it."""
    entry_id: EntryId | None = None
    cache_key: str | None = None
    cache_hit: bool = False
    force: bool = False
    """A fresh generation is wanted, of an info-hash a check of what is there: by `--force`, or because a checksum did
    not match. Cleared when the job has got it."""
    selection: str = "all"
    """A selection in the form of `domain.selection`, applied to the entry's files when they are known."""
    options: Mapping[str, str] = field(default_factory=dict)
    checksum: str | None = None
    """`algorithm=hex`, verified by us when the file is there."""
    priority: int = 0
    tags: tuple[str, ...] = ()
    max_rate_down: BytesPerSecond | None = None
    max_rate_up: BytesPerSecond | None = None
    size: Bytes | None = None
    done: Bytes = Bytes(0)
    files_total: int = 0
    files_selected: int = 0
    files_failed: int = 0
    """Of the selected ones: those that cannot be had; the job completes without them."""
    error: Failure | None = None
    attempts: int = 0
    """Failed attempts at finding engine and key; once there is a replica, attempts are the replica's."""
    next_try_at: datetime | None = None
    started_at: datetime | None = None
    completed_at: datetime | None = None
    rev: int = 0
    """Grows with every stored change of any job: what a watcher resumes from."""

    @property
    def finished(self) -> bool:
        return self.state not in UNFINISHED

    @property
    def wants_to_run(self) -> bool:
        return self.state in UNFINISHED and self.hold is Hold.NONE


def can(job: Job, signal: Signal) -> bool:
    """Whether the table has this step from the job's present state."""
    return (job.state, signal) in TRANSITIONS


def advance(
    job: Job, signal: Signal, *, at: datetime, reason: Reason | None = None, failure: Failure | None = None
) -> Job:
    """The job after `signal`. No other function sets a state.

    Raises WrongState if the table has no such step. A job that runs or is finished has no reason; one that fails
    keeps the failure until a retry.
    """
    target = TRANSITIONS.get((job.state, signal))
    if target is None:
        raise WrongState(
            f"job {job.number} is {job.state}: it cannot {signal}", state=str(job.state), signal=str(signal)
        )
    changes: dict[str, object] = {"state": target, "updated_at": at, "reason": reason}
    if target is JobState.QUEUED:
        changes |= {"completed_at": None, "error": None, "engine_state": None}
    elif target is JobState.ACTIVE:
        changes |= {"started_at": job.started_at or at, "hold": Hold.NONE, "hold_until": None, "reason": None}
    else:
        changes |= {"completed_at": at, "reason": None, "hold": Hold.NONE, "hold_until": None,
                    "engine_state": None, "next_try_at": None}  # fmt: skip
        changes["error"] = failure if target is JobState.FAILED else None
    if signal is Signal.RETRY:
        changes |= {"attempts": 0, "next_try_at": None}
    return replace(job, **changes)  # type: ignore[arg-type]
