"""What becomes of a row that cannot be read.

It is copied as it is to the `quarantine` table. Then the fields that cannot be read are set to harmless values, if the
row can go on with them (a job without its reason, a replica that begins anew with the bytes in its directory, a user
who is locked out); else the row is taken out, and the others go on without it.
"""

from __future__ import annotations

import base64
import json
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa

from oddaemon.domain.cache import ReplicaState
from oddaemon.domain.job import Hold
from oddaemon.domain.user import Role
from oddaemon.store.repositories import (
    cache,
    credentials,
    events,
    job_rows,
    join_tokens,
    keyed_adds,
    links,
    materials,
    nodes,
    served,
    settings,
    users,
)
from oddaemon.store.rows import (
    RawRow,
    bool_of,
    bytes_of,
    failure_of,
    int_of,
    int_or_none,
    raw_columns,
    reason_of,
    strings_of,
    text_of,
    text_or_none,
    texts_of,
    time_of,
    time_or_none,
    uuid_or_none,
)
from oddaemon.store.scope import Scope, Suspect
from oddaemon.store.tables import cache_entries, metadata
from oddaemon.store.tables import quarantine as quarantine_table

log = logging.getLogger(__name__)

Read = Callable[[object], object]
UNREADABLE = (ValueError, TypeError, KeyError, AttributeError, OverflowError)


@dataclass(frozen=True, slots=True)
class Mend:
    """How a field is read, and what it is set to when it cannot be."""

    read: Read
    instead: Callable[[], object] = lambda: None


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """How the rows of a table are read and mended. Without `removable` other rows hang on it, and it stays."""

    columns: tuple[sa.Column[Any], ...]
    convert: Callable[[RawRow], object]
    mends: Mapping[str, Mend] = field(default_factory=dict)
    removable: bool = True
    hidden: tuple[str, ...] = ()
    """Fields whose content is not copied."""


def _now() -> datetime:
    return datetime.now(UTC)


_TEXT, _NUMBER, _TIME = Mend(text_or_none), Mend(int_or_none), Mend(time_or_none)
_ZERO, _NO = Mend(int_of, lambda: 0), Mend(bool_of, lambda: False)
_NOW, _REASON, _FAILURE = Mend(time_of, _now), Mend(reason_of), Mend(failure_of)

KINDS: Mapping[str, Kind] = {
    "users": Kind(
        columns=users.COLUMNS,
        convert=users.user_of,
        removable=False,
        mends={
            "role": Mend(Role, lambda: Role.USER.value),  # type: ignore[arg-type]
            "is_active": _NO,
            "email": _TEXT,
            "password": _TEXT,
            "created_at": _NOW,
            "updated_at": _NOW,
            # no limits of its own: those of the settings hold
            "limits": Mend(users.limits_of),
            "unix_uid": _NUMBER,
            "last_seen_at": _TIME,
            "generation": _ZERO,
        },
        hidden=("password",),
    ),
    # a credential that cannot be read is none
    "api_keys": Kind(columns=credentials.KEY_COLUMNS, convert=credentials.key_of, hidden=("digest",)),
    "sessions": Kind(columns=credentials.SESSION_COLUMNS, convert=credentials.session_of, hidden=("digest",)),
    "invitations": Kind(columns=credentials.INVITATION_COLUMNS, convert=credentials.invitation_of, hidden=("digest",)),
    # then the request is carried out as a new one
    "join_tokens": Kind(columns=join_tokens.COLUMNS, convert=join_tokens.token_of, hidden=("key",)),
    "keyed_adds": Kind(columns=keyed_adds.COLUMNS, convert=keyed_adds.keyed_add_of),
    "cache_entries": Kind(
        columns=cache.ENTRY_COLUMNS,
        convert=cache.entry_of,
        removable=False,
        mends={
            "name": _TEXT,
            "total_size": _NUMBER,
            "files_known": _NO,
            "complete_at": _TIME,
            "last_used_at": _TIME,
            "created_at": _NOW,
            "hits": _ZERO,
            "pinned": Mend(bool_of, lambda: True),
            "kept": Mend(bool_of, lambda: True),
            "replicas": Mend(int_of, lambda: 1),
            "current": _NO,
            # nobody knows any more whose it is: a user that does not exist owns it, so nobody gets it
            "owner": Mend(uuid_or_none, lambda: sa.text("id")),
        },
    ),
    "entry_files": Kind(
        columns=cache.FILE_COLUMNS,
        convert=cache.file_of,
        mends={
            "size": _NUMBER,
            "content_type": Mend(text_of, lambda: "application/octet-stream"),
            "ready": _NO,
            "failed": _TEXT,
            "sha256": _TEXT,
        },
    ),
    "replicas": Kind(
        columns=cache.REPLICA_COLUMNS,
        convert=cache.replica_of,
        mends={
            "state": Mend(ReplicaState, lambda: ReplicaState.WAITING.value),  # type: ignore[arg-type]
            "handle": _TEXT,
            "engine_state": _TEXT,
            "reason": _REASON,
            "error": _FAILURE,
            "attempts": _ZERO,
            "afresh": Mend(bool_of, lambda: True),
            "done": _ZERO,
            "wanted": _NUMBER,
            "created_at": _NOW,
            "updated_at": _NOW,
            "next_try_at": _TIME,
            "progress_at": _TIME,
        },
    ),
    "jobs": Kind(
        columns=job_rows.COLUMNS,
        convert=job_rows.job_of,
        mends={
            "hold": Mend(Hold, lambda: Hold.USER.value),  # type: ignore[arg-type]
            "hold_until": _TIME,
            "reason": _REASON,
            "error": _FAILURE,
            "name": _TEXT,
            "renamed": _NO,
            "engine_state": _TEXT,
            "node_id": _TEXT,
            "node_wish": _TEXT,
            "node_labels": Mend(texts_of, dict),
            "cache_hit": _NO,
            "force": _NO,
            "priority": _ZERO,
            "tags": Mend(strings_of, list),
            "max_rate_down": _NUMBER,
            "max_rate_up": _NUMBER,
            "size": _NUMBER,
            "done": _ZERO,
            "files_total": _ZERO,
            "files_selected": _ZERO,
            "files_failed": _ZERO,
            "attempts": _ZERO,
            "rev": _ZERO,
            "created_at": _NOW,
            "updated_at": _NOW,
            "started_at": _TIME,
            "completed_at": Mend(time_or_none, _now),
            "next_try_at": _TIME,
        },
    ),
    "materials": Kind(
        columns=materials.COLUMNS,
        convert=materials.material_of,
        mends={
            "secrets": Mend(lambda raw: None if raw is None else texts_of(raw)),
            "torrent": Mend(lambda raw: None if raw is None else bytes_of(raw)),
            "erased": Mend(bool_of, lambda: True),
        },
        hidden=("secrets",),
    ),
    "download_links": Kind(columns=links.COLUMNS, convert=links.link_of),
    "served_bytes": Kind(columns=served.COLUMNS, convert=served.served_of, mends={"bytes": _ZERO}),
    "settings": Kind(columns=settings.COLUMNS, convert=settings.setting_of),
    "events": Kind(columns=events.COLUMNS, convert=events.event_of),
    "nodes": Kind(columns=nodes.COLUMNS, convert=nodes.node_of),
}


