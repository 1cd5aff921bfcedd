"""A node can be reached again: what the store says of it is compared with what it has."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from oddaemon.domain.cache import EntryFile, Replica, ReplicaState
from oddaemon.domain.errors import OpenDebridError
from oddaemon.domain.failure import ReasonCode
from oddaemon.domain.types import NodeId
from oddaemon.ports.clock import Clock
from oddaemon.ports.node_client import NodeClient
from oddaemon.ports.store import Store, Transaction
from oddaemon.services.board import Board
from oddaemon.services.hits import HitChecker, OnDisk
from oddaemon.services.replicas import Replicas
from oddaemon.services.strays import take_stock_of

log = logging.getLogger(__name__)


@dataclass(slots=True)
class Returning:
    """What runs there is the follower's, what is to be deleted the deleter's: both go on by themselves."""

    store: Store
    clock: Clock
    board: Board
    replicas: Replicas
    hits: HitChecker
    wake: Callable[[], None]

    async def back(self, node: NodeClient) -> None:
        """What only waited for the node does not wait any more; ready replicas whose directories are gone are missing;
        directories that nobody owns are told of. Whatever the node answers, nothing is raised."""
        try:
            await self._hurry(node.node_id)
            there = await take_stock_of(self.store, self.clock, node, self.board)
            if there is not None:
                await self._look_for_lost(node, there)
        except OpenDebridError as error:
            facts = {"action": "stock_failed", "node": node.node_id, "error": error.message}
            log.info("a node that is back cannot be looked at", extra=facts)
        except Exception:
            log.exception("looking at a node failed", extra={"action": "stock_crashed", "node": node.node_id})
        self.wake()

    async def _hurry(self, node_id: NodeId) -> None:
        def work(tx: Transaction, noted: list[Replica]) -> None:
            at = self.clock.now()
            for replica in tx.cache.replicas_in([ReplicaState.WAITING]):
                waits = replica.reason is not None and replica.reason.code is ReasonCode.NODE_OFFLINE
                if replica.node_id == node_id and waits:
                    again = replace(replica, next_try_at=None, reason=None, updated_at=at)
                    tx.cache.update_replica(again)
                    noted.append(again)

        await self.replicas.write(work)

    async def _look_for_lost(self, node: NodeClient, there: frozenset[object]) -> None:
        def look_up(tx: Transaction) -> Sequence[tuple[Replica, Sequence[EntryFile]]]:
            ready = tx.cache.replicas_in([ReplicaState.READY])
            lost = [found for found in ready if found.node_id == node.node_id and found.id not in there]
            files = tx.cache.files_of({found.entry_id for found in lost})
            return [(found, [file for file in files[found.entry_id] if file.ready]) for found in lost]

        for replica, files in await self.store.read(look_up):
            sizes = await node.verify(replica.id, files)
            bad = frozenset(file.index for file in files if sizes.get(file.index) != file.size)
            if bad:
                seen = OnDisk(bad={replica.entry_id: bad}, replica=replica.id)
                await self.store.write(lambda tx, seen=seen: self.hits.record(tx, seen, self.clock.now()))  # type: ignore[misc]
