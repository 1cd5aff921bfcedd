"""How many bytes each user's links have given on each day.

Revision: 0005.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "served_bytes",
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("day", sa.BigInteger(), nullable=False),
        sa.Column("bytes", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("user_id", "day", name="pk_served_bytes"),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name="fk_served_bytes_user_id", ondelete="CASCADE"),
    )
    op.create_index("ix_served_bytes_day", "served_bytes", ["day"])


def downgrade() -> None:
    op.drop_table("served_bytes")
