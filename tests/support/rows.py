"""Rows for every column of every table, from the tables' own description: a table that is added is filled, too."""

from __future__ import annotations

import itertools
from datetime import timedelta
from typing import Any
from uuid import UUID

import sqlalchemy as sa

from oddaemon.store.tables import TZDateTime, metadata
from oddaemon.testing.store_samples import NOW, ODD_TEXT

Rows = dict[str, list[dict[str, Any]]]
_ONE_OF_TWO = {"materials": ("job_id", "replica_id")}
"""Columns of which just one is set."""


def fill(connection: sa.Connection) -> None:
    """Two rows in each table: one with everything, one with what has to be there."""
    numbers = itertools.count(1)
    made: Rows = {}
    for table in metadata.sorted_tables:
        connection.execute(sa.delete(table))
        made[table.name] = []
        for full in (True, False):
            row = {column.name: _value(column, next(numbers), made, full) for column in table.columns}
            for place, name in enumerate(_ONE_OF_TWO.get(table.name, ())):
                target = next(iter(table.columns[name].foreign_keys)).column
                row[name] = made[target.table.name][0][target.name] if full == (place == 0) else None
            connection.execute(sa.insert(table), row)
            made[table.name].append(row)


def all_rows(connection: sa.Connection) -> Rows:
    """Every row of every table as values of Python, in the order of the keys."""
    return {
        table.name: [
            dict(row._mapping)
            for row in connection.execute(sa.select(table)).all()
        ]
        for table in metadata.sorted_tables
    } | {"": []}  # fmt: skip


def _value(column: sa.Column[Any], number: int, made: Rows, full: bool) -> object:
    if column.nullable and not full:
        return None
    for key in column.foreign_keys:
        if made.get(key.column.table.name):
            return made[key.column.table.name][0 if full else 1][key.column.name]
    kind = column.type
    if isinstance(kind, sa.Uuid):
        return UUID(int=2**127 + number)
    if isinstance(kind, TZDateTime):
        return NOW + timedelta(microseconds=number)
    if isinstance(kind, sa.JSON):
        return {"text": ODD_TEXT, "list": [1, 2.5, None, True, {"deep": []}], "number": number}
    if isinstance(kind, sa.Boolean):
        return full
    if isinstance(kind, sa.LargeBinary):
        return bytes(range(256)) + bytes([number % 256])
    if isinstance(kind, sa.Integer):
        return number if isinstance(kind, sa.SmallInteger) or column.primary_key else 2**62 + number
    if isinstance(kind, sa.Float | sa.Numeric):
        return number / 7
    length = getattr(kind, "length", None) or 200
    return f"{number}{ODD_TEXT}"[:length]
