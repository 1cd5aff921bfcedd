"""Every table of the first release.

Revision: 0001.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def _time() -> sa.types.TypeEngine[object]:
    return sa.DateTime(timezone=True)


def _json() -> sa.types.TypeEngine[object]:
    return sa.JSON().with_variant(postgresql.JSONB(), "postgresql")


def _row_number() -> sa.types.TypeEngine[int]:
    return sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    _create_people_and_nodes()
    _create_content()
    _create_jobs()
    _create_the_rest()
    counters = sa.table("counters", sa.column("name", sa.String()), sa.column("value", sa.BigInteger()))
    op.bulk_insert(counters, [{"name": name, "value": 0} for name in ("job_number", "rev", "event_seq")])


def downgrade() -> None:
    for table in (
        "materials", "jobs", "replicas", "entry_files", "cache_entries", "download_links", "events", "settings",
        "secrets", "counters", "quarantine", "nodes", "users",
    ):  # fmt: skip
        op.drop_table(table)


def _create_people_and_nodes() -> None:
    op.create_table(
        "users",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("username", sa.String(64), nullable=False),
        sa.Column("email", sa.String(255)),
        sa.Column("password", sa.String(255)),
        sa.Column("role", sa.String(16), nullable=False),
        sa.Column("is_active", sa.Boolean(), nullable=False),
        sa.Column("created_at", _time(), nullable=False),
        sa.Column("updated_at", _time(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_users"),
        sa.UniqueConstraint("email", name="uq_users_email"),
        sa.UniqueConstraint("username", name="uq_users_username"),
    )
    op.create_table(
        "nodes",
        sa.Column("id", sa.String(64), nullable=False),
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
        sa.Column("registered_at", _time(), nullable=False),
        sa.Column("last_heartbeat", _time(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_nodes"),
    )


def _create_content() -> None:
    op.create_table(
        "cache_entries",
        sa.Column("id", sa.Uuid(), nullable=False),
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
        sa.Column("created_at", _time(), nullable=False),
        sa.Column("complete_at", _time()),
        sa.Column("last_used_at", _time()),
        sa.PrimaryKeyConstraint("id", name="pk_cache_entries"),
        sa.UniqueConstraint("key", "generation", name="uq_cache_entries_key_generation"),
    )
    op.create_index(
        "ux_cache_entries_current_key",
        "cache_entries",
        ["key"],
        unique=True,
        sqlite_where=sa.text("current IS 1"),
        postgresql_where=sa.text("current IS true"),
    )
    op.create_table(
        "entry_files",
        sa.Column("entry_id", sa.Uuid(), nullable=False),
        sa.Column("index", sa.BigInteger(), nullable=False),
        sa.Column("path", sa.Text(), nullable=False),
        sa.Column("disk_path", sa.Text(), nullable=False),
        sa.Column("size", sa.BigInteger()),
        sa.Column("content_type", sa.Text(), nullable=False),
        sa.Column("ready", sa.Boolean(), nullable=False),
        sa.Column("failed", sa.Text()),
        sa.Column("sha256", sa.String(64)),
        sa.PrimaryKeyConstraint("entry_id", "index", name="pk_entry_files"),
        sa.ForeignKeyConstraint(["entry_id"], ["cache_entries.id"], name="fk_entry_files_entry_id", ondelete="CASCADE"),
    )
    op.create_table(
        "replicas",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("entry_id", sa.Uuid(), nullable=False),
        sa.Column("node_id", sa.String(64), nullable=False),
        sa.Column("engine", sa.String(64), nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("engine_state", sa.Text()),
        sa.Column("attempts", sa.BigInteger(), nullable=False),
        sa.Column("afresh", sa.Boolean(), nullable=False),
        sa.Column("done", sa.BigInteger(), nullable=False),
        sa.Column("wanted", sa.BigInteger()),
        sa.Column("created_at", _time(), nullable=False),
        sa.Column("updated_at", _time(), nullable=False),
        sa.Column("next_try_at", _time()),
        sa.Column("progress_at", _time()),
        sa.Column("handle", sa.Text()),
        sa.Column("reason", _json()),
        sa.Column("error", _json()),
        sa.PrimaryKeyConstraint("id", name="pk_replicas"),
        sa.ForeignKeyConstraint(["entry_id"], ["cache_entries.id"], name="fk_replicas_entry_id"),
    )
    op.create_index("ix_replicas_entry_id", "replicas", ["entry_id"])
    op.create_index("ix_replicas_state", "replicas", ["state"])


def _create_jobs() -> None:
    op.create_table(
        "jobs",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("number", sa.BigInteger(), nullable=False),
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("hold", sa.String(16), nullable=False),
        sa.Column("priority", sa.BigInteger(), nullable=False),
        sa.Column("engine", sa.String(64)),
        sa.Column("node_id", sa.String(64)),
        sa.Column("size", sa.BigInteger()),
        sa.Column("done", sa.BigInteger(), nullable=False),
        sa.Column("created_at", _time(), nullable=False),
        sa.Column("completed_at", _time()),
        sa.Column("cache_hit", sa.Boolean(), nullable=False),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("entry_id", sa.Uuid()),
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
        sa.Column("updated_at", _time(), nullable=False),
        sa.Column("started_at", _time()),
        sa.Column("hold_until", _time()),
        sa.Column("next_try_at", _time()),
        sa.Column("checksum", sa.Text()),
        sa.Column("tags", _json(), nullable=False),
        sa.Column("reason", _json()),
        sa.Column("error", _json()),
        sa.Column("options", _json(), nullable=False),
        sa.Column("selection", sa.Text(), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_jobs"),
        sa.ForeignKeyConstraint(["entry_id"], ["cache_entries.id"], name="fk_jobs_entry_id", ondelete="SET NULL"),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name="fk_jobs_user_id"),
        sa.UniqueConstraint("number", name="uq_jobs_number"),
    )
    op.create_index("ix_jobs_created_at", "jobs", ["created_at"])
    op.create_index("ix_jobs_entry_id", "jobs", ["entry_id", "state", "number"])
    op.create_index(
        "ix_jobs_hold_until",
        "jobs",
        ["hold_until"],
        sqlite_where=sa.text("hold_until IS NOT NULL"),
        postgresql_where=sa.text("hold_until IS NOT NULL"),
    )
    op.create_index(
        "ix_jobs_info_hash",
        "jobs",
        ["info_hash"],
        sqlite_where=sa.text("info_hash IS NOT NULL"),
        postgresql_where=sa.text("info_hash IS NOT NULL"),
    )
    op.create_index("ix_jobs_state", "jobs", ["state", "number"])
    op.create_index("ix_jobs_user_id", "jobs", ["user_id", "number"])
    op.create_table(
        "materials",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("job_id", sa.Uuid()),
        sa.Column("replica_id", sa.Uuid()),
        sa.Column("erased", sa.Boolean(), nullable=False),
        sa.Column("secrets", _json()),
        sa.Column("torrent", sa.LargeBinary()),
        sa.PrimaryKeyConstraint("id", name="pk_materials"),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], name="fk_materials_job_id", ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["replica_id"], ["replicas.id"], name="fk_materials_replica_id", ondelete="CASCADE"),
        sa.CheckConstraint("(job_id IS NULL) <> (replica_id IS NULL)", name=op.f("ck_materials_one_owner")),
    )
    op.create_index("ix_materials_job_id", "materials", ["job_id"])
    op.create_index("ix_materials_replica_id", "materials", ["replica_id"])


def _create_the_rest() -> None:
    op.create_table(
        "download_links",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("job_id", sa.Uuid(), nullable=False),
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("entry_id", sa.Uuid(), nullable=False),
        sa.Column("replica_id", sa.Uuid(), nullable=False),
        sa.Column("node_id", sa.String(64), nullable=False),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("path", sa.Text(), nullable=False),
        sa.Column("file_index", sa.BigInteger(), nullable=False),
        sa.Column("inline", sa.Boolean(), nullable=False),
        sa.Column("created_at", _time(), nullable=False),
        sa.Column("expires_at", _time(), nullable=False),
        sa.Column("revoked_at", _time()),
        sa.Column("last_used_at", _time()),
        sa.Column("access_count", sa.BigInteger(), nullable=False),
        sa.Column("bytes_served", sa.BigInteger(), nullable=False),
        sa.Column("job_removed", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_download_links"),
    )
    op.create_index("ix_download_links_expires_at", "download_links", ["expires_at"])
    op.create_index("ix_download_links_job_id", "download_links", ["job_id"])
    op.create_index("ix_download_links_user_id", "download_links", ["user_id", "created_at"])
    op.create_table(
        "events",
        sa.Column("seq", _row_number(), nullable=False, autoincrement=False),
        sa.Column("type", sa.String(64), nullable=False),
        sa.Column("at", _time(), nullable=False),
        sa.Column("job_id", sa.Uuid()),
        sa.Column("job_number", sa.BigInteger()),
        sa.Column("user_id", sa.Uuid()),
        sa.Column("node_id", sa.String(64)),
        sa.Column("data", _json(), nullable=False),
        sa.PrimaryKeyConstraint("seq", name="pk_events"),
    )
    op.create_index("ix_events_at", "events", ["at"])
    op.create_index("ix_events_job_id", "events", ["job_id", "seq"])
    op.create_index("ix_events_user_id", "events", ["user_id", "seq"])
    op.create_table(
        "settings",
        sa.Column("key", sa.String(128), nullable=False),
        sa.Column("value", _json(), nullable=False),
        sa.Column("updated_at", _time(), nullable=False),
        sa.PrimaryKeyConstraint("key", name="pk_settings"),
    )
    op.create_table(
        "secrets",
        sa.Column("name", sa.String(64), nullable=False),
        sa.Column("value", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_secrets"),
    )
    op.create_table(
        "counters",
        sa.Column("name", sa.String(32), nullable=False),
        sa.Column("value", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_counters"),
    )
    op.create_table(
        "quarantine",
        sa.Column("id", _row_number(), nullable=False, autoincrement=True),
        sa.Column("table_name", sa.String(64), nullable=False),
        sa.Column("row_key", sa.Text(), nullable=False),
        sa.Column("content", sa.Text(), nullable=False),
        sa.Column("error", sa.Text(), nullable=False),
        sa.Column("at", _time(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_quarantine"),
    )
