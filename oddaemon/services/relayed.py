"""Links whose files lie on another node than the file server that serves them: what such a file is, and where."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, replace

from oddaemon.domain.errors import NodeUnavailable, NotFound
from oddaemon.domain.link import LinkContent, LinkFile
from oddaemon.domain.types import LinkId, NodeId, ReplicaId
from oddaemon.ports.node_client import NodeClient
from oddaemon.ports.storage import StoredFile
from oddaemon.ports.store import Store
from oddaemon.services.link_serving import LinkServing

STAT_SECONDS = 4.0
"""For a node to say what lies on its disk: less than a file process waits."""
NOT_THERE = -1
"""The time of a file that is not there as it was recorded."""


def _no_node(node_id: NodeId) -> NodeClient:
    raise NodeUnavailable(f"node {node_id} is not connected")


@dataclass(slots=True)
class RelayedLinks:
    """As LinkServing, for the file server of the node `local`."""

    store: Store
    serving: LinkServing
    local: NodeId
    node: Callable[[NodeId], NodeClient] = _no_node

    async def content(self, link_id: LinkId, replica_id: ReplicaId, file_index: int) -> LinkContent:
        """With what only a look at the files tells, when they lie elsewhere. Raises as LinkServing, and
        NodeUnavailable, StorageMissing."""
        content = await self.serving.content(link_id, replica_id, file_index)
        if not content.files:
            return content
        node_id = await self.node_of(replica_id)
        if node_id == self.local:
            return content
        try:
            async with asyncio.timeout(STAT_SECONDS):
                found = await self.node(node_id).stat(replica_id, [file.disk_path for file in content.files])
        except TimeoutError as error:
            raise NodeUnavailable(f"node {node_id} does not answer") from error
        files = tuple(_seen(file, there) for file, there in zip(content.files, found, strict=True))
        return replace(content, files=files, is_elsewhere=True)

    async def node_of(self, replica_id: ReplicaId) -> NodeId:
        """Raises NotFound."""
        replica = await self.store.read(lambda tx: tx.cache.replica(replica_id))
        if replica is None:
            raise NotFound("the files are gone")
        return replica.node_id


def _seen(file: LinkFile, found: StoredFile | None) -> LinkFile:
    is_there = found is not None and found.size == file.size
    return replace(file, modified_ns=found.modified_ns if found is not None and is_there else NOT_THERE)
