"""The file servers of the nodes, as links need them: what they verify with, where they are, and what they refuse.

What lies on a node that nobody can reach from outside is relayed: its links lead to the controller's own file server,
and are signed with that one's key."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Protocol
from urllib.parse import quote

from oddaemon.domain.errors import NodeUnavailable
from oddaemon.domain.link import LONGEST_LINK, Link, LinkKind
from oddaemon.domain.link_token import MASTER_KEY_NAME, LinkToken, new_master_key, node_key, sign
from oddaemon.domain.types import LinkId, NodeId, Seconds
from oddaemon.ports.clock import Clock
from oddaemon.ports.store import Store, Transaction


class FilesOnNode(Protocol):
    """The file server of one node, as this service needs it."""

    async def revoke(self, links: Mapping[LinkId, datetime]) -> Seconds | None:
        """Within a second none of them is served. Values are expiries. For how long it may serve them still, when it
        could not be told."""

    async def rekey(self, keys: Sequence[bytes]) -> None:
        """Within a second no link is served that none of these keys signed."""


@dataclass(frozen=True, slots=True)
class _Place:
    """Where what lies on a node is served."""

    node_id: NodeId
    """Whose file server that is, and whose key signs."""
    endpoint: str


@dataclass(slots=True)
class FileServers:
    """One for each node whose files are served. Verifying a link is `domain.link_token`: no store."""

    store: Store
    clock: Clock
    _nodes: dict[NodeId, FilesOnNode] = field(default_factory=dict)
    _places: dict[NodeId, _Place] = field(default_factory=dict)
    _keys: dict[NodeId, bytes] = field(default_factory=dict)

    def serve_on(self, node_id: NodeId, endpoint: str, files: FilesOnNode) -> None:
        """From now on links to this node's replicas can be made. `endpoint`: what their URLs begin with."""
        self._nodes[node_id] = files
        self._places[node_id] = _Place(node_id, endpoint.rstrip("/"))

    def relay(self, node_id: NodeId, by: NodeId, files: FilesOnNode | None) -> None:
        """As `serve_on`, for a node whose files another's file server relays. `files`: its own file server, if it has
        one at all, which is told what to refuse."""
        if files is not None:
            self._nodes[node_id] = files
        self._places[node_id] = self._places[by]

    def serves_no_more(self, node_id: NodeId) -> None:
        """The node was removed."""
        self._nodes.pop(node_id, None)
        self._places.pop(node_id, None)

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
        keys = {node_id: await self.node_key(node_id) for node_id in self._nodes}
        async with asyncio.TaskGroup() as tasks:
            for node_id, server in self._nodes.items():
                if node_id in keys:
                    tasks.create_task(server.rekey([keys[node_id]]), name=f"rekey {node_id}")

    def nodes(self) -> Collection[NodeId]:
        return self._places.keys()

    def serving(self) -> Collection[NodeId]:
        """Those whose own file server links lead to."""
        return {place.node_id for place in self._places.values()}

    def at(self, node_id: NodeId, token: str, name: str) -> str:
        """The URL at which what the token says is served, for a token of that node's key. Raises NodeUnavailable."""
        place = self._place(node_id)
        return f"{place.endpoint}/d/{token}/{quote(name, safe='', errors='replace')}"

    def _place(self, node_id: NodeId) -> _Place:
        if node_id not in self._places:
            raise NodeUnavailable(f"node {node_id} serves no files at the moment")
        return self._places[node_id]

    async def url(self, link: Link, kind: LinkKind, index: int, name: str) -> str:
        """Of a link, or of a file of a playlist link: what revokes the playlist revokes it. Raises NodeUnavailable."""
        token = LinkToken(
            link_id=link.id, replica_id=link.replica_id, user_id=link.user_id, file_index=index, kind=kind,
            inline=link.inline, expires_at=int(link.expires_at.timestamp()), limited=link.asks,
        )  # fmt: skip
        signer = self._place(link.node_id).node_id
        return self.at(link.node_id, sign(token, await self.node_key(signer)), name)

    async def push_revocations(self, ids: Collection[LinkId]) -> None:
        """Tells the file servers of links that the store already knows to be revoked (a job was removed)."""
        if not ids:
            return
        latest = self.clock.now() + timedelta(seconds=LONGEST_LINK)

        def read(tx: Transaction) -> Mapping[LinkId, datetime]:
            found = {link_id: tx.links.get(link_id) for link_id in ids}
            return {link_id: latest if link is None else link.expires_at for link_id, link in found.items()}

        await self.refuse(await self.store.read(read))

    async def revoked(self) -> Mapping[LinkId, datetime]:
        """What a file server has to refuse from its start."""
        now = self.clock.now()
        return dict(await self.store.read(lambda tx: tx.links.revoked(now)))

    async def refuse(self, links: Mapping[LinkId, datetime]) -> Mapping[NodeId, Seconds]:
        """When this returns, none of them works any more on any node that can be reached. Values are their expiries.
        Every file server is told: a link may be relayed now, and have been the node's own before. Those that links lead
        to and that could not be told, and for how long each may serve them still."""
        if not links:
            return {}
        async with asyncio.TaskGroup() as tasks:
            told = {
                node_id: tasks.create_task(server.revoke(links), name=f"revoke on {node_id}")
                for node_id, server in self._nodes.items()
            }
        serving, left = self.serving(), {node_id: task.result() for node_id, task in told.items()}
        return {node_id: time for node_id, time in left.items() if time is not None and node_id in serving}
