"""Builds a worker: the node, its file server, its half of the transport, and a status for `odctl status`. No
store, no REST."""

from __future__ import annotations

import asyncio
import json
import logging
import os
from collections.abc import Collection, Coroutine, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import uuid4

from oddaemon import __version__
from oddaemon.api.control.server import ControlServer
from oddaemon.api.control.worker import WorkerParts, worker_server
from oddaemon.app.compose_node import (
    Node,
    Sentinels,
    build_node,
    build_transport,
    make_state_dirs,
    prepare_storage,
    start_engines,
)
from oddaemon.app.compose_worker_files import serve_worker_files
from oddaemon.app.exit_codes import ExitCode, StartFailed
from oddaemon.app.joining import Joining, prepare_joining
from oddaemon.app.kept import keep, kept
from oddaemon.app.lifecycle import Start
from oddaemon.app.loaded import Loaded, differences
from oddaemon.app.logs import Logs
from oddaemon.app.membership import Membership
from oddaemon.app.paths import Paths
from oddaemon.app.plugins import load_plugins
from oddaemon.app.system_clock import SystemClock
from oddaemon.domain.join_token import PastedToken
from oddaemon.domain.node_proof import JoinToken
from oddaemon.domain.types import Fraction, NodeId
from oddaemon.ports.clock import Clock
from oddaemon.ports.node_registry import Announcement, Heartbeat, Joined
from oddaemon.ports.node_transport import ControllerAddress, FollowsFiles, Identity, NodeLink, NodeTransport, Told
from oddaemon.services.announcing import Changes, announcement, heartbeat
from oddaemon.services.worker_status import WorkerStatus

log = logging.getLogger(__name__)

SENTINELS = "sentinels.json"


@dataclass(slots=True)
class Link:
    """Joins if that has not been done, and then stays connected."""

    joining: Joining
    transport: NodeTransport
    node: Node
    clock: Clock
    instance: str
    files: FollowsFiles
    name: str = ""
    """That people see; empty: its id."""
    news: asyncio.Event = field(default_factory=asyncio.Event)
    made: NodeLink | None = None

    @property
    def online(self) -> bool:
        return self.made is not None and self.made.online.is_set()

    @property
    def problem(self) -> tuple[str, str]:
        """Why it is not connected, and what to do."""
        found = self.joining if self.made is None else self.made
        return found.problem, found.hint

    async def run(self) -> None:
        member = await self.joining.until_joined(self.clock)
        agent = self.node.agent
        told = Told(
            node=agent, announce=self._announce, beat=self._beat, changes=Changes(agent), news=self.news,
            clock=self.clock, files=self.files, removed=self.removed,
        )  # fmt: skip
        self.made = self.transport.link(self.joining.address, self._as(member), told, self._again)
        await self.made.run()

    def _as(self, member: Membership) -> Identity:
        # the controller may have named it otherwise than it wished
        self.node.agent.id, self.node.agent.display_name = member.node_id, self.name or member.node_id
        return Identity(node_id=member.node_id, credential=member.credential, instance=self.instance)

    async def _again(self) -> Identity | None:
        member = await self.joining.again()
        return None if member is None else self._as(member)

    async def removed(self) -> None:
        """What it worked on is fetched elsewhere, and must not be fetched twice. The bytes stay: only people delete
        them."""
        stopped = await self.node.agent.stop_all()
        if stopped:
            log.warning(
                "removed from the controller: downloads stopped, their files stay",
                extra={"action": "downloads_stopped", "count": stopped},
            )

    async def _announce(self) -> Announcement:
        return await announcement(self.node.agent, instance=self.instance, software=__version__)

    async def _beat(self) -> Heartbeat:
        return await heartbeat(self.node.agent, load=load_per_core())


@dataclass(frozen=True, slots=True, kw_only=True)
class Worker:
    server: ControlServer
    node: Node
    link: Link
    files_url: str
    reload: Reload

    @property
    def places(self) -> Mapping[str, str]:
        joining = self.link.joining
        found = {"node": joining.node_id, "controller": str(joining.address), "files": self.files_url}
        if joining.member is None:
            found["joined"] = f"not yet, and tries go on: {joining.problem}" + f" ({joining.hint})" * bool(joining.hint)
        return found

    def background(self) -> Sequence[tuple[str, Coroutine[Any, Any, None]]]:
        return [("link", self.link.run())]

    async def drain(self, deadline: float) -> None:
        await self.server.drain(deadline)

    def well(self) -> bool:
        return True

    def summary(self) -> str:
        if self.link.online:
            return f"connected to {self.link.joining.address}"
        return self.link.problem[0] or f"connecting to {self.link.joining.address}"


