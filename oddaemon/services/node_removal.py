"""What becomes of the content of a node that is removed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

from oddaemon.domain.cache import Replica, ReplicaState
from oddaemon.domain.failure import Reason, ReasonCode
from oddaemon.domain.job import Job, JobState, Signal
from oddaemon.domain.types import NodeId
from oddaemon.ports.store import Material, Transaction
from oddaemon.services.claims import claimants, ready_elsewhere, release, requeue
from oddaemon.services.joint_wishes import wanting
from oddaemon.services.takeover import give_up_files


def forget_replicas(
    tx: Transaction, node_id: NodeId, at: datetime, requeued: list[Job] | None = None
) -> list[Replica]:  # fmt: skip
    """The replicas of a node that is removed for good are forgotten, in this transaction; answers them. What a ready
    replica on another node has is served from there. Jobs whose only copy was there go back to the queue, and what they
    claim is fetched from its source again; what nobody claims is gone. `requeued` gets those jobs."""
    lost = [found for found in tx.cache.all_replicas() if found.node_id == node_id]
    why = Reason(code=ReasonCode.FILES_MISSING, message=f"node {node_id}, which had it, was removed")
    for claim in tx.jobs.claims():
        job = tx.jobs.get(claim.job_id) if claim.node_wish == node_id else None
        if job is not None:
            # nobody can have that wish any more
            tx.jobs.update(replace(job, node_wish=None, updated_at=at))
    for replica in lost:
        back = _forget(tx, replica, why, at)
        if requeued is not None:
            requeued += back
    return lost


def _forget(tx: Transaction, replica: Replica, why: Reason, at: datetime) -> list[Job]:
    others = ready_elsewhere(tx, replica)
    beside = replica.state in {ReplicaState.REPLACED, ReplicaState.COPYING}
    if not others and not beside:
        give_up_files(tx, replica)
        _keep_material(tx, replica)
    tx.cache.delete_replica(replica.id)
    if beside:
        return []
    back: list[Job] = []
    here = _nearest(tx, others)
    for job in tx.jobs.of_entry(replica.entry_id):
        if job.state is JobState.ACTIVE and replica.state is ReplicaState.FILLING:
            back.append(requeue(tx, job, Signal.YIELD, at, why))
        elif job.state is JobState.COMPLETED and not others:
            back.append(requeue(tx, job, Signal.REFILL, at, why))
        elif job.state is JobState.COMPLETED and job.node_id == replica.node_id and here is not None:
            # people and filters go by the node that has the files
            tx.jobs.update(replace(job, node_id=here, updated_at=at))
    left = tx.cache.replicas_of(replica.entry_id) or claimants(tx, replica.entry_id)
    if not left and not release(tx, replica.entry_id, at):
        # pinned or kept: there is nothing left that could be
        tx.cache.delete_entry(replica.entry_id)
    return back


def _nearest(tx: Transaction, ready: Sequence[Replica]) -> NodeId | None:
    """The node of one of these: one that can be reached, if any can."""
    nodes = {node.id for node in tx.nodes.all() if node.online}
    return next((found.node_id for found in ready if found.node_id in nodes), ready[0].node_id if ready else None)


def _keep_material(tx: Transaction, replica: Replica) -> None:
    """What is needed to fetch it again goes back to a job that claims it."""
    material = tx.materials.of_replica(replica.id)
    if material is None:
        return
    for job in wanting(tx.jobs.of_entry(replica.entry_id)):
        if tx.materials.of_job(job.id) is None:
            tx.materials.put_for_job(
                job.id, Material(torrent=material.torrent, secrets=material.secrets, erased=material.erased)
            )
            return
