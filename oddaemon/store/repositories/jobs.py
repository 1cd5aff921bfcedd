"""Every query for jobs but the filtered lists (see `job_query`)."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa

from oddaemon.domain.errors import NotFound
from oddaemon.domain.job import UNFINISHED, Hold, Job, JobState
from oddaemon.domain.retry import SET_BACK
from oddaemon.domain.types import Bytes, EntryId, JobId, JobNumber, UserId
from oddaemon.ports.store import ClaimRow, HeldRow, Page, Query
from oddaemon.store.repositories import job_query
from oddaemon.store.repositories.job_rows import (
    CLAIM_COLUMNS,
    COLUMNS,
    HELD_COLUMNS,
    claim_of,
    held_of,
    job_of,
    job_row,
)
from oddaemon.store.rows import chunks, raw_columns, time_or_none
from oddaemon.store.scope import JOB_NUMBER, REV, Scope
from oddaemon.store.tables import download_links, jobs

MAX_NUMBER = 2**63 - 1

_C = jobs.c
_OPEN = sorted(state.value for state in UNFINISHED)

_SELECT = sa.select(*raw_columns(*COLUMNS))
_INSERT = sa.insert(jobs)
_UPDATE = (
    sa.update(jobs)
    .where(_C.id == sa.bindparam("row_id"))
    .values({column: sa.bindparam(column.name, type_=column.type) for column in jobs.columns if column is not _C.id})
)
_DELETE = sa.delete(jobs).where(_C.id == sa.bindparam("row_id"))
_BY_ID = _SELECT.where(_C.id == sa.bindparam("row_id"))
_BY_NUMBERS = _SELECT.where(_C.number.in_(sa.bindparam("numbers", expanding=True))).order_by(_C.number)
_BY_INFO_HASH = _SELECT.where(_C.info_hash == sa.bindparam("info_hash_wanted")).order_by(_C.number)
_LAST_OF = _SELECT.where(_C.user_id == sa.bindparam("user")).order_by(_C.number.desc()).limit(1)
_OF_ENTRIES = _SELECT.where(_C.entry_id.in_(sa.bindparam("entries", expanding=True))).order_by(_C.number)
_UNFINISHED_OF = _SELECT.where(_C.entry_id == sa.bindparam("of_entry"), _C.state.in_(_OPEN)).order_by(_C.number)
_TURN = sa.func.row_number().over(partition_by=_C.user_id, order_by=_C.number)
_NOW, _AHEAD = (sa.bindparam(name, type_=_C.next_try_at.type) for name in ("now", "ahead"))
_TURNS = (
    sa.select(_C.id, _C.number, _TURN.label("turn"))
    .where(
        _C.state == JobState.QUEUED.value,
        _C.entry_id.is_(None),
        # domain/retry.py waits()
        sa.or_(_C.next_try_at.is_(None), _C.next_try_at <= _NOW, _C.updated_at > _AHEAD),
    )
    .subquery("turns")
)
_NEXT = sa.select(_TURNS.c.id, _TURNS.c.turn).order_by(_TURNS.c.turn, _TURNS.c.number).limit(sa.bindparam("most"))
_FIRST = _NEXT.subquery("firsts")
_UNRESOLVED = _SELECT.join(_FIRST, _FIRST.c.id == _C.id).order_by(_FIRST.c.turn, _C.number)
_HOLDS_ENDING = _SELECT.where(
    _C.state == JobState.QUEUED.value,
    _C.hold == Hold.USER.value,
    _C.hold_until <= sa.bindparam("before", type_=_C.hold_until.type),
).order_by(_C.number)

_NEXT_HOLD_END = (
    sa.select(*raw_columns(_C.hold_until))
    .where(
        _C.state == JobState.QUEUED.value,
        _C.hold == Hold.USER.value,
        _C.hold_until > sa.bindparam("after", type_=_C.hold_until.type),
    )
    .order_by(_C.hold_until)
    .limit(1)
)

_CLAIMS = (
    sa.select(*raw_columns(*CLAIM_COLUMNS))
    .where(_C.state.in_(_OPEN), _C.entry_id.is_not(None), _C.engine.is_not(None))
    .order_by(_C.number)
)
_COUNT_UNFINISHED = (
    sa.select(sa.func.count()).select_from(jobs).where(_C.user_id == sa.bindparam("user"), _C.state.in_(_OPEN))
)
_CLAIMING = (_C.entry_id.is_not(None), _C.state != JobState.CANCELLED.value)
_HELD = sa.select(*raw_columns(*HELD_COLUMNS)).where(*_CLAIMING).order_by(_C.number)
_HELD_BY = _HELD.where(_C.user_id == sa.bindparam("user"))
_HELD_IN = _HELD.where(_C.entry_id.in_(sa.bindparam("entries", expanding=True)))
_MOST_HELD = sa.select(sa.func.sum(sa.func.coalesce(_C.size, _C.done))).where(
    *_CLAIMING, _C.user_id == sa.bindparam("user")
)
_COUNT_STATES = sa.select(_C.state, sa.func.count()).group_by(_C.state)
_COUNT_PAUSED = (
    sa.select(sa.func.count())
    .select_from(jobs)
    .where(_C.state == JobState.QUEUED.value, _C.hold == Hold.USER.value)
)
_COUNT_PAUSED_OF = _COUNT_PAUSED.where(_C.user_id == sa.bindparam("user"))
_COUNT_STATES_OF = _COUNT_STATES.where(_C.user_id == sa.bindparam("user"))
_PROGRESS = (
    sa.update(jobs)
    # many rows at once take no IN
    .where(_C.id == sa.bindparam("row_id"), sa.or_(*(_C.state == state for state in _OPEN)))
    .values(done=sa.bindparam("now_done"), size=sa.bindparam("now_size"))
)
_REVOKE_LINKS = (
    sa.update(download_links)
    .where(download_links.c.job_id == sa.bindparam("of_job"))
    .values(
        job_removed=sa.true(),
        revoked_at=sa.func.coalesce(
            download_links.c.revoked_at, sa.bindparam("at", type_=download_links.c.revoked_at.type)
        ),
    )
)

class SqlJobs:
    """Meets ports.store.JobRepository."""

    __slots__ = ("_scope",)

    def __init__(self, scope: Scope) -> None:
        self._scope = scope

    def take_number(self) -> JobNumber:
        return JobNumber(self._scope.take(JOB_NUMBER))

    def insert(self, job: Job) -> Job:
        rev = self._scope.rev()
        self._scope.run(_INSERT, {**job_row(job), "rev": rev})
        return replace(job, rev=rev)

    def update(self, job: Job) -> Job:
        rev = self._scope.rev()
        row = {**job_row(job), "rev": rev}
        row["row_id"] = row.pop("id")
        if not self._scope.run(_UPDATE, row):
            raise NotFound(f"there is no job {job.number}")
        return replace(job, rev=rev)

    def update_all(self, jobs: Sequence[Job]) -> Sequence[Job]:
        if not jobs:
            return ()
        rev = self._scope.rev()
        rows = [{**job_row(job), "rev": rev} for job in jobs]
        for row in rows:
            row["row_id"] = row.pop("id")
        if self._scope.run(_UPDATE, rows) != len(rows):
            raise NotFound("one of these jobs is gone")
        return [replace(job, rev=rev) for job in jobs]

    def delete(self, job_id: JobId) -> None:
        # the links stay: until they expire, the processes that serve files have to be told to refuse them
        self._scope.run(_REVOKE_LINKS, {"of_job": job_id, "at": datetime.now(UTC)})
        self._scope.run(_DELETE, {"row_id": job_id})

    def get(self, job_id: JobId) -> Job | None:
        return self._scope.one(jobs, job_of, self._scope.row(_BY_ID, {"row_id": job_id}))

    def by_numbers(self, numbers: Collection[int]) -> Sequence[Job]:
        found: list[Job] = []
        for chunk in chunks(sorted({number for number in numbers if 0 < number <= MAX_NUMBER})):
            found += self._many(_BY_NUMBERS, {"numbers": chunk})
        return found

    def by_info_hash(self, info_hash: str) -> Sequence[Job]:
        return self._many(_BY_INFO_HASH, {"info_hash_wanted": info_hash})

    def last_of(self, user_id: UserId) -> Job | None:
        return self._scope.one(jobs, job_of, self._scope.row(_LAST_OF, {"user": user_id}))

    def of_entry(self, entry_id: EntryId) -> Sequence[Job]:
        return self._many(_OF_ENTRIES, {"entries": [entry_id]})

    def unfinished_of(self, entry_id: EntryId) -> Sequence[Job]:
        return self._many(_UNFINISHED_OF, {"of_entry": entry_id})

    def of_entries(self, entry_ids: Collection[EntryId]) -> Mapping[EntryId, Sequence[Job]]:
        found: dict[EntryId, list[Job]] = {entry_id: [] for entry_id in entry_ids}
        for chunk in chunks(found.keys()):
            for job in self._many(_OF_ENTRIES, {"entries": chunk}):
                if job.entry_id is not None:
                    found[job.entry_id].append(job)
        return found

    def unresolved(self, now: datetime, *, limit: int) -> Sequence[Job]:
        return self._many(_UNRESOLVED, {"now": now, "ahead": now + SET_BACK, "most": limit})

    def claims(self) -> Sequence[ClaimRow]:
        return self._scope.converted(jobs, claim_of, self._scope.rows(_CLAIMS))

    def count_unfinished(self, user_id: UserId) -> int:
        return self._scope.number(_COUNT_UNFINISHED, {"user": user_id})

    def held_by(self, user_id: UserId) -> Sequence[HeldRow]:
        return self._scope.converted(jobs, held_of, self._scope.rows(_HELD_BY, {"user": user_id}))

    def held_in(self, entry_ids: Collection[EntryId]) -> Sequence[HeldRow]:
        found: list[HeldRow] = []
        for chunk in chunks(entry_ids):
            found += self._scope.converted(jobs, held_of, self._scope.rows(_HELD_IN, {"entries": chunk}))
        return found

    def most_held(self, user_id: UserId) -> Bytes:
        return Bytes(self._scope.number(_MOST_HELD, {"user": user_id}))

    def record_progress(self, figures: Sequence[tuple[JobId, Bytes, Bytes | None]]) -> None:
        rows = [{"row_id": job_id, "now_done": done, "now_size": size} for job_id, done, size in figures]
        if rows:
            self._scope.run(_PROGRESS, rows)

    def holds_ending(self, before: datetime) -> Sequence[Job]:
        return self._many(_HOLDS_ENDING, {"before": before})

    def next_hold_end(self, after: datetime) -> datetime | None:
        found = self._scope.row(_NEXT_HOLD_END, {"after": after})
        # text that is no time sorts somewhere too: whoever reads that job puts it away
        with suppress(ValueError, TypeError):
            return time_or_none(found[0]) if found else None
        return None

    def page(self, query: Query) -> Page[Job]:
        numbers = self.page_numbers(query)
        found = {job.number: job for job in self.by_numbers(numbers.rows)}
        return Page(rows=[found[number] for number in numbers.rows if number in found], total=numbers.total)

    def page_numbers(self, query: Query) -> Page[JobNumber]:
        total, numbers = job_query.matching(self._scope, query)
        return Page(rows=numbers, total=total)

    def count_by_state(self, user_id: UserId | None = None) -> Mapping[JobState, int]:
        rows = (
            self._scope.rows(_COUNT_STATES)
            if user_id is None
            else self._scope.rows(_COUNT_STATES_OF, {"user": user_id})
        )
        counted = {str(state): int(count) for state, count in rows}
        return {state: counted.get(state.value, 0) for state in JobState}

    def count_paused(self, user_id: UserId | None = None) -> int:
        if user_id is None:
            return self._scope.number(_COUNT_PAUSED)
        return self._scope.number(_COUNT_PAUSED_OF, {"user": user_id})

    def highest_rev(self) -> int:
        return self._scope.counted(REV)

    def _many(self, statement: sa.Executable, params: Mapping[str, Any]) -> list[Job]:
        return self._scope.converted(jobs, job_of, self._scope.rows(statement, params))
