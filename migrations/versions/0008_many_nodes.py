"""Several nodes: join tokens, the credentials of those that joined, and what an admin decides of each.

Revision: 0008.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("nodes", sa.Column("software", sa.String(64)))
    op.add_column("nodes", sa.Column("offline_since", sa.DateTime(timezone=True)))
    op.add_column("nodes", sa.Column("set_labels", sa.JSON().with_variant(postgresql.JSONB(), "postgresql")))
    op.add_column("nodes", sa.Column("limits", sa.JSON().with_variant(postgresql.JSONB(), "postgresql")))
    op.create_table(
        "node_credentials",
        sa.Column("node_id", sa.String(64), nullable=False),
        sa.Column("credential", sa.LargeBinary(), nullable=False),
        sa.Column("token_id", sa.String(32), nullable=False),
        sa.Column("confirmed", sa.Boolean(), nullable=False),
        sa.Column("joined_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("node_id", name="pk_node_credentials"),
        sa.ForeignKeyConstraint(["node_id"], ["nodes.id"], name="fk_node_credentials_node_id", ondelete="CASCADE"),
    )
    op.create_index("ix_node_credentials_token_id", "node_credentials", ["token_id"])
    op.create_table(
        "join_tokens",
        sa.Column("id", sa.String(32), nullable=False),
        sa.Column("key", sa.LargeBinary(), nullable=False),
        sa.Column("name", sa.String(64)),
        sa.Column("reusable", sa.Boolean(), nullable=False),
        sa.Column("created_by", sa.Uuid(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("uses", sa.BigInteger(), nullable=False),
        sa.Column("used_at", sa.DateTime(timezone=True)),
        sa.PrimaryKeyConstraint("id", name="pk_join_tokens"),
        sa.ForeignKeyConstraint(["created_by"], ["users.id"], name="fk_join_tokens_created_by", ondelete="CASCADE"),
    )
    op.create_index("ix_join_tokens_created_by", "join_tokens", ["created_by"])


def downgrade() -> None:
    op.drop_table("join_tokens")
    op.drop_table("node_credentials")
    with op.batch_alter_table("nodes") as table:
        for column in ("limits", "set_labels", "offline_since", "software"):
            table.drop_column(column)
