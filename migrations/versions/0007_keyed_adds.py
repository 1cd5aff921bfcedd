"""Adds with an idempotency key.

Revision: 0007.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "keyed_adds",
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("key", sa.String(255), nullable=False),
        sa.Column("digest", sa.String(64), nullable=False),
        sa.Column("job_ids", sa.JSON().with_variant(postgresql.JSONB(), "postgresql"), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("answer", sa.Text()),
        sa.PrimaryKeyConstraint("user_id", "key", name="pk_keyed_adds"),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name="fk_keyed_adds_user_id", ondelete="CASCADE"),
    )
    op.create_index("ix_keyed_adds_created_at", "keyed_adds", ["created_at"])


def downgrade() -> None:
    op.drop_table("keyed_adds")
