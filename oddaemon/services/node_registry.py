"""The controller's side of what workers tell: lets them in, knows their credentials, and hands on how they are."""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace

from oddaemon.domain.errors import AlreadyExists, InvalidArgument, Unauthenticated
from oddaemon.domain.events import NodeJoined
from oddaemon.domain.join_token import KeptToken, TokenState
from oddaemon.domain.node import DiskUsage, EngineHealth, NodeSnapshot
from oddaemon.domain.node_proof import new_credential
from oddaemon.domain.types import Bytes, NodeId, Seconds
from oddaemon.ports.clock import Clock
from oddaemon.ports.engine import FillStatus
from oddaemon.ports.node_registry import Announcement, Heartbeat, Joined, NodeRegistry
from oddaemon.ports.store import Store, Transaction

log = logging.getLogger(__name__)

MAX_DISK = Bytes(2**56)
"""What a node may say that its disk has: more is a lie, and would draw every download."""
_NODE_ID = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,62}[A-Za-z0-9])?")
_NOT_GOOD = "this join token is not good"
_ANOTHER = "odctl nodes token create, on the controller, makes another"


@dataclass(slots=True)
class StoredRegistry(NodeRegistry):
    """Meets ports.node_registry.NodeRegistry over the store.

    `heard` is told of every word of a worker (services.node_watch), `joined` when there is a new one, `reported` what
    one says of its replicas. `every`: how often they shall be heard of."""

    store: Store
    clock: Clock
    local: NodeId
    every: Callable[[], Seconds]
    heard: Callable[[NodeSnapshot], Awaitable[None]]
    joined: Callable[[NodeSnapshot], None]
    reported: Callable[[NodeId, Sequence[FillStatus]], None]
    _told: dict[NodeId, NodeSnapshot] = field(default_factory=dict)
    """Of each node that registered with this process, what it said last."""
    _confirmed: set[NodeId] = field(default_factory=set)
    _turns: dict[NodeId, asyncio.Lock] = field(default_factory=dict)
    """One word of a node after the other."""

    @asynccontextmanager
    async def silencing(self, node_id: NodeId) -> AsyncIterator[None]:
        """The node is being removed: what it tells meanwhile waits, and is not heard any more."""
        async with self._turn(node_id):
            self._told.pop(node_id, None)
            self._confirmed.discard(node_id)
            yield
        self._turns.pop(node_id, None)

    def _turn(self, node_id: NodeId) -> asyncio.Lock:
        return self._turns.setdefault(node_id, asyncio.Lock())

    # joining

    async def credential_of(self, node_id: NodeId) -> bytes | None:
        return await self.store.read(lambda tx: tx.nodes.credential(node_id))

    async def token_key(self, token_id: str) -> bytes | None:
        now = self.clock.now()

        def work(tx: Transaction) -> bytes | None:
            token = tx.join_tokens.get(token_id)
            if token is None or not _opens(tx, token, token.state(now)):
                return None
            return token.key

        return await self.store.read(work)

    async def join(self, token_id: str, node_id: NodeId) -> Joined:
        """As the port says. A token that is bound to a name gives its node that name. What was lost on the way back is
        given again, for as long as the node has not shown that it has it."""
        new, credential = await self.store.write(lambda tx: self._join(tx, token_id, node_id))
        self._told.pop(new.id, None)
        self.joined(new)
        log.info("node joined", extra={"action": "node_joined", "node": new.id, "token": token_id})
        return Joined(node_id=new.id, credential=credential)

    def _join(self, tx: Transaction, token_id: str, wanted: NodeId) -> tuple[NodeSnapshot, bytes]:
        now = self.clock.now()
        token = tx.join_tokens.get(token_id)
        if token is None:
            raise Unauthenticated(_NOT_GOOD, hint=_ANOTHER)
        node_id = wanted if token.name is None else NodeId(token.name)
        again = node_id in tx.nodes.unconfirmed(token_id)
        if not again and token.state(now) is not TokenState.GOOD:
            raise Unauthenticated(f"{_NOT_GOOD}: {token.state(now)}", hint=_ANOTHER)
        checked_node_id(node_id)
        found = tx.nodes.get(node_id)
        if node_id == self.local or (found is not None and not again):
            raise AlreadyExists(
                f"there is a node {node_id} already", node=node_id,
                hint="choose another name with node.id (OD_NODE_ID) on the worker; if this is the same machine made "
                f"anew, first remove the old one: odctl nodes rm {node_id}",
            )  # fmt: skip
        new = found or _never_seen(node_id)
        if not again:
            tx.join_tokens.use(token_id, now)
            tx.nodes.upsert(new, now)
            tx.events.add(NodeJoined(at=now, node_id=node_id, data={"token": token_id}))
        credential = new_credential()
        tx.nodes.put_credential(node_id, credential, token_id=token_id, at=now)
        return new, credential

    # telling

    async def register(self, node_id: NodeId, told: Announcement) -> Seconds:
        seen = NodeSnapshot(
            id=node_id, name=told.name or node_id, is_controller=False, online=True, disk=_bounded(told.disk),
            engines=tuple(_health(engine.health, engine.problem) for engine in told.engines),
            file_endpoint=told.file_endpoint, labels=dict(told.labels), software=told.software,
        )  # fmt: skip
        async with self._turn(node_id):
            if not await self._is_known(node_id):
                raise Unauthenticated("this node was removed", hint=_ANOTHER)
            self._told[node_id] = seen
            await self.heard(seen)
        return self.every()

    async def _is_known(self, node_id: NodeId) -> bool:
        """Whether it is still a node; its credential has arrived, then."""
        if node_id in self._confirmed:
            return True

        def work(tx: Transaction) -> bool:
            tx.nodes.confirm_credential(node_id)
            return tx.nodes.credential(node_id) is not None

        if known := await self.store.write(work):
            self._confirmed.add(node_id)
        return known

    async def heartbeat(self, node_id: NodeId, told: Heartbeat) -> bool:
        async with self._turn(node_id):
            return await self._beat(node_id, told)

    async def _beat(self, node_id: NodeId, told: Heartbeat) -> bool:
        before = self._told.get(node_id)
        if before is None:
            return False
        healths = {health.name: health for health in told.engines}
        # what an engine can do was announced; a beat says how it is
        engines = tuple(
            replace(
                known, ok=now.ok, message=now.message, version=now.version, max_concurrent=now.max_concurrent
            ) if (now := healths.get(known.name)) is not None else known
            for known in before.engines
        )  # fmt: skip
        seen = replace(before, disk=_bounded(told.disk), engines=engines, load=told.load)
        self._told[node_id] = seen
        await self.heard(seen)
        return True

    async def report(self, node_id: NodeId, statuses: Sequence[FillStatus]) -> None:
        self.reported(node_id, statuses)


