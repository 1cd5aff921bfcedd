"""What an admin does with nodes: lets them in, empties them, sets what they may, removes them."""

from __future__ import annotations

import logging
import shlex
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Protocol

from oddaemon.domain.cache import Replica, ReplicaState
from oddaemon.domain.errors import Conflict, InvalidArgument, NotFound
from oddaemon.domain.events import NodeChanged, NodeRemoved, NodeTokenCreated, NodeTokenRevoked
from oddaemon.domain.job import Job
from oddaemon.domain.join_token import LONGEST_SECONDS, KeptToken, TokenState, new_token
from oddaemon.domain.labels import DO_NOT_FIT, MAX_LABELS, fits
from oddaemon.domain.node import NodeMarks, NodeSnapshot
from oddaemon.domain.node_proof import token_key
from oddaemon.domain.types import Bytes, JobNumber, NodeId, Seconds
from oddaemon.domain.user import Principal, require_admin
from oddaemon.domain.words import choices
from oddaemon.ports.clock import Clock
from oddaemon.ports.store import Store, Transaction
from oddaemon.services.node_registry import checked_node_id
from oddaemon.services.node_removal import forget_replicas
from oddaemon.services.node_watch import NodeWatch

log = logging.getLogger(__name__)

DAY = Seconds(86_400)
"""How long a token lets in, unless it is said."""
KEPT_AFTER = timedelta(days=7)
"""Tokens that are not good any more are listed for so long."""
LIMITS = ("running", "min_disk_free", "weight")
MAX_WEIGHT = 1e6
AT_WORK = frozenset({ReplicaState.FILLING, ReplicaState.PAUSED})


@dataclass(frozen=True, slots=True)
class Doorway:
    """Where workers come to, and by what they know it."""

    address: str
    """host:port, as workers are told."""
    fingerprint: str


class NodePort(Protocol):
    async def open(self) -> Doorway:
        """Listens from now on, if it did not. Raises Unavailable when it cannot."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NewToken:
    kept: KeptToken
    word: str
    """Told this once."""
    command: str
    """To paste on the worker."""

    def __repr__(self) -> str:
        return f"NewToken({self.kept.id})"


@dataclass(frozen=True, slots=True, kw_only=True)
class ListedToken:
    token: KeptToken
    state: TokenState
    created_by: str


class Connections(Protocol):
    """The connections of the nodes that joined, as this service needs them."""

    def silencing(self, node_id: NodeId) -> AbstractAsyncContextManager[None]:
        """Within it nothing that the node tells is heard."""

    async def stop(self, node_id: NodeId, fills: Sequence[Replica]) -> None:
        """Nobody calls it any more, but to tell it that these are not its work any longer: it keeps their bytes. As
        far as it can be told within two seconds. Idempotent."""

    async def cut(self, node_id: NodeId) -> None:
        """Its file server serves nothing more, if it can be told within a second; what is open ends, and nobody can
        call it any more. Idempotent."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RemovedNode:
    id: NodeId
    requeued: Sequence[JobNumber]


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeChange:
    """What an admin wants of a node; what is None or not in it stays."""

    draining: bool | None = None
    set_labels: Mapping[str, str] = field(default_factory=dict)
    unset_labels: Collection[str] = ()
    running: int | None = None
    min_disk_free: Bytes | None = None
    weight: float | None = None
    unset_limits: Collection[str] = ()

    def of(self, marks: NodeMarks) -> NodeMarks:
        """Raises InvalidArgument."""
        labels = {key: value for key, value in marks.set_labels.items() if key not in self.unset_labels}
        for key, value in self.set_labels.items():
            if not fits(key, value):
                raise InvalidArgument(f"the label {key[:63]!r} does not fit: {DO_NOT_FIT}", field="set_labels")
            labels[key] = value
        if len(labels) > MAX_LABELS:
            raise InvalidArgument(f"a node has at most {MAX_LABELS} labels", field="set_labels")
        limits = replace(marks.limits, **dict.fromkeys(_checked_limits(self.unset_limits), None))
        given = {"running": self.running, "min_disk_free": self.min_disk_free, "weight": self.weight}
        if self.weight is not None and not 0 < self.weight < MAX_WEIGHT:
            raise InvalidArgument(f"a weight is above 0 and below {MAX_WEIGHT:g}", field="weight")
        if any(value is not None and value < 0 for value in given.values()):
            raise InvalidArgument("a limit is not below 0", field="limits")
        limits = replace(limits, **{name: value for name, value in given.items() if value is not None})  # type: ignore[arg-type]
        draining = marks.draining if self.draining is None else self.draining
        return NodeMarks(draining=draining, set_labels=labels, limits=limits)


