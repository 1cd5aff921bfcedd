"""The one MetaData: tables, types, constraints, indexes. What the chain of revisions in `migrations/` has to amount to.

Columns that lists filter and sort by stand first in `jobs` and what may be long stands last, so that SQLite reads a
list without touching overflow pages. Rows outlive what they point at where a sentence below says so.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql
from sqlalchemy.engine import Dialect

HEAD = "0011"
"""The newest revision. A test holds it against the migrations: reading it here spares every start importing Alembic."""


class TZDateTime(sa.types.TypeDecorator[datetime]):
    """A moment. Naive times are refused; SQLite keeps the UTC time as text that sorts by time."""

    impl = sa.DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError("a time without a zone cannot be stored")
        utc = value.astimezone(UTC)
        return utc.replace(tzinfo=None) if dialect.name == "sqlite" else utc

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


def _json() -> sa.types.TypeEngine[Any]:
    """A JSON object or array; None is NULL. (A bare JSON text would be read back as JSON from one database and as the
    text that it means from the other.)"""
    return sa.JSON(none_as_null=True).with_variant(postgresql.JSONB(none_as_null=True), "postgresql")


def _row_number() -> sa.types.TypeEngine[int]:
    """An integer key that is SQLite's own row number there."""
    return sa.BigInteger().with_variant(sa.Integer(), "sqlite")


metadata = sa.MetaData(
    naming_convention={
        "pk": "pk_%(table_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
    }
)

users = sa.Table(
    "users",
    metadata,
    sa.Column("id", sa.Uuid(), primary_key=True),
    sa.Column("username", sa.String(64), nullable=False),
    sa.Column("email", sa.String(255)),
    sa.Column("password", sa.String(255)),
    sa.Column("role", sa.String(16), nullable=False),
    sa.Column("is_active", sa.Boolean(), nullable=False),
    sa.Column("created_at", TZDateTime(), nullable=False),
    sa.Column("updated_at", TZDateTime(), nullable=False),
    sa.Column("limits", _json()),
    sa.Column("unix_uid", sa.BigInteger()),
    sa.Column("last_seen_at", TZDateTime()),
    sa.Column("generation", sa.BigInteger(), server_default="0", nullable=False),
    sa.UniqueConstraint("username"),
    sa.UniqueConstraint("email"),
)
sa.Index("ux_users_unix_uid", users.c.unix_uid, unique=True)

api_keys = sa.Table(
    "api_keys",
    metadata,
    sa.Column("id", sa.Uuid(), primary_key=True),
    sa.Column("user_id", sa.Uuid(), sa.ForeignKey("users.id", ondelete="CASCADE"), nullable=False),
    sa.Column("name", sa.String(64), nullable=False),
    sa.Column("digest", sa.String(64), nullable=False),
    sa.Column("scopes", _json(), nullable=False),
    sa.Column("created_at", TZDateTime(), nullable=False),
    sa.Column("expires_at", TZDateTime()),
    sa.Column("last_used_at", TZDateTime()),
    sa.UniqueConstraint("user_id", "name"),
)

sessions = sa.Table(
    "sessions",
    metadata,
    sa.Column("id", sa.Uuid(), primary_key=True),
    sa.Column("user_id", sa.Uuid(), sa.ForeignKey("users.id", ondelete="CASCADE"), nullable=False),
    sa.Column("digest", sa.String(64), nullable=False),
    sa.Column("created_at", TZDateTime(), nullable=False),
    sa.Column("expires_at", TZDateTime(), nullable=False),
)
sa.Index("ix_sessions_user_id", sessions.c.user_id)

invitations = sa.Table(
    "invitations",
    metadata,
    sa.Column("id", sa.Uuid(), primary_key=True),
    sa.Column("digest", sa.String(64), nullable=False),
    sa.Column("role", sa.String(16), nullable=False),
    sa.Column("created_by", sa.Uuid(), sa.ForeignKey("users.id", ondelete="CASCADE"), nullable=False),
    sa.Column("created_at", TZDateTime(), nullable=False),
    sa.Column("expires_at", TZDateTime(), nullable=False),
)
sa.Index("ix_invitations_created_by", invitations.c.created_by)

nodes = sa.Table(
    "nodes",
    metadata,
    sa.Column("id", sa.String(64), primary_key=True),
    sa.Column("name", sa.String(128), nullable=False),
    sa.Column("is_controller", sa.Boolean(), nullable=False),
    sa.Column("online", sa.Boolean(), nullable=False),
    sa.Column("draining", sa.Boolean(), nullable=False),
    sa.Column("disk_total", sa.BigInteger(), nullable=False),
    sa.Column("disk_free", sa.BigInteger(), nullable=False),
    sa.Column("disk_present", sa.Boolean(), nullable=False),
    sa.Column("disk_low", sa.Boolean(), nullable=False),
    sa.Column("file_endpoint", sa.String(255)),
    sa.Column("engines", _json(), nullable=False),
    sa.Column("labels", _json(), nullable=False),
    sa.Column("registered_at", TZDateTime(), nullable=False),
    sa.Column("last_heartbeat", TZDateTime(), nullable=False),
    sa.Column("software", sa.String(64)),
    sa.Column("offline_since", TZDateTime()),
    sa.Column("set_labels", _json()),
    sa.Column("limits", _json()),
)

