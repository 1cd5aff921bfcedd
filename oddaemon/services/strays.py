"""Directories that no replica owns."""

from __future__ import annotations

import logging

from oddaemon.domain.errors import StoreError, Unavailable
from oddaemon.domain.types import ReplicaId, Seconds
from oddaemon.ports.clock import Clock
from oddaemon.ports.node_client import NodeClient
from oddaemon.ports.store import Store
from oddaemon.services.board import Board

log = logging.getLogger(__name__)

AGAIN = Seconds(1)
"""Between two attempts to ask the store."""


async def take_stock_of(
    store: Store, clock: Clock, node: NodeClient, board: Board
) -> frozenset[ReplicaId] | None:
    """What has a directory on a node; None when it cannot say. Directories that no replica owns are told of and left
    alone: the store may have been restored from an older backup, and what they hold is somebody's."""
    try:
        found = frozenset(await node.inventory())
    except Unavailable as error:
        log.info("no inventory", extra={"action": "inventory_failed", "error": error.message})
        return None
    strays = found - await _owned(store, clock)
    board.strays[node.node_id] = len(strays)
    if strays:
        facts = {"action": "strays", "node": node.node_id, "directories": [str(one) for one in strays]}
        log.warning("directories without an owner", extra=facts)
    return found


async def _owned(store: Store, clock: Clock) -> set[ReplicaId]:
    """Every replica of the store, which may have to come back first."""
    while True:
        try:
            return await store.read(lambda tx: {replica.id for replica in tx.cache.all_replicas()})
        except StoreError as error:
            log.warning("the store cannot be asked", extra={"action": "stock_failed", "error": error.message})
            await clock.sleep(AGAIN)
