"""Nodes ↔ rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from oddaemon.domain.errors import NotFound
from oddaemon.domain.node import DiskUsage, EngineHealth, NodeLimits, NodeMarks, NodeSnapshot
from oddaemon.domain.types import Bytes, EngineName, NodeId
from oddaemon.store.repositories.portable import upsert
from oddaemon.store.rows import (
    RawRow,
    bool_of,
    bytes_of,
    int_of,
    json_of,
    object_of,
    raw_columns,
    storable,
    storable_json,
    text_of,
    text_or_none,
    texts_of,
    time_or_none,
)
from oddaemon.store.scope import Scope
from oddaemon.store.tables import node_credentials, nodes

_C = nodes.c
COLUMNS = (
    _C.id, _C.name, _C.is_controller, _C.online, _C.draining, _C.disk_total, _C.disk_free, _C.disk_present,
    _C.disk_low, _C.file_endpoint, _C.engines, _C.labels, _C.software, _C.offline_since, _C.set_labels, _C.limits,
)  # fmt: skip
_SELECT = sa.select(*raw_columns(*COLUMNS))
_BY_ID = _SELECT.where(_C.id == sa.bindparam("row_id"))
_ALL = _SELECT.order_by(_C.is_controller.desc(), _C.id)
_UPSERT = {
    dialect: upsert(nodes, dialect, "id", keep=("registered_at", "draining", "set_labels", "limits"))
    for dialect in ("sqlite", "postgresql")
}
_ROW_ID: sa.BindParameter[Any] = sa.bindparam("row_id")
_MARK = (
    sa.update(nodes)
    .where(_C.id == _ROW_ID)
    .values(
        {
            _C.draining: sa.bindparam("is_draining", type_=_C.draining.type),
            _C.set_labels: sa.bindparam("new_labels", type_=_C.set_labels.type),
            _C.limits: sa.bindparam("new_limits", type_=_C.limits.type),
        }
    )
)
_DELETE = sa.delete(nodes).where(_C.id == _ROW_ID)
_K = node_credentials.c
_CREDENTIAL = sa.select(*raw_columns(_K.credential)).where(_K.node_id == _ROW_ID)
_PUT_CREDENTIAL = {
    dialect: upsert(node_credentials, dialect, "node_id") for dialect in ("sqlite", "postgresql")
}
_CONFIRM = sa.update(node_credentials).where(_K.node_id == _ROW_ID).values(confirmed=True)
_UNCONFIRMED = (
    sa.select(*raw_columns(_K.node_id))
    .where(_K.token_id == _ROW_ID, _K.confirmed.is_(sa.false()))
    .order_by(_K.node_id)
)


def node_of(row: RawRow) -> NodeSnapshot:
    (
        id_, name, is_controller, online, draining, disk_total, disk_free, disk_present, disk_low, file_endpoint,
        engines, labels, software, offline_since, set_labels, limits,
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
        set_labels=texts_of(set_labels if set_labels is not None else "{}"),
        limits=_limits_of(limits),
        software=text_or_none(software) or "",
        offline_since=time_or_none(offline_since),
    )


def _limits_of(raw: object) -> NodeLimits:
    if raw is None:
        return NodeLimits()
    found = object_of(raw)
    running, reserve, weight = found.get("running"), found.get("min_disk_free"), found.get("weight")
    return NodeLimits(
        running=None if running is None else int_of(running),
        min_disk_free=None if reserve is None else Bytes(int_of(reserve)),
        weight=None if weight is None else float(weight),
    )


def _limits_row(limits: NodeLimits) -> Mapping[str, Any] | None:
    given = {"running": limits.running, "min_disk_free": limits.min_disk_free, "weight": limits.weight}
    return {name: value for name, value in given.items() if value is not None} or None


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
            "software": storable(node.software[:64]),
            "offline_since": node.offline_since,
            "set_labels": storable_json(node.set_labels),
            "limits": _limits_row(node.limits),
        }
        self._scope.run(_UPSERT[self._scope.dialect], row)

    def mark(self, node_id: NodeId, marks: NodeMarks) -> None:
        row = {
            "row_id": node_id,
            "is_draining": marks.draining,
            "new_labels": storable_json(marks.set_labels),
            "new_limits": _limits_row(marks.limits),
        }
        if not self._scope.run(_MARK, row):
            raise NotFound(f"there is no node {node_id!r}")

    def all(self) -> Sequence[NodeSnapshot]:
        return self._scope.converted(nodes, node_of, self._scope.rows(_ALL))

    def get(self, node_id: NodeId) -> NodeSnapshot | None:
        return self._scope.one(nodes, node_of, self._scope.row(_BY_ID, {"row_id": node_id}))

    def delete(self, node_id: NodeId) -> bool:
        return self._scope.run(_DELETE, {"row_id": node_id}) > 0

    def credential(self, node_id: NodeId) -> bytes | None:
        row = self._scope.row(_CREDENTIAL, {"row_id": node_id})
        return None if row is None else bytes_of(row[0])

    def put_credential(self, node_id: NodeId, credential: bytes, *, token_id: str, at: datetime) -> None:
        row = {
            "node_id": node_id,
            "credential": credential,
            "token_id": token_id,
            "confirmed": False,
            "joined_at": at,
        }
        self._scope.run(_PUT_CREDENTIAL[self._scope.dialect], row)

    def confirm_credential(self, node_id: NodeId) -> None:
        self._scope.run(_CONFIRM, {"row_id": node_id})

    def unconfirmed(self, token_id: str) -> Sequence[NodeId]:
        return [NodeId(text_of(row[0])) for row in self._scope.rows(_UNCONFIRMED, {"row_id": token_id})]
