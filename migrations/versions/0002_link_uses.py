"""How often a link may still be used.

Revision: 0002.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("download_links", sa.Column("max_uses", sa.BigInteger()))
    op.add_column("download_links", sa.Column("uses_left", sa.BigInteger()))


def downgrade() -> None:
    """Links with a limit would work without one: they go."""
    op.execute("DELETE FROM download_links WHERE max_uses IS NOT NULL")
    with op.batch_alter_table("download_links") as table:
        table.drop_column("uses_left")
        table.drop_column("max_uses")
