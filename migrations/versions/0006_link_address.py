"""Where a link may be used from.

Revision: 0006.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("download_links", sa.Column("address", sa.String(64)))


def downgrade() -> None:
    """Links of one place would work from everywhere: they go."""
    op.execute("DELETE FROM download_links WHERE address IS NOT NULL")
    with op.batch_alter_table("download_links") as table:
        table.drop_column("address")
