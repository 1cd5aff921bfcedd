"""The file servers of the nodes, as links need them: what they verify with, where they are, and what they refuse."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Protocol
from urllib.parse import quote

from oddaemon.domain.errors import NodeUnavailable
from oddaemon.domain.link import LONGEST_LINK, Link, LinkKind
from oddaemon.domain.link_token import MASTER_KEY_NAME, LinkToken, new_master_key, node_key, sign
from oddaemon.domain.types import LinkId, NodeId
from oddaemon.ports.clock import Clock
from oddaemon.ports.store import Store, Transaction


class FilesOnNode(Protocol):
    """The file server of one node, as this service needs it."""

    async def revoke(self, links: Mapping[LinkId, datetime]) -> None:
        """Within a second none of them is served. Values are expiries."""

    async def rekey(self, keys: Sequence[bytes]) -> None:
        """Within a second no link is served that none of these keys signed."""


@dataclass(slots=True)
class FileServers:
    """One for each node whose files are served. Verifying a link is `domain.link_token`: no store."""

    store: Store
    clock: Clock
    _nodes: dict[NodeId, tuple[str, FilesOnNode]] = field(default_factory=dict)
    _keys: dict[NodeId, bytes] = field(default_factory=dict)

    def serve_on(self, node_id: NodeId, endpoint: str, files: FilesOnNode) -> None:
        """From now on links to this node's replicas can be made. `endpoint`: what their URLs begin with."""
        self._nodes[node_id] = (endpoint.rstrip("/"), files)

    async def node_key(self, node_id: NodeId) -> bytes:
        """What a node's file server verifies with. The master key is made on first use and never leaves the
        store."""
        if node_id not in self._keys:
            master = await self.store.write(lambda tx: tx.secrets.get_or_create(MASTER_KEY_NAME, new_master_key))
            self._keys[node_id] = node_key(master, node_id)
        return self._keys[node_id]

    async def rekey(self) -> None:
        """The store has another master key: within a second nothing that was signed with the old one is served."""
        self._keys.clear()
        for node_id, (_, server) in self._nodes.items():
            await server.rekey([await self.node_key(node_id)])

    def nodes(self) -> Collection[NodeId]:
        return self._nodes.keys()

    def at(self, node_id: NodeId, token: str, name: str) -> str:
        """The URL at which the node serves what the token says. Raises NodeUnavailable."""
        if node_id not in self._nodes:
            raise NodeUnavailable(f"node {node_id} serves no files at the moment")
        return f"{self._nodes[node_id][0]}/d/{token}/{quote(name, safe='', errors='replace')}"

    async def url(self, link: Link, kind: LinkKind, index: int, name: str) -> str:
        """Of a link, or of a file of a playlist link: what revokes the playlist revokes it. Raises NodeUnavailable."""
        token = LinkToken(
            link_id=link.id, replica_id=link.replica_id, user_id=link.user_id, file_index=index, kind=kind,
            inline=link.inline, expires_at=int(link.expires_at.timestamp()), limited=link.asks,
        )  # fmt: skip
        return self.at(link.node_id, sign(token, await self.node_key(link.node_id)), name)

    async def push_revocations(self, ids: Collection[LinkId]) -> None:
        """Tells the file servers of links that the store already knows to be revoked (a job was removed)."""
        if not ids:
            return
        latest = self.clock.now() + timedelta(seconds=LONGEST_LINK)

        def read(tx: Transaction) -> Mapping[LinkId, tuple[NodeId | None, datetime]]:
            found = {link_id: tx.links.get(link_id) for link_id in ids}
            return {
                link_id: (None, latest) if link is None else (link.node_id, link.expires_at)
                for link_id, link in found.items()
            }

        await self.refuse(await self.store.read(read))

    async def revoked(self) -> Mapping[LinkId, datetime]:
        """What a file server has to refuse from its start."""
        now = self.clock.now()
        return dict(await self.store.read(lambda tx: tx.links.revoked(now)))

    async def refuse(self, links: Mapping[LinkId, tuple[NodeId | None, datetime]]) -> None:
        """When this returns, none of them works any more. Values are the node of each, None for all, and the
        expiry."""
        for node_id, (_, server) in self._nodes.items():
            theirs = {link_id: expiry for link_id, (on, expiry) in links.items() if on in (None, node_id)}
            if theirs:
                await server.revoke(theirs)