@dataclass(slots=True)
class Nodes:
    """`watch` knows how nodes are; `gone` is told of the replicas that went with a node."""

    store: Store
    clock: Clock
    port: NodePort
    watch: NodeWatch
    connections: Connections
    gone: Callable[[Sequence[Replica]], None]

    # nodes

    def _named(self, text: str) -> NodeSnapshot:
        """By id, else by name. Raises NotFound."""
        nodes = self.watch.board.nodes
        found = nodes.get(NodeId(text)) or next((node for node in nodes.values() if node.name == text), None)
        if found is None:
            raise NotFound(f"there is no node {text[:80]!r}", hint=choices(text, list(nodes), "nodes here"))
        return found

    async def change(self, who: Principal, text: str, change: NodeChange) -> NodeId:
        """Draining, labels and limits, at once. Raises NotFound, InvalidArgument."""
        require_admin(who)
        node = self._named(text)
        before, wanted = node.marks, change.of(node.marks)
        if wanted == before:
            return node.id
        if await self.watch.set(node.id, lambda now: now.marked(change.of(now.marks))) is None:
            raise NotFound(f"there is no node {text[:80]!r}")
        at = self.clock.now()
        facts = {"by": who.username, **_differences(before, wanted)}
        await self.store.write(lambda tx: tx.events.add(NodeChanged(at=at, node_id=node.id, data=facts)))
        log.info("node changed", extra={"action": "node_changed", "node": node.id, **facts})
        return node.id

    async def remove(self, who: Principal, text: str) -> RemovedNode:
        """A node is none any more: its credential is dead, its connections are cut, what it worked on or held goes back
        to the queue unless another node has it. Raises NotFound, and Conflict for the controller's own."""
        require_admin(who)
        node = self._named(text)
        if node.is_controller or node.id == self.watch.local:
            raise Conflict(
                f"{node.name} is the controller's own node and cannot be removed",
                hint="to empty it, remove its downloads and clean up its cache", node=node.id,
            )  # fmt: skip
        async with self.connections.silencing(node.id):
            await self.connections.stop(node.id, await self.store.read(lambda tx: _fills(tx, node.id)))
            await self.connections.cut(node.id)
            replicas, requeued = await self.store.write(lambda tx: self._remove(tx, node, who))
            # it may have come back before its credential was dead
            await self.connections.cut(node.id)
            self.watch.forget(node.id)
        self.gone(replicas)
        numbers = [job.number for job in requeued]
        log.info("node removed", extra={"action": "node_removed", "node": node.id, "jobs": len(numbers)})
        return RemovedNode(id=node.id, requeued=numbers)

    def _remove(self, tx: Transaction, node: NodeSnapshot, who: Principal) -> tuple[list[Replica], list[Job]]:
        at = self.clock.now()
        requeued: list[Job] = []
        replicas = forget_replicas(tx, node.id, at, requeued)
        tx.nodes.delete(node.id)
        tx.events.add(
            NodeRemoved(at=at, node_id=node.id, data={"by": who.username, "jobs": len(requeued)})
        )
        return replicas, requeued

    # join tokens

    async def create_token(
        self, who: Principal, *, ttl: Seconds | None = None, name: str = "", reusable: bool = False
    ) -> NewToken:
        """One that lets a worker in: one, unless `reusable`. Who joins with one that has a name gets that name. Raises
        InvalidArgument, and Unavailable when the port for workers cannot be opened."""
        require_admin(who)
        lasts = DAY if ttl is None else ttl
        if not 1 <= lasts <= LONGEST_SECONDS:
            raise InvalidArgument("a join token lives from a second to 365 days", field="ttl")
        if name and reusable:
            raise InvalidArgument("a name is for one node: a token with a name cannot be reusable", field="name")
        if name:
            checked_node_id(name)
        door = await self.port.open()
        made, now = new_token(door.fingerprint), self.clock.now()
        kept = KeptToken(
            id=made.id, key=token_key(made.secret), name=name or None, reusable=reusable, created_by=who.user_id,
            created_at=now, expires_at=now + timedelta(seconds=lasts),
        )  # fmt: skip

        def work(tx: Transaction) -> None:
            tx.join_tokens.insert(kept)
            tx.events.add(NodeTokenCreated(at=now, user_id=who.user_id, data=_facts(kept)))

        await self.store.write(work)
        return NewToken(kept=kept, word=made.word, command=command(door.address, made.word))

    async def list_tokens(self, who: Principal) -> Sequence[ListedToken]:
        """Oldest first."""
        require_admin(who)
        now = self.clock.now()

        def work(tx: Transaction) -> Sequence[ListedToken]:
            names = {user.id: user.username for user in tx.users.all()}
            return [
                ListedToken(token=token, state=token.state(now), created_by=names.get(token.created_by, ""))
                for token in tx.join_tokens.all()
            ]

        return await self.store.read(work)

    async def revoke_token(self, who: Principal, token_id: str) -> KeptToken:
        """Nobody joins with it any more; who did stays. Raises NotFound."""
        require_admin(who)
        now = self.clock.now()

        def work(tx: Transaction) -> KeptToken:
            token = tx.join_tokens.get(token_id)
            if token is None:
                raise NotFound(f"there is no join token {token_id[:80]!r}", hint="odctl nodes token ls lists them")
            tx.join_tokens.delete(token_id)
            tx.events.add(NodeTokenRevoked(at=now, user_id=who.user_id, data=_facts(token)))
            return token

        return await self.store.write(work)

    async def trim(self) -> None:
        """Forgets tokens that expired a while ago."""
        before = self.clock.now() - KEPT_AFTER
        await self.store.write(lambda tx: tx.join_tokens.trim(before))

    async def expects_workers(self) -> bool:
        """Whether the port has to be open: a token is good, or somebody joined."""
        now = self.clock.now()

        def work(tx: Transaction) -> bool:
            return any(token.state(now) is TokenState.GOOD for token in tx.join_tokens.all()) or any(
                tx.nodes.credential(node.id) is not None for node in tx.nodes.all()
            )

        return await self.store.read(work)


