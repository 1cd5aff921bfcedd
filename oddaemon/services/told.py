"""What engines were last told of the replicas that they work on. Lost with the process, on purpose: they are told
again."""

from __future__ import annotations

from collections.abc import Mapping, Set
from dataclasses import dataclass, field

from oddaemon.domain.types import ReplicaId
from oddaemon.ports.node_client import Dispatch
from oddaemon.services.joint_wishes import Rates
from oddaemon.services.seed_wishes import wish_of


@dataclass(slots=True)
class Told:
    selections: dict[ReplicaId, Set[int] | None] = field(default_factory=dict)
    rates: dict[ReplicaId, Rates] = field(default_factory=dict)
    """The speed limits."""
    trackers: dict[ReplicaId, Set[str]] = field(default_factory=dict)
    """Of torrents."""
    seeding: dict[ReplicaId, Mapping[str, str]] = field(default_factory=dict)
    """For how long to seed."""

    def to_fill(self, order: Dispatch) -> None:
        self.selections[order.replica_id] = order.selection
        self.trackers[order.replica_id] = frozenset(order.source.trackers)
        self.to_seed(order)

    def to_seed(self, order: Dispatch) -> None:
        self.rates[order.replica_id] = (order.max_rate_down, order.max_rate_up)
        self.seeding[order.replica_id] = wish_of(order.options)

    def forget(self, replica_id: ReplicaId) -> None:
        """It is not worked on any more."""
        self.selections.pop(replica_id, None)
        self.rates.pop(replica_id, None)
        self.trackers.pop(replica_id, None)
        self.seeding.pop(replica_id, None)
