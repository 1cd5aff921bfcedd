"""What is at work as the scheduler has to know it: each entry that somebody waits for, with what it still needs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime, timedelta

from oddaemon.domain.admission import NodeRoom
from oddaemon.domain.cache import Replica, ReplicaState, at_work
from oddaemon.domain.failure import Reason, ReasonCode
from oddaemon.domain.retry import SET_BACK, waits
from oddaemon.domain.types import EntryId, NodeId, ReplicaId
from oddaemon.services.at_work import AtWork
from oddaemon.services.scheduler import Work

MEASURED_IN = timedelta(seconds=10)
"""For no longer is the first byte of a download waited for before the next of unknown size may begin."""
STALL_CODES = frozenset({ReasonCode.NO_SEEDS, ReasonCode.STALLED})


def works_of(
    view: AtWork, now: datetime, blocked: Mapping[EntryId, Reason], gone: Callable[[NodeId], bool] = lambda _: False
) -> dict[EntryId, Work]:
    """`blocked`: ready entries that are not to be begun again now. `gone`: whether a node has been away for so long
    that what is there is fetched again elsewhere."""
    current: dict[EntryId, Replica] = {}
    leaving: set[EntryId] = set()
    for replica in view.replicas.values():
        is_gone = gone(replica.node_id)
        if replica.state is ReplicaState.DELETING:
            if not is_gone:
                leaving.add(replica.entry_id)
        elif replica.state is not ReplicaState.REPLACED and not (is_gone and replica.state is ReplicaState.READY):
            known = current.get(replica.entry_id)
            found = at_work([replica] if known is None else [known, replica])
            if found is not None:
                current[replica.entry_id] = found
    works: dict[EntryId, Work] = {}
    for entry_id, claims in view.by_entry.items():
        there = current.get(entry_id)
        if there is not None:
            works[entry_id] = _work_of(view, there, now, claims[0].info_hash, blocked.get(entry_id))
            continue
        removing = None
        if entry_id in leaving:
            removing = Reason(code=ReasonCode.REMOVING, message="an earlier copy is still being removed")
        sizes = [claim.size for claim in claims if claim.size is not None]
        works[entry_id] = Work(
            entry_id=entry_id, engine=claims[0].engine, remaining=max(sizes, default=None), blocked=removing,
            info_hash=claims[0].info_hash,
        )  # fmt: skip
    return works


def reserve_copies(view: AtWork, rooms: Mapping[NodeId, NodeRoom], *, but: ReplicaId | None = None) -> None:
    """What copies still need of their nodes' disks is not there for others."""
    for replica in view.replicas.values():
        if replica.state is ReplicaState.COPYING and replica.id != but and replica.node_id in rooms:
            rooms[replica.node_id].reserved += view.remaining(replica) or 0


def _work_of(
    view: AtWork, replica: Replica, now: datetime, info_hash: str | None, blocked: Reason | None
) -> Work:
    if blocked is None and waits(replica.next_try_at, replica.updated_at, now):
        blocked = replica.reason or Reason(code=ReasonCode.RETRY, message="waits before the next attempt")
    return Work(
        entry_id=replica.entry_id,
        engine=replica.engine,
        remaining=view.remaining(replica),
        replica_id=replica.id,
        node_id=replica.node_id,
        running=replica.state is ReplicaState.FILLING,
        unmeasured=_is_unmeasured(view, replica, now),
        blocked=blocked,
        last_resort=replica.reason is not None and replica.reason.code in STALL_CODES,
        info_hash=info_hash,
    )


def _is_unmeasured(view: AtWork, replica: Replica, now: datetime) -> bool:
    status = view.board.statuses.get(replica.id)
    if status is not None and (status.total is not None or status.done):
        return status.total is None
    # a plan goes by the time at which it began
    return -SET_BACK <= now - replica.updated_at < MEASURED_IN