def _fills(tx: Transaction, node_id: NodeId) -> list[Replica]:
    """What the node may be downloading."""
    return [
        found for found in tx.cache.all_replicas() if found.node_id == node_id and found.state in AT_WORK
    ]  # fmt: skip


def _checked_limits(names: Collection[str]) -> Collection[str]:
    for name in names:
        if name not in LIMITS:
            raise InvalidArgument(f"{name[:80]!r} is no limit of a node: {', '.join(LIMITS)}", field="unset_limits")
    return names


def _differences(before: NodeMarks, after: NodeMarks) -> Mapping[str, object]:
    found: dict[str, object] = {}
    if before.draining != after.draining:
        found["draining"] = after.draining
    if before.set_labels != after.set_labels:
        found["labels"] = dict(after.set_labels)
    if before.limits != after.limits:
        found["limits"] = {name: getattr(after.limits, name) for name in LIMITS}
    return found


def command(address: str, word: str) -> str:
    """What to paste on the worker. The token goes in the environment, which other users of the machine cannot read."""
    return f"CONTROLLER_URL={shlex.quote(address)} CONTROLLER_TOKEN={word} oddaemon worker"


def _facts(token: KeptToken) -> dict[str, str | bool | None]:
    return {
        "id": token.id, "name": token.name, "reusable": token.reusable, "expires_at": _iso(token.expires_at)
    }  # fmt: skip


def _iso(moment: datetime) -> str:
    return moment.isoformat(timespec="seconds")