node_credentials = sa.Table(
    "node_credentials",
    metadata,
    sa.Column("node_id", sa.String(64), sa.ForeignKey("nodes.id", ondelete="CASCADE"), primary_key=True),
    sa.Column("credential", sa.LargeBinary(), nullable=False),
    sa.Column("token_id", sa.String(32), nullable=False),
    sa.Column("confirmed", sa.Boolean(), nullable=False),
    sa.Column("joined_at", TZDateTime(), nullable=False),
)
sa.Index("ix_node_credentials_token_id", node_credentials.c.token_id)

join_tokens = sa.Table(
    "join_tokens",
    metadata,
    sa.Column("id", sa.String(32), primary_key=True),
    sa.Column("key", sa.LargeBinary(), nullable=False),
    sa.Column("name", sa.String(64)),
    sa.Column("reusable", sa.Boolean(), nullable=False),
    sa.Column("created_by", sa.Uuid(), sa.ForeignKey("users.id", ondelete="CASCADE"), nullable=False),
    sa.Column("created_at", TZDateTime(), nullable=False),
    sa.Column("expires_at", TZDateTime(), nullable=False),
    sa.Column("uses", sa.BigInteger(), nullable=False),
    sa.Column("used_at", TZDateTime()),
)
sa.Index("ix_join_tokens_created_by", join_tokens.c.created_by)

cache_entries = sa.Table(
    "cache_entries",
    metadata,
    sa.Column("id", sa.Uuid(), primary_key=True),
    sa.Column("key", sa.Text(), nullable=False),
    sa.Column("generation", sa.BigInteger(), nullable=False),
    sa.Column("current", sa.Boolean(), nullable=False),
    sa.Column("engine", sa.String(64), nullable=False),
    sa.Column("owner", sa.Uuid()),
    sa.Column("name", sa.Text()),
    sa.Column("total_size", sa.BigInteger()),
    sa.Column("files_known", sa.Boolean(), nullable=False),
    sa.Column("pinned", sa.Boolean(), nullable=False),
    sa.Column("kept", sa.Boolean(), nullable=False),
    sa.Column("hits", sa.BigInteger(), nullable=False),
    sa.Column("replicas", sa.BigInteger(), server_default="1", nullable=False),
    sa.Column("created_at", TZDateTime(), nullable=False),
    sa.Column("complete_at", TZDateTime()),
    sa.Column("last_used_at", TZDateTime()),
    sa.UniqueConstraint("key", "generation"),
)
sa.Index(
    "ux_cache_entries_current_key",
    cache_entries.c.key,
    unique=True,
    sqlite_where=cache_entries.c.current.is_(sa.true()),
    postgresql_where=cache_entries.c.current.is_(sa.true()),
)

entry_files = sa.Table(
    "entry_files",
    metadata,
    sa.Column("entry_id", sa.Uuid(), sa.ForeignKey("cache_entries.id", ondelete="CASCADE"), primary_key=True),
    sa.Column("index", sa.BigInteger(), primary_key=True),
    sa.Column("path", sa.Text(), nullable=False),
    sa.Column("disk_path", sa.Text(), nullable=False),
    sa.Column("size", sa.BigInteger()),
    sa.Column("content_type", sa.Text(), nullable=False),
    sa.Column("ready", sa.Boolean(), nullable=False),
    sa.Column("failed", sa.Text()),
    sa.Column("sha256", sa.String(64)),
)

replicas = sa.Table(
    "replicas",
    metadata,
    sa.Column("id", sa.Uuid(), primary_key=True),
    # no action: an entry cannot go while a directory on some node is its replica
    sa.Column("entry_id", sa.Uuid(), sa.ForeignKey("cache_entries.id"), nullable=False),
    sa.Column("node_id", sa.String(64), nullable=False),
    sa.Column("engine", sa.String(64), nullable=False),
    sa.Column("state", sa.String(16), nullable=False),
    sa.Column("engine_state", sa.Text()),
    sa.Column("attempts", sa.BigInteger(), nullable=False),
    sa.Column("afresh", sa.Boolean(), nullable=False),
    sa.Column("done", sa.BigInteger(), nullable=False),
    sa.Column("wanted", sa.BigInteger()),
    sa.Column("created_at", TZDateTime(), nullable=False),
    sa.Column("updated_at", TZDateTime(), nullable=False),
    sa.Column("next_try_at", TZDateTime()),
    sa.Column("progress_at", TZDateTime()),
    sa.Column("handle", sa.Text()),
    sa.Column("reason", _json()),
    sa.Column("error", _json()),
    sa.Column("placement", sa.Text(), server_default="", nullable=False),
)
sa.Index("ix_replicas_entry_id", replicas.c.entry_id)
sa.Index("ix_replicas_state", replicas.c.state)