def checked_node_id(text: str) -> NodeId:
    """Raises InvalidArgument."""
    if not _NODE_ID.fullmatch(text):
        raise InvalidArgument(
            f"{text[:80]!r} is no node's name: it has 1 to 64 letters, digits, dots, dashes and underscores",
            field="name", hint="on a worker it is node.id (OD_NODE_ID), or else the host name",
        )  # fmt: skip
    return NodeId(text)


def _opens(tx: Transaction, token: KeptToken, state: TokenState) -> bool:
    """Whether it lets a node in: a new one, or again the one whose credential was lost on the way."""
    return state is TokenState.GOOD or (state is TokenState.USED and bool(tx.nodes.unconfirmed(token.id)))


def _never_seen(node_id: NodeId) -> NodeSnapshot:
    return NodeSnapshot(
        id=node_id, name=node_id, is_controller=False, online=False, engines=(),
        disk=DiskUsage(total=Bytes(0), free=Bytes(0), present=False),
    )  # fmt: skip


def _health(health: EngineHealth, problem: str) -> EngineHealth:
    return replace(health, ok=False, message=problem) if problem else health


def _bounded(disk: DiskUsage) -> DiskUsage:
    total = Bytes(min(max(disk.total, 0), MAX_DISK))
    return replace(disk, total=total, free=Bytes(min(max(disk.free, 0), total)))
