"""How a controller and its workers reach each other: what a transport plug-in builds, with a half for each side.

Connections are opened by workers alone. Each side proves who it is before the other believes or serves anything.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from oddaemon.domain.node_proof import JoinToken
from oddaemon.domain.torrent import TorrentInfo
from oddaemon.domain.types import EngineName, NodeId
from oddaemon.ports.clock import Clock
from oddaemon.ports.engine import FillStatus
from oddaemon.ports.node_client import NodeClient
from oddaemon.ports.node_files import FileDesk, FilesAtController
from oddaemon.ports.node_registry import Announcement, Heartbeat, Joined, NodeRegistry


@dataclass(frozen=True, slots=True, kw_only=True)
class ControllerAddress:
    host: str
    port: int
    fingerprint: str
    """SHA-256 of its certificate, in hex."""

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """Who a node is. The credential is told to nobody."""

    node_id: NodeId
    credential: bytes = field(repr=False)
    instance: str
    """Of this run of the program."""


class FollowsFiles(Protocol):
    """This node's file server, see services.worker_files."""

    async def follow(self, controller: FilesAtController) -> None:
        """For as long as there is a connection: then it is cancelled."""

    async def refused(self) -> None:
        """The controller does not know this node."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """What a link says of its node, and serves of it. `announce` and `beat` are asked anew each time."""

    node: NodeClient
    announce: Callable[[], Awaitable[Announcement]]
    beat: Callable[[], Awaitable[Heartbeat]]
    changes: Callable[[], Awaitable[Sequence[FillStatus]]]
    """What is to be reported when `news` is set."""
    news: asyncio.Event
    clock: Clock
    files: FollowsFiles | None = None
    removed: Callable[[], Awaitable[object]] | None = None
    """Called, each time it hears so, when the controller does not know this node (any more)."""


@dataclass(frozen=True, slots=True)
class Judges:
    """A controller's own engines, by name: they know more of their options than the list that a node announces says.
    `torrents` are asked with the version of the node's engine."""

    options: Mapping[EngineName, Callable[[Mapping[str, str]], Mapping[str, str]]] = field(default_factory=dict)
    torrents: Mapping[EngineName, Callable[[TorrentInfo, str], str | None]] = field(default_factory=dict)


class NodeLink(Protocol):
    """A worker's connection to its controller, made again whenever it is lost."""

    @property
    def problem(self) -> str:
        """Why it is not connected; empty while it is."""

    @property
    def hint(self) -> str:
        """What to do about it."""

    @property
    def online(self) -> asyncio.Event:
        """Set while the controller knows this node."""

    async def run(self) -> None:
        """Until it is cancelled. A controller that cannot be reached is tried for ever, one that refuses this node
        seldom."""


def ignored(node_id: NodeId, connected: bool) -> None:
    """Nobody wants to know."""


class NodeDoor(Protocol):
    """The controller's end: accepts workers and holds the newest connection of each. Its context ends them all."""

    context: ssl.SSLContext | None
    """What it shows who comes, see NodeTransport.context. Set it before `serve`."""

    async def __aenter__(self) -> NodeDoor: ...

    async def __aexit__(self, *exc_info: object) -> None: ...

    async def serve(self, listening: socket.socket) -> None:
        """Begins to accept. `listening` is bound and listens already; a duplicate of it is used."""

    def client(self, node_id: NodeId) -> NodeClient:
        """For good: its calls go over whatever connection the node has at the time, and raise NodeUnavailable at once
        without one."""

    def forget(self, node_id: NodeId) -> None:
        """The node was removed: its connections are cut, what it said is forgotten."""

    async def end(self) -> None:
        """Accepts nothing more; calls in flight end with NodeUnavailable. Idempotent."""


class NodeTransport(Protocol):
    """What a plug-in of `opendebrid.transports` builds."""

    async def join(self, address: ControllerAddress, token: JoinToken, node_id: NodeId) -> Joined:
        """A credential for a token. Raises Unauthenticated (the token is not good, or the controller is not the one
        of that fingerprint), AlreadyExists (a node of that id is there), NotAllowed (the token is for another name),
        Unsupported (versions that do not fit), Unavailable for what may pass."""

    def link(
        self, address: ControllerAddress, identity: Identity, told: Told,
        another: Callable[[], Awaitable[Identity | None]],
    ) -> NodeLink:  # fmt: skip
        """The worker's half. `another`: who else to be when the controller does not know that identity any more."""

    def door(
        self, registry: NodeRegistry, *, judges: Judges, desk: FileDesk | None = None,
        changed: Callable[[NodeId, bool], None] = ignored,
    ) -> NodeDoor:  # fmt: skip
        """The controller's half. `desk`: for the nodes' file servers. `changed` is told when a node's connection came
        or went."""

    def context(self, cert: str, key: str) -> ssl.SSLContext:
        """What the controller's half shows. Reads both PEM files: blocks. Raises OSError, ssl.SSLError."""

    def fingerprint(self, cert: str) -> str:
        """By which workers know it: SHA-256 of the first certificate in a PEM file, in hex. Blocks. Raises OSError,
        ValueError."""