jobs = sa.Table(
    "jobs",
    metadata,
    sa.Column("id", sa.Uuid(), primary_key=True),
    sa.Column("number", sa.BigInteger(), nullable=False),
    sa.Column("user_id", sa.Uuid(), sa.ForeignKey("users.id"), nullable=False),
    sa.Column("state", sa.String(16), nullable=False),
    sa.Column("hold", sa.String(16), nullable=False),
    sa.Column("priority", sa.BigInteger(), nullable=False),
    sa.Column("engine", sa.String(64)),
    sa.Column("node_id", sa.String(64)),
    sa.Column("size", sa.BigInteger()),
    sa.Column("done", sa.BigInteger(), nullable=False),
    sa.Column("created_at", TZDateTime(), nullable=False),
    sa.Column("completed_at", TZDateTime()),
    sa.Column("cache_hit", sa.Boolean(), nullable=False),
    sa.Column("kind", sa.String(16), nullable=False),
    sa.Column("entry_id", sa.Uuid(), sa.ForeignKey("cache_entries.id", ondelete="SET NULL")),
    sa.Column("name", sa.Text()),
    sa.Column("cache_key", sa.Text()),
    sa.Column("info_hash", sa.String(40)),
    sa.Column("node_wish", sa.String(64)),
    sa.Column("engine_wish", sa.String(64)),
    sa.Column("engine_state", sa.Text()),
    sa.Column("rev", sa.BigInteger(), nullable=False),
    sa.Column("renamed", sa.Boolean(), nullable=False),
    sa.Column("force", sa.Boolean(), nullable=False),
    sa.Column("attempts", sa.BigInteger(), nullable=False),
    sa.Column("files_total", sa.BigInteger(), nullable=False),
    sa.Column("files_selected", sa.BigInteger(), nullable=False),
    sa.Column("files_failed", sa.BigInteger(), nullable=False),
    sa.Column("max_rate_down", sa.BigInteger()),
    sa.Column("max_rate_up", sa.BigInteger()),
    sa.Column("updated_at", TZDateTime(), nullable=False),
    sa.Column("started_at", TZDateTime()),
    sa.Column("hold_until", TZDateTime()),
    sa.Column("next_try_at", TZDateTime()),
    sa.Column("checksum", sa.Text()),
    sa.Column("tags", _json(), nullable=False),
    sa.Column("reason", _json()),
    sa.Column("error", _json()),
    sa.Column("options", _json(), nullable=False),
    sa.Column("selection", sa.Text(), nullable=False),
    sa.Column("source", sa.Text(), nullable=False),
    sa.Column("node_labels", _json(), server_default="{}", nullable=False),
    sa.UniqueConstraint("number"),
)
sa.Index("ix_jobs_user_id", jobs.c.user_id, jobs.c.number)
sa.Index("ix_jobs_state", jobs.c.state, jobs.c.number)
sa.Index("ix_jobs_created_at", jobs.c.created_at)
# the claims of an entry; and, with no entry yet, the few jobs among thousands for which a key has to be found
sa.Index("ix_jobs_entry_id", jobs.c.entry_id, jobs.c.state, jobs.c.number)
sa.Index(
    "ix_jobs_info_hash",
    jobs.c.info_hash,
    sqlite_where=jobs.c.info_hash.is_not(None),
    postgresql_where=jobs.c.info_hash.is_not(None),
)
sa.Index(
    "ix_jobs_hold_until",
    jobs.c.hold_until,
    sqlite_where=jobs.c.hold_until.is_not(None),
    postgresql_where=jobs.c.hold_until.is_not(None),
)

materials = sa.Table(
    "materials",
    metadata,
    # the job's or the replica's own id
    sa.Column("id", sa.Uuid(), primary_key=True),
    sa.Column("job_id", sa.Uuid(), sa.ForeignKey("jobs.id", ondelete="CASCADE")),
    sa.Column("replica_id", sa.Uuid(), sa.ForeignKey("replicas.id", ondelete="CASCADE")),
    sa.Column("erased", sa.Boolean(), nullable=False),
    sa.Column("secrets", _json()),
    sa.Column("torrent", sa.LargeBinary()),
    sa.CheckConstraint("(job_id IS NULL) <> (replica_id IS NULL)", name="one_owner"),
)
sa.Index("ix_materials_job_id", materials.c.job_id)
sa.Index("ix_materials_replica_id", materials.c.replica_id)

