"""Keeps what runs to what its claimants want now: which files, how fast, from which trackers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from oddaemon.domain.cache import Replica, ReplicaState
from oddaemon.domain.job import Job
from oddaemon.domain.types import NodeId
from oddaemon.ports.node_client import NodeClient
from oddaemon.services.board import Board
from oddaemon.services.filling import Filler
from oddaemon.services.joint_wishes import rates_of, source_for, unfinished, union_selection, wanting
from oddaemon.services.replicas import Found, Replicas
from oddaemon.services.told import Told


@dataclass(slots=True)
class Steerer:
    """Tells engines what differs from what they were told last."""

    node: Callable[[NodeId | None], NodeClient]
    board: Board
    replicas: Replicas
    told: Told
    filler: Filler

    async def selection_changed(self, replica: Replica) -> None:
        """A claimant came, went or selected other files."""
        async with self.replicas.alone(replica.id):
            await self.follow_wishes(replica)

    async def follow_wishes(self, replica: Replica) -> None:
        """The caller holds the replica's lock."""
        found = await self.replicas.load(replica)
        if found is None or found.replica.state is not ReplicaState.FILLING:
            return
        await self.follow_limits(replica, unfinished(found.jobs))
        await self._follow_trackers(found)
        jobs = wanting(found.jobs)
        if not jobs or not found.entry.files_known:
            return
        can_select = self.board.can_select(replica)
        files = [found.files[index] for index in sorted(found.files)]
        selection = union_selection(jobs, files, files_known=True, can_select=can_select)
        if self.told.selections.get(replica.id) != selection and can_select:
            await self.node(replica.node_id).select(replica.engine, replica.id, selection)
            self.told.selections[replica.id] = selection

    async def follow_limits(self, replica: Replica, jobs: Sequence[Job]) -> None:
        """The loosest of the claimants' speed limits holds, also when one of them changes or leaves."""
        rates = rates_of(jobs)
        if jobs and self.told.rates.get(replica.id, rates) != rates:
            node = self.node(replica.node_id)
            await node.limit(replica.engine, replica.id, down=rates[0], up=rates[1])
            self.told.rates[replica.id] = rates

    async def _follow_trackers(self, found: Found) -> None:
        """A torrent is looked for at the trackers of those who join it too. aria2 takes no new ones while it runs
        (measured on 1.36, with the metadata and with the content): it begins again from the bytes that are there."""
        replica, jobs = found.replica, unfinished(found.jobs)
        given = self.told.trackers.get(replica.id)
        if given is None or not jobs or given >= set(source_for(found.entry, jobs).trackers):
            return
        await self.node(replica.node_id).cancel(replica.engine, replica.id)
        await self.filler.renew(replica.id)
