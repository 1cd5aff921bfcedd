"""How a transaction whose commit was not answered is told from one that never happened.

Each transaction on PostgreSQL leaves a random number behind, in a row that only the last one's is in. Only one writer
at a time holds the store's lock, so whoever has it again after a lost commit need only look.
"""

from __future__ import annotations

import secrets

import sqlalchemy as sa

from oddaemon.store.repositories.portable import upsert
from oddaemon.store.tables import counters

_NAME = "commit"
_LEAVE = upsert(counters, "postgresql", "name")
_LEFT = sa.select(counters.c.value).where(counters.c.name == _NAME)


def mark_commit(connection: sa.Connection) -> int:
    """Leaves a mark in the transaction; `was_stored` tells by it whether the commit happened."""
    mark = secrets.randbits(62)
    connection.execute(_LEAVE, {"name": _NAME, "value": mark})
    return mark


def was_stored(connection: sa.Connection, mark: int) -> bool:
    """Whether the transaction that left this mark is the last one that was stored."""
    return connection.execute(_LEFT).scalar() == mark
