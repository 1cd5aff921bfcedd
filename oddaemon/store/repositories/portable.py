"""The few expressions that the two databases write differently."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from oddaemon.domain.errors import InvalidFilter
from oddaemon.domain.query import SortKey

MAX_INT = 2**63 - 1


def upsert(table: sa.Table, dialect: str, *keys: str, keep: Sequence[str] = ()) -> sa.Executable:
    """Insert a row, or replace everything but `keep` of the one whose `keys` are the same."""
    insert = postgresql.insert(table) if dialect == "postgresql" else sqlite.insert(table)
    changed = [column.name for column in table.columns if column.name not in {*keys, *keep}]
    return insert.on_conflict_do_update(
        index_elements=list(keys), set_={name: insert.excluded[name] for name in changed}
    )


def adding(table: sa.Table, dialect: str, counter: str, *keys: str) -> sa.Executable:
    """Insert a row, or add its counter to that of the one whose `keys` are the same."""
    insert = postgresql.insert(table) if dialect == "postgresql" else sqlite.insert(table)
    return insert.on_conflict_do_update(
        index_elements=list(keys), set_={counter: table.c[counter] + insert.excluded[counter]}
    )


def insert_new(table: sa.Table, dialect: str) -> sa.Executable:
    """Insert a row and return its id, unless a unique constraint is in the way: then it returns none. (An error instead
    would end a PostgreSQL transaction.)"""
    insert = postgresql.insert(table) if dialect == "postgresql" else sqlite.insert(table)
    return insert.on_conflict_do_nothing().returning(sa.type_coerce(table.c.id, sa.types.NullType()))


def holds_any(column: sa.Column[Any], wanted: Sequence[str] | None, dialect: str) -> sa.ColumnElement[bool]:
    """Whether a JSON array column holds one of `wanted`; None: anything."""
    if dialect == "postgresql":
        item = sa.func.jsonb_array_elements_text(column).table_valued("value").alias("item")
    else:
        # a damaged value must not fail the whole list
        text = sa.cast(column, sa.Text())
        item = sa.func.json_each(sa.case((sa.func.json_valid(text) == 1, text), else_="[]")).table_valued("value")
    within = sa.true() if wanted is None else item.c.value.in_(list(wanted))
    return sa.exists(sa.select(sa.literal(1)).select_from(item).where(within))


def no_field(name: str, valid: Sequence[str], *, position: int = 0, where: str = "filter") -> InvalidFilter:
    return InvalidFilter(
        f"there is no field {name[:40]!r}", position=position, field=where, hint="fields: " + ", ".join(valid)
    )


def ordered(key: SortKey, expression: sa.ColumnElement[Any]) -> sa.ColumnElement[Any]:
    """Unknown values come last, upwards and downwards."""
    directed: sa.ColumnElement[Any] = expression.desc() if key.descending else expression.asc()
    return directed.nulls_last()
