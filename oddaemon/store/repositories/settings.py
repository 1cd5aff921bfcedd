"""Stored settings and the installation's own secrets ↔ rows."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from oddaemon.store.repositories.portable import upsert
from oddaemon.store.rows import RawRow, bytes_of, object_of, raw_columns, storable_json, text_of
from oddaemon.store.scope import Scope
from oddaemon.store.tables import secrets, settings

COLUMNS = (settings.c.key, settings.c.value)
_ALL = sa.select(*raw_columns(*COLUMNS)).order_by(settings.c.key)
_PUT = {dialect: upsert(settings, dialect, "key") for dialect in ("sqlite", "postgresql")}
_DELETE = sa.delete(settings).where(settings.c.key == sa.bindparam("row_key"))
_SECRET = sa.select(*raw_columns(secrets.c.value)).where(secrets.c.name == sa.bindparam("wanted_name"))
_INSERT_SECRET = sa.insert(secrets)
_PUT_SECRET = {dialect: upsert(secrets, dialect, "name") for dialect in ("sqlite", "postgresql")}


def setting_of(row: RawRow) -> tuple[str, Any]:
    return text_of(row[0]), object_of(row[1])["value"]


def read_settings(connection: sa.Connection) -> Mapping[str, Any]:
    """Outside of a unit of work: for looking into a store that another process uses."""
    return dict(setting_of(row) for row in connection.execute(_ALL))


class SqlSettings:
    """Meets ports.store_daemon.SettingRepository."""

    __slots__ = ("_scope",)

    def __init__(self, scope: Scope) -> None:
        self._scope = scope

    def all(self) -> Mapping[str, Any]:
        return dict(self._scope.converted(settings, setting_of, self._scope.rows(_ALL)))

    def put(self, key: str, value: Any, at: datetime) -> None:
        row = {"key": key, "value": {"value": storable_json(value)}, "updated_at": at}
        self._scope.run(_PUT[self._scope.dialect], row)

    def delete(self, key: str) -> None:
        self._scope.run(_DELETE, {"row_key": key})


class SqlSecrets:
    """Meets ports.store_daemon.SecretRepository."""

    __slots__ = ("_scope",)

    def __init__(self, scope: Scope) -> None:
        self._scope = scope

    def get_or_create(self, name: str, make: Callable[[], bytes]) -> bytes:
        found = self._scope.row(_SECRET, {"wanted_name": name})
        if found is not None:
            return bytes_of(found[0])
        made = make()
        self._scope.run(_INSERT_SECRET, {"name": name, "value": made})
        return made

    def put(self, name: str, value: bytes) -> None:
        self._scope.run(_PUT_SECRET[self._scope.dialect], {"name": name, "value": value})
        self._scope.secrets_erased()
