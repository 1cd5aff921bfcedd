"""On how many nodes an entry is wished to lie.

Revision: 0011.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("cache_entries", sa.Column("replicas", sa.BigInteger(), server_default="1", nullable=False))


def downgrade() -> None:
    op.drop_column("cache_entries", "replicas")