@dataclass(slots=True)
class Reload:
    """Of what is live, a worker uses the log's level."""

    started: Loaded
    logs: Logs
    _last: Loaded | None = None

    def __call__(self) -> tuple[Collection[str], Collection[str]]:
        new = self.started.again()
        changed, _ = differences(self._last or self.started, new)
        _, needs_restart = differences(self.started, new)
        self._last = new
        self.logs.set_level(new.settings.logging.level)
        return sorted(changed), sorted(needs_restart)


async def compose_worker(start: Start, stack: AsyncExitStack) -> Worker:
    """See lifecycle.Compose. A controller that cannot be reached is no reason not to start; one that refuses a worker
    which never joined is."""
    loaded, paths, clock = start.loaded, start.paths, SystemClock()
    _check_data_dir(paths)
    plugins = await asyncio.to_thread(load_plugins, loaded.plugins, loaded.broken)
    await asyncio.to_thread(make_state_dirs, paths, plugins)
    node = build_node(loaded, paths, plugins, clock, stack)
    transport = build_transport(loaded, paths, plugins, node.supervisor, clock)

    async def join(address: ControllerAddress, token: PastedToken, node_id: NodeId) -> Joined:
        return await transport.join(address, JoinToken(token.id, token.secret), node_id)

    joining = await asyncio.to_thread(prepare_joining, loaded.settings, paths.data_dir, join)
    await joining.first()
    node.agent.id = joining.node_id
    node.agent.display_name = loaded.settings.node.name or joining.node_id
    await prepare_storage(node, SentinelsInFile(paths.data_dir / SENTINELS), paths)
    instance = uuid4().hex
    files = await serve_worker_files(loaded.settings, node, clock, instance, stack)
    await start_engines(node, stack)
    link = Link(joining, transport, node, clock, instance, files.files, loaded.settings.node.name)
    node.bell.heard = link.news.set
    status = WorkerStatus(
        agent=node.agent, clock=clock, version=__version__, started_at=clock.now(), online=lambda: link.online,
        problem=lambda: link.problem,
    )  # fmt: skip
    reload = Reload(loaded, start.logs)
    parts = WorkerParts(
        status=status, clock=clock, version=__version__, node_id=lambda: joining.node_id, epoch=uuid4().hex,
        download_dir=str(paths.download_dir), reload=reload, shutdown=start.stop,
    )  # fmt: skip
    server = worker_server(parts, str(joining.address))
    await server.serve(start.listening.socket)
    return Worker(server=server, node=node, link=link, files_url=files.url, reload=reload)


def _check_data_dir(paths: Paths) -> None:
    """What is a controller's has that one's engines' state and downloads: they would not be known any more."""
    if paths.database_file.exists():
        raise StartFailed(
            f"{paths.data_dir} is a controller's data directory: {paths.database_file.name} is in it",
            code=ExitCode.CONFIG,
            hint="give the worker one of its own with paths.data_dir (OD_PATHS_DATA_DIR)",
        )


@dataclass(frozen=True, slots=True)
class SentinelsInFile(Sentinels):
    """A file that cannot be read knows of every folder: a new sentinel is the one thing that must not be made by
    mistake."""

    path: Path

    async def known(self, base: str) -> bool:
        found = await asyncio.to_thread(self._bases)
        return found is None or base in found

    async def remember(self, base: str) -> None:
        found = await asyncio.to_thread(self._bases)
        await asyncio.to_thread(keep, self.path, json.dumps([*(found or ()), base], indent=1).encode() + b"\n")

    def _bases(self) -> list[str] | None:
        data = kept(self.path)
        try:
            found = [] if data is None else json.loads(data)
        except ValueError:
            return None
        return [item for item in found if isinstance(item, str)] if isinstance(found, list) else None


def load_per_core() -> Fraction:
    """Of the last minute."""
    return Fraction(os.getloadavg()[0] / (len(os.sched_getaffinity(0)) or 1))
