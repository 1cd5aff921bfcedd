"""What becomes of downloads whose node is gone: after the grace another replica takes their place, once."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from oddaemon.domain.admission import Limits, NodeRoom, node_offline
from oddaemon.domain.cache import Replica, ReplicaState, moved
from oddaemon.domain.failure import Reason, ReasonCode
from oddaemon.domain.job import JobState, Signal
from oddaemon.domain.types import NodeId
from oddaemon.ports.clock import Clock
from oddaemon.ports.store import Transaction
from oddaemon.services.at_work import AtWork
from oddaemon.services.board import Board
from oddaemon.services.claims import ready_elsewhere, requeue
from oddaemon.services.replicas import Replicas
from oddaemon.services.told import Told

log = logging.getLogger(__name__)

REFUSALS = frozenset({
    ReasonCode.STORAGE_FAILED, ReasonCode.STORAGE_MISSING, ReasonCode.NO_SPACE, ReasonCode.ENGINE_DOWN,
})  # fmt: skip
"""Answers of a node that mean that it does not work on what it was given."""
MOVABLE = frozenset({ReplicaState.WAITING, ReplicaState.FILLING, ReplicaState.PAUSED, ReplicaState.MISSING})


@dataclass(slots=True)
class Takeover:
    """What was taken over is `replaced` in the store: whoever looks next, a controller that started again too, finds an
    entry that has to be placed, and nothing to take over a second time."""

    clock: Clock
    board: Board
    view: AtWork
    replicas: Replicas
    told: Told
    is_past_grace: Callable[[NodeId], bool]
    rooms: Callable[[], Mapping[NodeId, NodeRoom]]
    limits: Callable[[], Limits]

    async def due(self) -> bool:
        """Takes over what is due; whether there was something."""
        found = self._left() + self._refused()
        if found:
            await self.give_up(found)
        return bool(found)

    def _left(self) -> list[Replica]:
        """On nodes that are past their grace."""
        gone = {node for node in self.board.nodes if self.is_past_grace(node)}
        if not gone:
            return []
        return [
            replica for replica in self.view.replicas.values()
            if replica.node_id in gone and replica.state in MOVABLE and self._may_move(replica)
        ]  # fmt: skip

    def _refused(self) -> list[Replica]:
        """What its node would not even begin with, and another one could."""
        refused = [
            replica for replica in self.view.replicas.values()
            if replica.state is ReplicaState.WAITING and replica.handle is None and not replica.done
            and replica.reason is not None and replica.reason.code in REFUSALS and self._may_move(replica)
        ]  # fmt: skip
        if not refused:
            return []
        limits = self.limits()
        rooms = [room for room in self.rooms().values() if room.shunned is None]
        return [
            replica for replica in refused
            if any(
                room.node.id != replica.node_id
                and any(claim.wish.allows(room.node) for claim in self.view.by_entry.get(replica.entry_id, ()))
                and room.refuses(replica.engine, self.view.remaining(replica), limits) is None
                for room in rooms
            )
        ]  # fmt: skip

    def _may_move(self, replica: Replica) -> bool:
        """Somebody waits for it who did not ask for this very node."""
        claims = self.view.by_entry.get(replica.entry_id, ())
        return not self.replicas.is_busy(replica.id) and any(claim.node_wish != replica.node_id for claim in claims)

    async def give_up(self, found: Sequence[Replica]) -> None:
        """Other replicas are to be filled in the place of these."""

        def work(tx: Transaction, noted: list[Replica]) -> None:
            at = self.clock.now()
            for asked in found:
                replica = tx.cache.replica(asked.id)
                if replica is not None and replica.state in MOVABLE:
                    noted.append(replaced(tx, replica, self._reason(replica), at))

        await self.replicas.write(work)
        for replica in found:
            self.board.statuses.pop(replica.id, None)
            self.told.forget(replica.id)
            facts = {"action": "taken_over", "replica": str(replica.id), "node": replica.node_id}
            log.warning("to be downloaded elsewhere", extra=facts)

    def _reason(self, replica: Replica) -> Reason:
        node = self.board.nodes.get(replica.node_id)
        if node is not None and not node.online:
            return node_offline(node)
        why = "" if replica.reason is None else f": {replica.reason.message}"
        return Reason(code=ReasonCode.QUEUED, message=f"node {replica.node_id} could not take it{why}")


def replaced(tx: Transaction, replica: Replica, reason: Reason, at: datetime) -> Replica:
    """Its jobs are back in the queue, to be placed anew."""
    given_up = moved(replica, ReplicaState.REPLACED, at=at, reason=reason)
    tx.cache.update_replica(replace(given_up, next_try_at=None))
    give_up_files(tx, replica)
    for job in tx.jobs.of_entry(replica.entry_id):
        if job.state is JobState.ACTIVE:
            requeue(tx, job, Signal.YIELD, at, reason)
    return given_up


def give_up_files(tx: Transaction, replica: Replica) -> None:
    """What only this replica had of the entry's files is not ready any more."""
    if ready_elsewhere(tx, replica):
        return
    gone = [replace(file, ready=False) for file in tx.cache.files(replica.entry_id) if file.ready]
    if gone:
        tx.cache.put_files(replica.entry_id, gone)
    entry = tx.cache.entry(replica.entry_id)
    if entry is not None and entry.complete_at is not None:
        tx.cache.update_entry(replace(entry, complete_at=None))
