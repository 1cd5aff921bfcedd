"""Names of the installation's secrets may be of any length: one holds the path of the download folder.

SQLite never minded; PostgreSQL refused a name of more than 64 characters.

Revision: 0004.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.batch_alter_table("secrets") as table:
        table.alter_column("name", existing_type=sa.String(64), type_=sa.Text(), existing_nullable=False)


def downgrade() -> None:
    """On PostgreSQL, longer names go: all that is lost with one is that a download folder had been used before."""
    if op.get_bind().dialect.name == "postgresql":
        op.execute("DELETE FROM secrets WHERE length(name) > 64")
    with op.batch_alter_table("secrets") as table:
        table.alter_column("name", existing_type=sa.Text(), type_=sa.String(64), existing_nullable=False)
