"""Joins stored jobs with live figures, user names and masks: the one place where a job becomes what people see."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace

from oddaemon.domain.errors import InvalidSource
from oddaemon.domain.failure import Reason, ReasonCode
from oddaemon.domain.job import Hold, Job, JobState
from oddaemon.domain.source import parse_source
from oddaemon.domain.types import Bytes, UserId
from oddaemon.ports.store import Transaction
from oddaemon.services.board import Board
from oddaemon.services.seed_wishes import SEEDING
from oddaemon.services.views import JobView

MASK = "***"
RESOLVING = Reason(code=ReasonCode.RESOLVING, message="finding out what this is")
PAUSES = frozenset({ReasonCode.PAUSED, ReasonCode.PAUSED_UNTIL})
ITS_TURN = Reason(code=ReasonCode.QUEUED, message="waits for its turn")


def masked_source(job: Job) -> str:
    """The source as it may be shown: credentials and secret query values masked."""
    try:
        return parse_source(job.source).shown
    except InvalidSource:
        return MASK


@dataclass(slots=True)
class JobViews:
    """`secret_options` names, of any engine, whose values are never shown."""

    board: Board
    secret_options: Callable[[], Collection[str]] = frozenset
    _users: dict[UserId, str] = field(default_factory=dict)

    def user_name(self, tx: Transaction, user_id: UserId) -> str:
        name = self._users.get(user_id)
        if name is None:
            user = tx.users.get(user_id)
            name = self._users[user_id] = user.username if user is not None else "?"
        return name

    def of(self, tx: Transaction, jobs: Sequence[Job]) -> list[JobView]:
        return [self._view(job, self.user_name(tx, job.user_id)) for job in jobs]

    def one(self, tx: Transaction, job: Job) -> JobView:
        return self.of(tx, [job])[0]

    def _view(self, job: Job, user: str) -> JobView:
        live = self.board.live(job)
        replica_id = self.board.replica_of.get(job.entry_id) if job.entry_id is not None else None
        status = self.board.statuses.get(replica_id) if replica_id is not None else None
        shown = job
        if job.finished and status is not None and status.engine_state == SEEDING:
            shown = replace(job, engine_state=SEEDING)
        if not job.finished:
            # of what runs only that its node is away
            waiting = self._waiting(job) if job.state is JobState.QUEUED else self.board.reasons.get(job.id)
            shown = replace(
                job,
                # of a full disk the figures of now
                reason=waiting if job.hold is Hold.DISK and job.id in self.board.reasons else job.reason or waiting,
                engine_state=self.board.engine_state(status) if status is not None else job.engine_state,
                size=self.board.size(job),
                name=job.name or (status.name if status is not None else None),
            )
        return JobView(
            job=shown,
            user=user,
            source=masked_source(job),
            options=self._masked(job.options),
            live=live,
            progress=progress(shown, live.done),
            position=self.board.positions.get(job.id) if job.state is JobState.QUEUED else None,
            placement=self.board.placements.get(job.entry_id, "") if job.entry_id is not None else "",
            files_failed=job.files_failed,
        )

    def _waiting(self, job: Job) -> Reason:
        found = self.board.reasons.get(job.id)
        # what was found before a pause ended says that it is paused
        if found is None or (found.code in PAUSES and job.hold is not Hold.USER):
            return RESOLVING if job.entry_id is None else ITS_TURN
        return found

    def _masked(self, options: Mapping[str, str]) -> Mapping[str, str]:
        secret = self.secret_options() if options else ()
        return {key: MASK if key in secret else value for key, value in options.items()}


def progress(job: Job, done: Bytes) -> float:
    """0.0 to 1.0; 1.0 only for a completed job, 0.0 while the size is unknown."""
    if job.state is JobState.COMPLETED:
        return 1.0
    if not job.size:
        return 0.0
    return min(done / job.size, 0.9999)
