"""Cache entries, their files and their replicas ↔ rows."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import datetime
from typing import Any, cast

import sqlalchemy as sa

from oddaemon.domain.cache import CacheEntry, EntryFile, Replica, ReplicaState
from oddaemon.domain.errors import AlreadyExists, NotFound, StoreError
from oddaemon.domain.job import UNFINISHED, JobState
from oddaemon.domain.types import Bytes, EngineName, EntryId, Handle, NodeId, ReplicaId, UserId
from oddaemon.ports.store import EntryOverview, Page, Query
from oddaemon.store.repositories import cache_query
from oddaemon.store.repositories.portable import insert_new, upsert
from oddaemon.store.rows import (
    RawRow,
    bool_of,
    chunks,
    failure_of,
    failure_row,
    int_of,
    int_or_none,
    raw_columns,
    reason_of,
    reason_row,
    storable,
    storable_json,
    text_of,
    text_or_none,
    time_of,
    time_or_none,
    uuid_of,
    uuid_or_none,
)
from oddaemon.store.scope import Counters, Scope
from oddaemon.store.tables import cache_entries, entry_files, jobs, replicas

_E, _F, _R = cache_entries.c, entry_files.c, replicas.c
ENTRY_COLUMNS = (
    _E.id, _E.key, _E.generation, _E.engine, _E.created_at, _E.current, _E.owner, _E.name, _E.total_size,
    _E.files_known, _E.complete_at, _E.last_used_at, _E.hits, _E.pinned, _E.kept, _E.replicas,
)  # fmt: skip
FILE_COLUMNS = (
    _F.entry_id, _F.index, _F.path, _F.disk_path, _F.size, _F.content_type, _F.ready, _F.failed, _F.sha256
)  # fmt: skip
REPLICA_COLUMNS = (
    _R.id, _R.entry_id, _R.node_id, _R.engine, _R.created_at, _R.updated_at, _R.state, _R.handle, _R.engine_state,
    _R.reason, _R.error, _R.attempts, _R.next_try_at, _R.done, _R.wanted, _R.progress_at, _R.afresh, _R.placement,
)  # fmt: skip


def _update_of(table: sa.Table) -> sa.Update:
    columns = [column for column in table.columns if column.name != "id"]
    return (
        sa.update(table)
        .where(table.c.id == sa.bindparam("row_id"))
        .values({column: sa.bindparam(column.name, type_=column.type) for column in columns})
    )


_ENTRY = sa.select(*raw_columns(*ENTRY_COLUMNS))
_ENTRIES = _ENTRY.where(_E.id.in_(sa.bindparam("ids", expanding=True)))
_CURRENT = _ENTRY.where(_E.key == sa.bindparam("wanted_key"), _E.current.is_(sa.true()))
_GENERATIONS = _ENTRY.where(_E.key == sa.bindparam("wanted_key")).order_by(_E.generation)
_CLAIMLESS = _ENTRY.where(sa.not_(cache_query.claimed())).order_by(
    sa.func.coalesce(_E.last_used_at, _E.complete_at, _E.created_at), _E.id
)
_WISHING = _ENTRY.where(_E.pinned.is_(sa.true()), _E.replicas > 1).order_by(_E.created_at, _E.id)
_INSERT_ENTRY = {dialect: insert_new(cache_entries, dialect) for dialect in ("sqlite", "postgresql")}
_UPDATE_ENTRY = _update_of(cache_entries)
_DELETE_ENTRY = sa.delete(cache_entries).where(_E.id == sa.bindparam("row_id"))
_TOUCH = (
    sa.update(cache_entries)
    .where(_E.id == sa.bindparam("row_id"))
    .values(last_used_at=sa.bindparam("at", type_=_E.last_used_at.type), hits=_E.hits + sa.bindparam("more"))
)

_FILES = (
    sa.select(*raw_columns(*FILE_COLUMNS))
    .where(_F.entry_id.in_(sa.bindparam("ids", expanding=True)))
    .order_by(_F.entry_id, _F.index)
)
_PUT_FILE = {dialect: upsert(entry_files, dialect, "entry_id", "index") for dialect in ("sqlite", "postgresql")}

_REPLICA = sa.select(*raw_columns(*REPLICA_COLUMNS)).order_by(_R.created_at, _R.id)
_REPLICA_BY_ID = _REPLICA.where(_R.id == sa.bindparam("row_id"))
_REPLICAS_OF = _REPLICA.where(_R.entry_id.in_(sa.bindparam("ids", expanding=True)))
_REPLICAS_WITH = _REPLICA.where(_R.id.in_(sa.bindparam("ids", expanding=True)))
_REPLICAS_IN = _REPLICA.where(_R.state.in_(sa.bindparam("states", expanding=True)))
_OPEN = sorted(state.value for state in UNFINISHED)
_AT_WORK = _REPLICA.where(
    sa.or_(
        _R.state != ReplicaState.READY.value,
        _R.entry_id.in_(
            sa.select(jobs.c.entry_id).where(jobs.c.state.in_(_OPEN), jobs.c.entry_id.is_not(None))
        ),
    )
)
_INSERT_REPLICA = sa.insert(replicas)
_UPDATE_REPLICA = _update_of(replicas)
_DELETE_REPLICA = sa.delete(replicas).where(_R.id == sa.bindparam("row_id"))

_entry_id = cast("Callable[[object], EntryId]", uuid_of)
_replica_id = cast("Callable[[object], ReplicaId]", uuid_of)
_owner = cast("Callable[[object], UserId | None]", uuid_or_none)
_engine = cast("Callable[[object], EngineName]", text_of)
_node = cast("Callable[[object], NodeId]", text_of)
_handle = cast("Callable[[object], Handle | None]", text_or_none)
_bytes = cast("Callable[[object], Bytes]", int_of)
_bytes_or_none = cast("Callable[[object], Bytes | None]", int_or_none)


def entry_of(row: RawRow) -> CacheEntry:
    """A row of `ENTRY_COLUMNS`."""
    (
        id_, key, generation, engine, created_at, current, owner, name, total_size,
        files_known, complete_at, last_used_at, hits, pinned, kept, replicas,
    ) = row  # fmt: skip
    return CacheEntry(
        id=_entry_id(id_),
        key=text_of(key),
        generation=int_of(generation),
        engine=_engine(engine),
        created_at=time_of(created_at),
        current=bool_of(current),
        owner=_owner(owner),
        name=text_or_none(name),
        total_size=_bytes_or_none(total_size),
        files_known=bool_of(files_known),
        complete_at=time_or_none(complete_at),
        last_used_at=time_or_none(last_used_at),
        hits=int_of(hits),
        pinned=bool_of(pinned),
        kept=bool_of(kept),
        replicas=int_of(replicas),
    )


def entry_row(entry: CacheEntry) -> dict[str, Any]:
    return {
        "id": entry.id,
        "key": storable(entry.key),
        "generation": entry.generation,
        "engine": entry.engine,
        "created_at": entry.created_at,
        "current": entry.current,
        "owner": entry.owner,
        "name": storable(entry.name),
        "total_size": entry.total_size,
        "files_known": entry.files_known,
        "complete_at": entry.complete_at,
        "last_used_at": entry.last_used_at,
        "hits": entry.hits,
        "pinned": entry.pinned,
        "kept": entry.kept,
        "replicas": entry.replicas,
    }


def file_of(row: RawRow) -> tuple[EntryId, EntryFile]:
    """A row of `FILE_COLUMNS`."""
    entry_id, index, path, disk_path, size, content_type, ready, failed, sha256 = row
    return _entry_id(entry_id), EntryFile(
        index=int_of(index),
        path=text_of(path),
        disk_path=text_of(disk_path),
        size=_bytes_or_none(size),
        content_type=text_of(content_type),
        ready=bool_of(ready),
        failed=text_or_none(failed),
        sha256=text_or_none(sha256),
    )


def file_row(entry_id: EntryId, file: EntryFile) -> dict[str, Any]:
    return {
        "entry_id": entry_id,
        "index": file.index,
        "path": storable(file.path),
        # as it is: a name that the database cannot hold has to be refused, or another file would be opened
        "disk_path": file.disk_path,
        "size": file.size,
        "content_type": storable(file.content_type),
        "ready": file.ready,
        "failed": storable(file.failed),
        "sha256": file.sha256,
    }


def replica_of(row: RawRow) -> Replica:
    """A row of `REPLICA_COLUMNS`."""
    (
        id_, entry_id, node_id, engine, created_at, updated_at, state, handle, engine_state,
        reason, error, attempts, next_try_at, done, wanted, progress_at, afresh, placement,
    ) = row  # fmt: skip
    return Replica(
        id=_replica_id(id_),
        entry_id=_entry_id(entry_id),
        node_id=_node(node_id),
        engine=_engine(engine),
        created_at=time_of(created_at),
        updated_at=time_of(updated_at),
        state=ReplicaState(state),
        handle=_handle(handle),
        engine_state=text_or_none(engine_state),
        reason=reason_of(reason),
        error=failure_of(error),
        attempts=int_of(attempts),
        next_try_at=time_or_none(next_try_at),
        done=_bytes(done),
        wanted=_bytes_or_none(wanted),
        progress_at=time_or_none(progress_at),
        afresh=bool_of(afresh),
        placement=text_of(placement),
    )


def replica_row(replica: Replica) -> dict[str, Any]:
    return {
        "id": replica.id,
        "entry_id": replica.entry_id,
        "node_id": replica.node_id,
        "engine": replica.engine,
        "created_at": replica.created_at,
        "updated_at": replica.updated_at,
        "state": replica.state.value,
        "handle": replica.handle,
        "engine_state": storable(replica.engine_state),
        "reason": storable_json(reason_row(replica.reason)),
        "error": storable_json(failure_row(replica.error)),
        "attempts": replica.attempts,
        "next_try_at": replica.next_try_at,
        "done": replica.done,
        "wanted": replica.wanted,
        "progress_at": replica.progress_at,
        "afresh": replica.afresh,
        "placement": storable(replica.placement),
    }


def write_touches(connection: sa.Connection, counters: Counters) -> None:
    """Stores which entries works have used in this transaction, in one statement."""
    if counters.touches:
        connection.execute(_TOUCH, counters.touches)


class SqlCache:
    """Meets ports.store.CacheRepository."""

    __slots__ = ("_scope",)

    def __init__(self, scope: Scope) -> None:
        self._scope = scope

    def insert_entry(self, entry: CacheEntry) -> None:
        if not self._scope.insert(_INSERT_ENTRY[self._scope.dialect], entry_row(entry)):
            raise AlreadyExists("there is a cache entry of this key already", key=entry.key)

    def update_entry(self, entry: CacheEntry) -> None:
        row = entry_row(entry)
        row["row_id"] = row.pop("id")
        if not self._scope.run(_UPDATE_ENTRY, row):
            raise NotFound("there is no such cache entry", key=entry.key)

    def delete_entry(self, entry_id: EntryId) -> None:
        self._scope.run(_DELETE_ENTRY, {"row_id": entry_id})

    def entry(self, entry_id: EntryId) -> CacheEntry | None:
        return self.entries([entry_id]).get(entry_id)

    def entries(self, entry_ids: Collection[EntryId]) -> Mapping[EntryId, CacheEntry]:
        found: list[CacheEntry] = []
        for chunk in chunks(set(entry_ids)):
            found += self._entries(_ENTRIES, {"ids": chunk})
        return {entry.id: entry for entry in found}

    def current_entry(self, key: str) -> CacheEntry | None:
        found = self._entries(_CURRENT, {"wanted_key": storable(key)})
        return found[0] if found else None

    def generations(self, key: str) -> Sequence[CacheEntry]:
        return self._entries(_GENERATIONS, {"wanted_key": storable(key)})

    def put_files(self, entry_id: EntryId, files: Sequence[EntryFile]) -> None:
        if files:
            self._scope.run(_PUT_FILE[self._scope.dialect], [file_row(entry_id, file) for file in files])

    def files(self, entry_id: EntryId) -> Sequence[EntryFile]:
        rows = self._scope.kept(_FILES, {"ids": [entry_id]}, entry_id)
        return [file for _, file in self._scope.converted(entry_files, file_of, rows, keys=2)]

    def files_of(self, entry_ids: Collection[EntryId]) -> Mapping[EntryId, Sequence[EntryFile]]:
        found: dict[EntryId, list[EntryFile]] = {entry_id: [] for entry_id in entry_ids}
        for chunk in chunks(found.keys()):
            rows = self._scope.rows(_FILES, {"ids": chunk})
            for entry_id, file in self._scope.converted(entry_files, file_of, rows, keys=2):
                found[entry_id].append(file)
        return found

    def insert_replica(self, replica: Replica) -> None:
        self.insert_replicas([replica])

    def insert_replicas(self, replicas: Sequence[Replica]) -> None:
        if replicas:
            self._scope.run(_INSERT_REPLICA, [replica_row(replica) for replica in replicas])

    def update_replica(self, replica: Replica) -> None:
        self.update_replicas([replica])

    def update_replicas(self, replicas: Sequence[Replica]) -> None:
        rows = [replica_row(replica) for replica in replicas]
        for row in rows:
            row["row_id"] = row.pop("id")
        if rows and self._scope.run(_UPDATE_REPLICA, rows) != len(rows):
            raise NotFound("there is no such replica")

    def delete_replica(self, replica_id: ReplicaId) -> None:
        self._scope.run(_DELETE_REPLICA, {"row_id": replica_id})

    def replica(self, replica_id: ReplicaId) -> Replica | None:
        return self._scope.one(replicas, replica_of, self._scope.row(_REPLICA_BY_ID, {"row_id": replica_id}))

    def replicas_with(self, replica_ids: Collection[ReplicaId]) -> Mapping[ReplicaId, Replica]:
        found: list[Replica] = []
        for chunk in chunks(set(replica_ids)):
            found += self._replicas(_REPLICAS_WITH, {"ids": chunk})
        return {replica.id: replica for replica in found}

    def replicas_of(self, entry_id: EntryId) -> Sequence[Replica]:
        rows = self._scope.kept(_REPLICAS_OF, {"ids": [entry_id]}, entry_id)
        return self._scope.converted(replicas, replica_of, rows)

    def replicas_of_all(self, entry_ids: Collection[EntryId]) -> Mapping[EntryId, Sequence[Replica]]:
        found: dict[EntryId, list[Replica]] = {entry_id: [] for entry_id in entry_ids}
        for chunk in chunks(found.keys()):
            for replica in self._replicas(_REPLICAS_OF, {"ids": chunk}):
                found[replica.entry_id].append(replica)
        return found

    def replicas_in(self, states: Collection[ReplicaState]) -> Sequence[Replica]:
        return self._replicas(_REPLICAS_IN, {"states": [state.value for state in states]})

    def replicas_at_work(self) -> Sequence[Replica]:
        return self._replicas(_AT_WORK, {})

    def ready_with(self, options: Collection[str]) -> Sequence[Replica]:
        given = sa.or_(sa.false(), *(jobs.c.options[name].as_string().is_not(None) for name in options))
        done = sa.select(jobs.c.entry_id).where(
            jobs.c.state == JobState.COMPLETED.value, jobs.c.entry_id.is_not(None), given
        )
        return self._replicas(_REPLICA.where(_R.state == ReplicaState.READY.value, _R.entry_id.in_(done)), {})

    def all_replicas(self) -> Sequence[Replica]:
        return self._replicas(_REPLICA, {})

    def claimless(self) -> Sequence[CacheEntry]:
        return self._entries(_CLAIMLESS, {})

    def wishing(self) -> Sequence[CacheEntry]:
        return self._entries(_WISHING, {})

    def overviews(self, query: Query, *, key: str | None = None) -> Page[EntryOverview]:
        total, ids = cache_query.matching(self._scope, query, key)
        entries = self.entries(ids)
        by_entry: dict[EntryId, list[Replica]] = {entry_id: [] for entry_id in ids}
        for chunk in chunks(ids):
            for replica in self._replicas(_REPLICAS_OF, {"ids": chunk}):
                by_entry[replica.entry_id].append(replica)
        claims = cache_query.claims_of(self._scope, ids, query.user_id)
        rows = [
            EntryOverview(
                entry=entries[entry_id],
                replicas=by_entry[entry_id],
                jobs=[number for number, _ in claims[entry_id]],
                users=sorted({user for _, user in claims[entry_id]}),
            )
            for entry_id in ids
            if entry_id in entries
        ]
        return Page(rows=rows, total=total)

    def touch(self, entry_id: EntryId, at: datetime, *, hit: bool) -> None:
        if self._scope.counters is None:
            raise StoreError("a read cannot write")
        self._scope.counters.touches.append({"row_id": entry_id, "at": at, "more": int(hit)})

    def _entries(self, statement: sa.Executable, params: Mapping[str, Any]) -> list[CacheEntry]:
        return self._scope.converted(cache_entries, entry_of, self._scope.rows(statement, params))

    def _replicas(self, statement: sa.Executable, params: Mapping[str, Any]) -> list[Replica]:
        return self._scope.converted(replicas, replica_of, self._scope.rows(statement, params))
