"""What a download needs beside its URL: whose it is, and read back into the form that engines take."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from oddaemon.domain.cache import Replica, ReplicaState
from oddaemon.domain.failure import Failure, FailureCode
from oddaemon.domain.job import Job
from oddaemon.domain.source import Source
from oddaemon.domain.types import EntryId
from oddaemon.ports.store import Material, Transaction

URL_USER, URL_PASSWORD = "url-username", "url-password"
"""Where the credentials of a URL's userinfo are kept among the secrets: engines take them with the source."""


def with_credentials(source: Source, material: Material | None) -> Source:
    """The source with the user and password that its URL was given with."""
    secrets = (material.secrets or {}) if material is not None else {}
    if URL_USER not in secrets:
        return source
    return replace(source, username=secrets[URL_USER], password=secrets.get(URL_PASSWORD))


def engine_options(options: Mapping[str, str], material: Material | None) -> dict[str, str]:
    """Public and secret options together, without what belongs to the source."""
    secrets = (material.secrets or {}) if material is not None else {}
    return {**options, **{key: value for key, value in secrets.items() if key not in (URL_USER, URL_PASSWORD)}}


def material_for(tx: Transaction, replica: Replica, jobs: Sequence[Job]) -> Material | None:
    """The replica's material; the first claimant's is handed over when it has none or its secrets are erased, else that
    of the replica in whose place it is filled."""
    own = tx.materials.of_replica(replica.id)
    if own is not None and not own.erased:
        return own
    for job in jobs:
        theirs = tx.materials.of_job(job.id)
        if theirs is not None and not theirs.erased:
            merged = replace(theirs, torrent=theirs.torrent or (own.torrent if own else None))
            tx.materials.put_for_replica(replica.id, merged)
            return merged
    if own is None:
        for before in tx.cache.replicas_of(replica.entry_id):
            theirs = tx.materials.of_replica(before.id) if before.state is ReplicaState.REPLACED else None
            if theirs is not None:
                tx.materials.put_for_replica(replica.id, theirs)
                return theirs
    return own


def credentials_needed(job: Job) -> Failure:
    return Failure(
        code=FailureCode.CREDENTIALS_NEEDED,
        message="the credentials it was fetched with were erased when it was complete",
        hint=f"odctl retry {job.number} -O …, or add it again with them",
    )


def erase_secrets(tx: Transaction, entry_id: EntryId, *, at_jobs: Sequence[Job]) -> None:
    """Of an entry that is complete. Those of every replica: one that was given up has its own until its node is back,
    which may be never."""
    for replica in tx.cache.replicas_of(entry_id):
        tx.materials.erase_secrets(replica.id)
    for job in at_jobs:
        theirs = tx.materials.of_job(job.id)
        if theirs is not None and theirs.secrets is not None:
            tx.materials.put_for_job(job.id, Material(torrent=theirs.torrent, erased=True))
