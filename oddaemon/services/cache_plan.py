"""What a clean-up removes: decided by one function of a transaction, for a dry run and for a real one; and cache
entries as they are shown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from oddaemon.domain.cache import CacheEntry, Replica, ReplicaState
from oddaemon.domain.errors import Conflict, NodeUnavailable, OpenDebridError, StorageMissing
from oddaemon.domain.node import NodeSnapshot
from oddaemon.domain.types import Bytes, EntryId, NodeId, ReplicaId, Seconds
from oddaemon.ports.store import EntryOverview, Transaction
from oddaemon.services.claims import claimants
from oddaemon.services.views import CacheView

_GOING = frozenset({ReplicaState.DELETING})
_AT_WORK = frozenset({ReplicaState.FILLING})


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What a clean-up is to remove."""

    now: datetime
    older: Seconds | None = None
    until_free: Bytes | None = None
    node: NodeId | None = None
    only: frozenset[EntryId] | None = None
    """Only these entries; None: whatever fits."""
    named: frozenset[tuple[str, int]] | None = None
    """Only these keys' generations, which somebody was shown; None: whatever fits."""
    free: Mapping[NodeId, Bytes] = field(default_factory=dict)
    """By node: absent nodes cannot be reached or have their disk missing, and nothing of theirs goes."""
    spared: frozenset[ReplicaId] = frozenset()
    """Their files were opened a moment ago."""
    sizes: Mapping[ReplicaId, Bytes] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Victim:
    view: CacheView
    sizes: Mapping[ReplicaId, Bytes]

    @property
    def freed(self) -> Bytes:
        return Bytes(sum(self.sizes.values()))


def plan(tx: Transaction, wish: Wish) -> list[Victim]:
    """What the wish removes, in this order. The only place that decides it; no effect."""
    free = dict(wish.free)
    chosen: list[Victim] = []
    for entry in tx.cache.claimless():
        if entry.pinned or (wish.only is not None and entry.id not in wish.only):
            continue
        if wish.named is not None and (entry.key, entry.generation) not in wish.named:
            continue
        if wish.older is not None and last_use(entry) > wish.now - timedelta(seconds=wish.older):
            continue
        replicas = tx.cache.replicas_of(entry.id)
        if not _may_go(replicas, wish):
            continue
        if wish.until_free is not None and not _helps(replicas, free, wish.until_free, wish.node):
            continue
        victim = victim_of(tx, entry, wish.sizes)
        for replica in replicas:
            free[replica.node_id] = Bytes(free[replica.node_id] + victim.sizes.get(replica.id, 0))
        chosen.append(victim)
    return chosen


def last_use(entry: CacheEntry) -> datetime:
    """What LRU goes by."""
    return entry.last_used_at or entry.complete_at or entry.created_at


def _may_go(replicas: Sequence[Replica], wish: Wish) -> bool:
    if wish.node is not None and all(replica.node_id != wish.node for replica in replicas):
        return False
    if replicas and all(replica.state in _GOING for replica in replicas):
        return False
    return all(
        replica.state not in _AT_WORK and replica.id not in wish.spared and replica.node_id in wish.free
        for replica in replicas
    )


def _helps(replicas: Sequence[Replica], free: Mapping[NodeId, Bytes], until_free: Bytes, node: NodeId | None) -> bool:
    """Whether one of the nodes that the entry lies on still has too little room."""
    return any(free[replica.node_id] < until_free for replica in replicas if node in (None, replica.node_id))


def refusal(tx: Transaction, entry: CacheEntry, nodes: Mapping[NodeId, NodeSnapshot]) -> OpenDebridError | None:
    """Why an entry that somebody names cannot go."""
    jobs = [str(job.number) for job in claimants(tx, entry.id)]
    if jobs:
        shown = ", ".join(jobs[:5]) + (", …" if len(jobs) > 5 else "")
        owners, them = ("job", "it") if len(jobs) == 1 else ("jobs", "them")
        return Conflict(f"it belongs to {owners} {shown}", hint=f"remove {them} first: odctl rm", jobs=jobs)
    if entry.pinned:
        return Conflict("it is pinned", hint=f"odctl cache unpin '{entry.key}'")
    for replica in live_replicas(tx, entry.id):
        node = nodes.get(replica.node_id)
        if node is None or not node.online:
            return NodeUnavailable(f"node {replica.node_id}, where it lies, cannot be reached")
        if not node.disk.present:
            return StorageMissing(f"node {node.name}: the download disk is not mounted")
    return None


def victim_of(tx: Transaction, entry: CacheEntry, measured: Mapping[ReplicaId, Bytes]) -> Victim:
    view = view_of(tx, entry.id)
    recorded = _recorded_sizes(tx, view.entry, view.replicas)
    live = [replica.id for replica in view.replicas if replica.state not in _GOING]
    return Victim(view=view, sizes={found: measured.get(found, recorded[found]) for found in live})


def _recorded_sizes(tx: Transaction, entry: CacheEntry, replicas: Sequence[Replica]) -> Mapping[ReplicaId, Bytes]:
    """What each replica should hold, by the store."""
    ready = sum(file.size or 0 for file in tx.cache.files(entry.id) if file.ready)
    return {
        replica.id: Bytes(max(ready, replica.done) if replica.state is ReplicaState.READY else replica.done)
        for replica in replicas
    }


def live_replicas(tx: Transaction, entry_id: EntryId) -> list[Replica]:
    return [replica for replica in tx.cache.replicas_of(entry_id) if replica.state not in _GOING]


def view_of(tx: Transaction, entry_id: EntryId) -> CacheView:
    """One entry, with everybody's claims."""
    entry = tx.cache.entry(entry_id)
    assert entry is not None
    jobs = claimants(tx, entry_id)
    users = {tx.users.get(user_id) for user_id in {job.user_id for job in jobs}}
    overview = EntryOverview(
        entry=entry,
        replicas=tx.cache.replicas_of(entry_id),
        jobs=[job.number for job in jobs],
        users=sorted(user.username for user in users if user is not None),
    )
    return views_of(tx, [overview], sizes=True)[0]


def views_of(tx: Transaction, found: Sequence[EntryOverview], *, sizes: bool) -> list[CacheView]:
    files = tx.cache.files_of([overview.entry.id for overview in found])
    return [
        CacheView(
            entry=overview.entry,
            replicas=overview.replicas,
            replica_sizes={
                str(replica): size for replica, size in _recorded_sizes(tx, overview.entry, overview.replicas).items()
            }
            if sizes
            else {},
            files=len(files[overview.entry.id]),
            jobs=overview.jobs,
            users=overview.users,
        )
        for overview in found
    ]
