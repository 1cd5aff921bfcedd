"""Jobs, and what is told of them in short, ↔ rows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

from oddaemon.domain.job import Hold, Job, JobState
from oddaemon.domain.source import SourceKind
from oddaemon.domain.types import Bytes, BytesPerSecond, EngineName, EntryId, JobId, JobNumber, NodeId, UserId
from oddaemon.ports.store import ClaimRow, HeldRow
from oddaemon.store.rows import (
    RawRow,
    bool_of,
    failure_of,
    failure_row,
    int_of,
    int_or_none,
    reason_of,
    reason_row,
    storable,
    storable_json,
    strings_of,
    text_of,
    text_or_none,
    texts_of,
    time_of,
    time_or_none,
    uuid_of,
    uuid_or_none,
)
from oddaemon.store.tables import jobs

_C = jobs.c
COLUMNS = (
    _C.id, _C.number, _C.user_id, _C.source, _C.kind, _C.created_at, _C.updated_at, _C.state, _C.hold, _C.hold_until,
    _C.reason, _C.name, _C.renamed, _C.engine, _C.engine_wish, _C.engine_state, _C.node_id, _C.node_wish, _C.entry_id,
    _C.cache_key, _C.cache_hit, _C.force, _C.selection, _C.options, _C.checksum, _C.priority, _C.tags,
    _C.max_rate_down, _C.max_rate_up, _C.size, _C.done, _C.files_total, _C.files_selected, _C.files_failed, _C.error,
    _C.attempts, _C.next_try_at, _C.started_at, _C.completed_at, _C.rev, _C.node_labels,
)  # fmt: skip
CLAIM_COLUMNS = (
    _C.id, _C.number, _C.user_id, _C.entry_id, _C.engine, _C.state, _C.hold, _C.priority, _C.size, _C.node_wish,
    _C.info_hash, _C.node_labels,
)  # fmt: skip
HELD_COLUMNS = (_C.id, _C.number, _C.user_id, _C.entry_id, _C.state, _C.selection, _C.size, _C.done)

_job_id = cast("Callable[[object], JobId]", uuid_of)
_user_id = cast("Callable[[object], UserId]", uuid_of)
_entry_id = cast("Callable[[object], EntryId]", uuid_of)
_entry_id_or_none = cast("Callable[[object], EntryId | None]", uuid_or_none)
_number = cast("Callable[[object], JobNumber]", int_of)
_bytes = cast("Callable[[object], Bytes]", int_of)
_bytes_or_none = cast("Callable[[object], Bytes | None]", int_or_none)
_rate_or_none = cast("Callable[[object], BytesPerSecond | None]", int_or_none)
_engine = cast("Callable[[object], EngineName]", text_of)
_engine_or_none = cast("Callable[[object], EngineName | None]", text_or_none)
_node_or_none = cast("Callable[[object], NodeId | None]", text_or_none)


def job_of(row: RawRow) -> Job:
    """A row of `COLUMNS`. Raises ValueError, TypeError or KeyError for what cannot be read."""
    (
        id_, number, user_id, source, kind, created_at, updated_at, state, hold, hold_until,
        reason, name, renamed, engine, engine_wish, engine_state, node_id, node_wish, entry_id,
        cache_key, cache_hit, force, selection, options, checksum, priority, tags,
        max_rate_down, max_rate_up, size, done, files_total, files_selected, files_failed, error,
        attempts, next_try_at, started_at, completed_at, rev, node_labels,
    ) = row  # fmt: skip
    return Job(
        id=_job_id(id_),
        number=_number(number),
        user_id=_user_id(user_id),
        source=text_of(source),
        kind=SourceKind(kind),
        created_at=time_of(created_at),
        updated_at=time_of(updated_at),
        state=JobState(state),
        hold=Hold(hold),
        hold_until=time_or_none(hold_until),
        reason=reason_of(reason),
        name=text_or_none(name),
        renamed=bool_of(renamed),
        engine=_engine_or_none(engine),
        engine_wish=_engine_or_none(engine_wish),
        engine_state=text_or_none(engine_state),
        node_id=_node_or_none(node_id),
        node_wish=_node_or_none(node_wish),
        entry_id=_entry_id_or_none(entry_id),
        cache_key=text_or_none(cache_key),
        cache_hit=bool_of(cache_hit),
        force=bool_of(force),
        selection=text_of(selection),
        options=texts_of(options),
        checksum=text_or_none(checksum),
        priority=int_of(priority),
        tags=strings_of(tags),
        max_rate_down=_rate_or_none(max_rate_down),
        max_rate_up=_rate_or_none(max_rate_up),
        size=_bytes_or_none(size),
        done=_bytes(done),
        files_total=int_of(files_total),
        files_selected=int_of(files_selected),
        files_failed=int_of(files_failed),
        error=failure_of(error),
        attempts=int_of(attempts),
        next_try_at=time_or_none(next_try_at),
        started_at=time_or_none(started_at),
        completed_at=time_or_none(completed_at),
        rev=int_of(rev),
        node_labels=texts_of(node_labels),
    )


def job_row(job: Job) -> dict[str, Any]:
    """Every column of `jobs`."""
    return {
        "id": job.id,
        "number": job.number,
        "user_id": job.user_id,
        "source": storable(job.source),
        "kind": job.kind.value,
        "created_at": job.created_at,
        "updated_at": job.updated_at,
        "state": job.state.value,
        "hold": job.hold.value,
        "hold_until": job.hold_until,
        "reason": storable_json(reason_row(job.reason)),
        "name": storable(job.name),
        "renamed": job.renamed,
        "engine": job.engine,
        "engine_wish": job.engine_wish,
        "engine_state": storable(job.engine_state),
        "node_id": job.node_id,
        "node_wish": job.node_wish,
        "entry_id": job.entry_id,
        "cache_key": storable(job.cache_key),
        "cache_hit": job.cache_hit,
        "force": job.force,
        "selection": storable(job.selection),
        "options": storable_json(job.options),
        "checksum": storable(job.checksum),
        "priority": job.priority,
        "tags": storable_json(job.tags),
        "max_rate_down": job.max_rate_down,
        "max_rate_up": job.max_rate_up,
        "size": job.size,
        "done": job.done,
        "files_total": job.files_total,
        "files_selected": job.files_selected,
        "files_failed": job.files_failed,
        "error": storable_json(failure_row(job.error)),
        "attempts": job.attempts,
        "next_try_at": job.next_try_at,
        "started_at": job.started_at,
        "completed_at": job.completed_at,
        "rev": job.rev,
        "info_hash": info_hash_in(job.cache_key),
        "node_labels": storable_json(job.node_labels),
    }


def info_hash_in(cache_key: str | None) -> str | None:
    """The info-hash that a key of the form `engine:hash:<40 hex>[:@owner]` is made of."""
    parts = cache_key.split(":") if cache_key else []
    return parts[2] if len(parts) >= 3 and parts[1] == "hash" and len(parts[2]) == 40 else None


def claim_of(row: RawRow) -> ClaimRow:
    """A row of `CLAIM_COLUMNS`."""
    id_, number, user_id, entry_id, engine, state, hold, priority, size, node_wish, info_hash, labels = row
    return ClaimRow(
        job_id=_job_id(id_),
        number=_number(number),
        user_id=_user_id(user_id),
        entry_id=_entry_id(entry_id),
        engine=_engine(engine),
        active=JobState(state) is JobState.ACTIVE,
        hold=Hold(hold),
        priority=int_of(priority),
        size=_bytes_or_none(size),
        node_wish=_node_or_none(node_wish),
        info_hash=text_or_none(info_hash),
        node_labels=frozenset(texts_of(labels).items()),
    )


def held_of(row: RawRow) -> HeldRow:
    """A row of `HELD_COLUMNS`."""
    id_, number, user_id, entry_id, state, selection, size, done = row
    return HeldRow(
        job_id=_job_id(id_),
        number=_number(number),
        user_id=_user_id(user_id),
        entry_id=_entry_id(entry_id),
        state=JobState(state),
        selection=text_of(selection),
        size=_bytes_or_none(size),
        done=_bytes(done),
    )
