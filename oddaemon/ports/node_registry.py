"""What nodes tell a controller of themselves: how a transport hands it on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from oddaemon.domain.node import DiskUsage, EngineHealth
from oddaemon.domain.types import BytesPerSecond, EngineName, Fraction, NodeId, ReplicaId, Seconds
from oddaemon.ports.engine import FillStatus, OptionSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class AnnouncedEngine:
    """An engine of a node and all that it can do, so that options can be judged without asking."""

    health: EngineHealth
    mime_types: tuple[str, ...] = ()
    options: tuple[OptionSpec, ...] = ()
    problem: str = ""
    """Why one that is configured could not be built."""

    @property
    def name(self) -> EngineName:
        return self.health.name


@dataclass(frozen=True, slots=True, kw_only=True)
class Announcement:
    """What a node really has. Said after every connect, and again when it changes."""

    instance: str
    """Of the node's process: another one after every start."""
    name: str
    software: str
    """Its version."""
    disk: DiskUsage
    engines: tuple[AnnouncedEngine, ...]
    replicas: tuple[ReplicaId, ...]
    """That have a directory on its disk; whether the node may have them is the controller's to judge."""
    file_endpoint: str | None = None
    labels: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Heartbeat:
    """How a node is, every few seconds."""

    disk: DiskUsage
    engines: tuple[EngineHealth, ...]
    rate_down: BytesPerSecond = BytesPerSecond(0)
    rate_up: BytesPerSecond = BytesPerSecond(0)
    running: int = 0
    """Replicas that are being filled."""
    load: Fraction | None = None
    """Of the last minute, as a share of the cores; may be over 1."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Joined:
    node_id: NodeId
    credential: bytes = field(repr=False)


class NodeRegistry(Protocol):
    """The controller's side. Who calls is proven before; what they say is not: a node may lie about all of it."""

    async def credential_of(self, node_id: NodeId) -> bytes | None:
        """What the node has to know; None for one that does not exist or was removed."""

    async def token_key(self, token_id: str) -> bytes | None:
        """What who joins with that token has to know (domain.node_proof.token_key); None for a token that does not
        exist, is used up, expired or revoked."""

    async def join(self, token_id: str, node_id: NodeId) -> Joined:
        """A credential for a node that has shown that it knows the token; uses the token up if it is for one node.
        Raises Unauthenticated for one that is not good any more, AlreadyExists for a node of that name that is
        there."""

    async def register(self, node_id: NodeId, told: Announcement) -> Seconds:
        """Takes the node for online, with what it has. In how many seconds it is expected to beat."""

    async def heartbeat(self, node_id: NodeId, told: Heartbeat) -> bool:
        """False: it has to register (again) first."""

    async def report(self, node_id: NodeId, statuses: Sequence[FillStatus]) -> None:
        """Statuses that changed: hints, that may name replicas which are not the node's. Those are passed over."""
