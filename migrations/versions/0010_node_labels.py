"""The labels that a job's node has to have.

Revision: 0010.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    kind = sa.JSON().with_variant(postgresql.JSONB(), "postgresql")
    op.add_column("jobs", sa.Column("node_labels", kind, server_default="{}", nullable=False))


def downgrade() -> None:
    op.drop_column("jobs", "node_labels")
