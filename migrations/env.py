"""Alembic's environment, for both databases. `oddaemon.store.migrate` hands over the connection, inside a transaction
that it commits when everything went well: a chain of revisions is carried out whole or not at all.
"""

from __future__ import annotations

from alembic import context

from oddaemon.store.tables import metadata

connection = context.config.attributes.get("connection")
if connection is None:
    raise SystemExit("use `make migrate-up` or `make migrate-down`: they lock the store and write a backup first")

context.configure(
    connection=connection,
    target_metadata=metadata,
    # SQLite's schema changes are part of a transaction too, once it is begun explicitly
    transactional_ddl=True,
    compare_type=True,
)
with context.begin_transaction():
    context.run_migrations()