# Links point at nothing by foreign key: a removed job's links stay until they expire, because the processes that serve
# files have to refuse them until then.
download_links = sa.Table(
    "download_links",
    metadata,
    sa.Column("id", sa.Uuid(), primary_key=True),
    sa.Column("job_id", sa.Uuid(), nullable=False),
    sa.Column("user_id", sa.Uuid(), nullable=False),
    sa.Column("entry_id", sa.Uuid(), nullable=False),
    sa.Column("replica_id", sa.Uuid(), nullable=False),
    sa.Column("node_id", sa.String(64), nullable=False),
    sa.Column("kind", sa.String(16), nullable=False),
    sa.Column("path", sa.Text(), nullable=False),
    sa.Column("file_index", sa.BigInteger(), nullable=False),
    sa.Column("inline", sa.Boolean(), nullable=False),
    sa.Column("created_at", TZDateTime(), nullable=False),
    sa.Column("expires_at", TZDateTime(), nullable=False),
    sa.Column("revoked_at", TZDateTime()),
    sa.Column("last_used_at", TZDateTime()),
    sa.Column("access_count", sa.BigInteger(), nullable=False),
    sa.Column("bytes_served", sa.BigInteger(), nullable=False),
    sa.Column("job_removed", sa.Boolean(), nullable=False),
    sa.Column("max_uses", sa.BigInteger()),
    sa.Column("uses_left", sa.BigInteger()),
    sa.Column("address", sa.String(64)),
)
sa.Index("ix_download_links_job_id", download_links.c.job_id)
sa.Index("ix_download_links_user_id", download_links.c.user_id, download_links.c.created_at)
sa.Index("ix_download_links_expires_at", download_links.c.expires_at)

# a day is its number since 1970-01-01, in UTC
served_bytes = sa.Table(
    "served_bytes",
    metadata,
    sa.Column("user_id", sa.Uuid(), sa.ForeignKey("users.id", ondelete="CASCADE"), primary_key=True),
    sa.Column("day", sa.BigInteger(), primary_key=True),
    sa.Column("bytes", sa.BigInteger(), nullable=False),
)
sa.Index("ix_served_bytes_day", served_bytes.c.day)

settings = sa.Table(
    "settings",
    metadata,
    sa.Column("key", sa.String(128), primary_key=True),
    sa.Column("value", _json(), nullable=False),
    sa.Column("updated_at", TZDateTime(), nullable=False),
)

secrets = sa.Table(
    "secrets",
    metadata,
    sa.Column("name", sa.Text(), primary_key=True),
    sa.Column("value", sa.LargeBinary(), nullable=False),
)

events = sa.Table(
    "events",
    metadata,
    sa.Column("seq", _row_number(), primary_key=True, autoincrement=False),
    sa.Column("type", sa.String(64), nullable=False),
    sa.Column("at", TZDateTime(), nullable=False),
    sa.Column("job_id", sa.Uuid()),
    sa.Column("job_number", sa.BigInteger()),
    sa.Column("user_id", sa.Uuid()),
    sa.Column("node_id", sa.String(64)),
    sa.Column("data", _json(), nullable=False),
)
sa.Index("ix_events_at", events.c.at)
sa.Index("ix_events_job_id", events.c.job_id, events.c.seq)
sa.Index("ix_events_user_id", events.c.user_id, events.c.seq)

counters = sa.Table(
    "counters",
    metadata,
    sa.Column("name", sa.String(32), primary_key=True),
    sa.Column("value", sa.BigInteger(), nullable=False),
)

# What a request was answered that its caller named with an idempotency key.
keyed_adds = sa.Table(
    "keyed_adds",
    metadata,
    sa.Column("user_id", sa.Uuid(), sa.ForeignKey("users.id", ondelete="CASCADE"), primary_key=True),
    sa.Column("key", sa.String(255), primary_key=True),
    sa.Column("digest", sa.String(64), nullable=False),
    sa.Column("job_ids", _json(), nullable=False),
    sa.Column("created_at", TZDateTime(), nullable=False),
    sa.Column("answer", sa.Text()),
)
sa.Index("ix_keyed_adds_created_at", keyed_adds.c.created_at)

# Rows that could not be read, as they were.
quarantine = sa.Table(
    "quarantine",
    metadata,
    sa.Column("id", _row_number(), primary_key=True, autoincrement=True),
    sa.Column("table_name", sa.String(64), nullable=False),
    sa.Column("row_key", sa.Text(), nullable=False),
    sa.Column("content", sa.Text(), nullable=False),
    sa.Column("error", sa.Text(), nullable=False),
    sa.Column("at", TZDateTime(), nullable=False),
)