def count(scope: Scope) -> int:
    return scope.number(sa.select(sa.func.count()).select_from(quarantine_table))


def settle(scope: Scope, suspect: Suspect) -> None:
    """Copies a damaged row, then mends it or takes it out. Does nothing when the row reads well by now."""
    kind, table = KINDS[suspect.table], metadata.tables[suspect.table]
    here = sa.and_(
        *(
            sa.type_coerce(column, sa.types.NullType()) == sa.literal(value, sa.types.NullType())
            for column, value in zip(table.primary_key.columns, suspect.key, strict=True)
        )
    )
    raw = scope.row(sa.select(*raw_columns(*table.columns)).where(here))
    problem = _problem(scope, kind, here)
    if raw is None or problem is None:
        return
    row = raw._asdict()
    content = {name: "***" if name in kind.hidden and value is not None else value for name, value in row.items()}
    if not _copied(scope, suspect, json.dumps(content, default=_plain), problem):
        return
    mended = _mended(kind, row)
    if mended:
        scope.run(sa.update(table).where(here).values(mended))
    if not mended or _problem(scope, kind, here) is not None:
        if not kind.removable:
            return
        if suspect.table == "jobs":
            _keep_content_of(scope, row)
        scope.run(sa.delete(table).where(here))
    log.error(
        "a damaged row was put into quarantine",
        extra={"action": "store.quarantine", "table": suspect.table, "key": repr(suspect.key), "error": problem},
    )


def _problem(scope: Scope, kind: Kind, here: sa.ColumnElement[bool]) -> str | None:
    """Why the row cannot be read; None when it can, or is gone."""
    found = scope.row(sa.select(*raw_columns(*kind.columns)).where(here))
    if found is None:
        return None
    try:
        kind.convert(found)
    except UNREADABLE as error:
        return f"{type(error).__name__}: {error}"
    return None


def _copied(scope: Scope, suspect: Suspect, content: str, problem: str) -> bool:
    """False when just this was copied before: a row that has to stay although it cannot be mended."""
    key = json.dumps(suspect.key, default=_plain)
    table = quarantine_table.c
    same = sa.and_(table.table_name == suspect.table, table.row_key == key, table.content == content)
    if scope.number(sa.select(sa.func.count()).select_from(quarantine_table).where(same)):
        return False
    row = {"table_name": suspect.table, "row_key": key, "content": content, "error": problem[:1000], "at": _now()}
    scope.run(sa.insert(quarantine_table), row)
    return True


def _mended(kind: Kind, row: Mapping[str, Any]) -> dict[str, Any]:
    changes: dict[str, Any] = {}
    for name, mend in kind.mends.items():
        try:
            mend.read(row[name])
        except UNREADABLE:
            changes[name] = mend.instead()
    if "secrets" in changes:
        # they are lost: whoever needs them has to be told so, as if they had been erased
        changes["erased"] = True
    return changes


def _keep_content_of(scope: Scope, row: Mapping[str, Any]) -> None:
    """The content of a job that was taken out stays, although nobody claims it any more."""
    mine = sa.type_coerce(cache_entries.c.id, sa.types.NullType()) == sa.literal(
        row["entry_id"], sa.types.NullType()
    )
    scope.run(sa.update(cache_entries).where(mine).values(kept=sa.true()))


def _plain(value: object) -> object:
    """A raw value that JSON has no form for."""
    return {"base64": base64.b64encode(value).decode()} if isinstance(value, bytes) else str(value)
