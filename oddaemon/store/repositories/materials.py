"""What downloads need beside their URL ↔ rows. Secrets are never logged."""

from __future__ import annotations

from collections.abc import Collection, Set
from uuid import UUID

import sqlalchemy as sa

from oddaemon.domain.types import JobId, ReplicaId
from oddaemon.ports.store import Material
from oddaemon.store.repositories.portable import upsert
from oddaemon.store.rows import RawRow, bool_of, bytes_of, chunks, raw_columns, storable_json, texts_of, uuid_of
from oddaemon.store.scope import Scope
from oddaemon.store.tables import materials

_C = materials.c
COLUMNS = (_C.id, _C.torrent, _C.secrets, _C.erased)
_BY_ID = sa.select(*raw_columns(*COLUMNS)).where(_C.id == sa.bindparam("row_id"))
_PUT = {dialect: upsert(materials, dialect, "id") for dialect in ("sqlite", "postgresql")}
_OF_JOBS = sa.select(*raw_columns(_C.job_id)).where(_C.job_id.in_(sa.bindparam("ids", expanding=True)))
_DELETE = sa.delete(materials).where(_C.id == sa.bindparam("row_id"))
_ERASE = (
    sa.update(materials)
    .where(_C.id == sa.bindparam("row_id"), _C.secrets.is_not(None))
    .values(secrets=sa.null(), erased=sa.true())
)


def material_of(row: RawRow) -> Material:
    _, torrent, secrets, erased = row
    return Material(
        torrent=None if torrent is None else bytes_of(torrent),
        secrets=None if secrets is None else texts_of(secrets),
        erased=bool_of(erased),
    )


class SqlMaterials:
    """Meets ports.store.MaterialRepository."""

    __slots__ = ("_scope",)

    def __init__(self, scope: Scope) -> None:
        self._scope = scope

    def put_for_job(self, job_id: JobId, material: Material) -> None:
        self._put(material, id=job_id, job_id=job_id, replica_id=None)

    def of_job(self, job_id: JobId) -> Material | None:
        return self._get(job_id)

    def jobs_with(self, job_ids: Collection[JobId]) -> Set[JobId]:
        found: set[JobId] = set()
        for chunk in chunks(job_ids):
            found |= {JobId(uuid_of(row[0])) for row in self._scope.rows(_OF_JOBS, {"ids": chunk})}
        return found

    def put_for_replica(self, replica_id: ReplicaId, material: Material) -> None:
        self._put(material, id=replica_id, job_id=None, replica_id=replica_id)

    def of_replica(self, replica_id: ReplicaId) -> Material | None:
        return self._get(replica_id)

    def drop_of_job(self, job_id: JobId) -> None:
        self._scope.run(_DELETE, {"row_id": job_id})

    def erase_secrets(self, replica_id: ReplicaId) -> None:
        if self._scope.run(_ERASE, {"row_id": replica_id}):
            self._scope.secrets_erased()

    def _put(self, material: Material, **owner: UUID | None) -> None:
        row = {
            **owner,
            "erased": material.erased,
            "secrets": storable_json(material.secrets),
            "torrent": material.torrent,
        }
        self._scope.run(_PUT[self._scope.dialect], row)

    def _get(self, owner: UUID) -> Material | None:
        return self._scope.one(materials, material_of, self._scope.row(_BY_ID, {"row_id": owner}))
