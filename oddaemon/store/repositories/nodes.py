"""Nodes ↔ rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from oddaemon.domain.node import DiskUsage, EngineHealth, NodeSnapshot
from oddaemon.domain.types import Bytes, EngineName, NodeId
from oddaemon.store.repositories.portable import upsert
from oddaemon.store.rows import (
    RawRow,
    bool_of,
    int_of,
    json_of,
    object_of,
    raw_columns,
    storable_json,
    text_of,
    text_or_none,
    texts_of,
)
from oddaemon.store.scope import Scope
from oddaemon.store.tables import nodes

_C = nodes.c
COLUMNS = (
    _C.id, _C.name, _C.is_controller, _C.online, _C.draining, _C.disk_total, _C.disk_free, _C.disk_present,
    _C.disk_low, _C.file_endpoint, _C.engines, _C.labels,
)  # fmt: skip
_SELECT = sa.select(*raw_columns(*COLUMNS))
_BY_ID = _SELECT.where(_C.id == sa.bindparam("row_id"))
_ALL = _SELECT.order_by(_C.is_controller.desc(), _C.id)
_UPSERT = {
    dialect: upsert(nodes, dialect, "id", keep=("registered_at",)) for dialect in ("sqlite", "postgresql")
}


def node_of(row: RawRow) -> NodeSnapshot:
    (
        id_, name, is_controller, online, draining, disk_total, disk_free, disk_present, disk_low, file_endpoint,
        engines, labels,
    ) = row  # fmt: skip
    return NodeSnapshot(
        id=NodeId(text_of(id_)),
        name=text_of(name),
        is_controller=bool_of(is_controller),
        online=bool_of(online),
        disk=DiskUsage(
            total=Bytes(int_of(disk_total)), free=Bytes(int_of(disk_free)), present=bool_of(disk_present)
        ),
        engines=tuple(_engine_of(engine) for engine in json_of(engines)),
        file_endpoint=text_or_none(file_endpoint),
        draining=bool_of(draining),
        labels=texts_of(labels),
        disk_low=bool_of(disk_low),
    )


def _engine_of(raw: object) -> EngineHealth:
    found = object_of(raw)
    return EngineHealth(
        name=EngineName(text_of(found["name"])),
        ok=bool_of(found["ok"]),
        version=text_or_none(found.get("version")),
        message=text_of(found.get("message", "")),
        max_concurrent=int_of(found.get("max_concurrent", 0)),
        capabilities={text_of(key): bool_of(value) for key, value in found.get("capabilities", {}).items()},
        schemes=tuple(text_of(scheme) for scheme in found.get("schemes", ())),
    )


def _engine_row(engine: EngineHealth) -> Mapping[str, Any]:
    return {
        "name": engine.name,
        "ok": engine.ok,
        "version": engine.version,
        "message": engine.message,
        "max_concurrent": engine.max_concurrent,
        "capabilities": dict(engine.capabilities),
        "schemes": list(engine.schemes),
    }


class SqlNodes:
    """Meets ports.store_daemon.NodeRepository."""

    __slots__ = ("_scope",)

    def __init__(self, scope: Scope) -> None:
        self._scope = scope

    def upsert(self, node: NodeSnapshot, at: datetime) -> None:
        row = {
            "id": node.id,
            "name": node.name,
            "is_controller": node.is_controller,
            "online": node.online,
            "draining": node.draining,
            "disk_total": node.disk.total,
            "disk_free": node.disk.free,
            "disk_present": node.disk.present,
            "disk_low": node.disk_low,
            "file_endpoint": node.file_endpoint,
            "engines": storable_json([_engine_row(engine) for engine in node.engines]),
            "labels": storable_json(node.labels),
            "registered_at": at,
            "last_heartbeat": at,
        }
        self._scope.run(_UPSERT[self._scope.dialect], row)

    def all(self) -> Sequence[NodeSnapshot]:
        return self._scope.converted(nodes, node_of, self._scope.rows(_ALL))

    def get(self, node_id: NodeId) -> NodeSnapshot | None:
        return self._scope.one(nodes, node_of, self._scope.row(_BY_ID, {"row_id": node_id}))
