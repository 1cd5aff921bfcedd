"""A controller and a worker, each with a file server of its own, in the test's process: a job's files lie on the
worker. Between them is a line that can be cut."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from uuid import uuid4

from oddaemon import __version__
from oddaemon.app.compose_files import Relaying
from oddaemon.app.system_clock import SystemClock
from oddaemon.domain.cache import EntryFile
from oddaemon.domain.job import JobState
from oddaemon.domain.link import LinkKind
from oddaemon.domain.types import Bytes, LinkId, ReplicaId, Seconds
from oddaemon.fileserver.processes import FileServer, FileServerOptions
from oddaemon.fileserver.relay import Relay
from oddaemon.ports.node_files import FilesThere
from oddaemon.ports.node_registry import Announcement, Heartbeat
from oddaemon.ports.node_transport import Told
from oddaemon.ports.store import Transaction
from oddaemon.services.announcing import Changes, announcement
from oddaemon.services.links import Revoked
from oddaemon.services.node_agent import NodeAgent
from oddaemon.services.relayed import RelayedLinks
from oddaemon.services.remote_files import RemoteFiles
from oddaemon.services.views import JobView, LinkView
from oddaemon.services.worker_files import WorkerFiles
from oddaemon.storage.local import LocalStorage
from oddaemon.transports.grpc.worker import Worker
from tests.support.core import HERE, House, house, stored_in
from tests.support.http import fetch
from tests.support.links import Linking, linking
from tests.support.nodes import WORKER, Controller, beat_of, controller
from tests.support.tcp_relay import TcpRelay, tcp_relay
from tests.support.wait import until

CONTENT = bytes(range(256)) * 4096 * 16
"""16 MiB: more than all buffers on the way hold."""
SMALL = b"small" * 1000


@dataclass(slots=True)
class Attic:
    """The worker."""

    storage: LocalStorage
    agent: NodeAgent
    server: FileServer
    files: WorkerFiles
    url: str


@dataclass(slots=True)
class Estate:
    house: House
    linked: Linking
    remote: RemoteFiles
    relay: Relay
    server: FileServer
    """The controller's."""
    url: str
    controller: Controller
    line: TcpRelay
    attic: Attic
    gone: list[ReplicaId] = field(default_factory=list)
    worker: asyncio.Task[None] | None = None
    job: JobView | None = None

    async def link(self, path: str = "big.bin", **wish: object) -> LinkView:
        assert self.job is not None
        number = str(self.job.job.number)
        if wish.get("kind", LinkKind.FILE) is LinkKind.FILE:
            wish["files"] = [path]
        [made] = await self.linked.service.create(self.house.admin, number, **wish)  # type: ignore[arg-type]
        return made

    async def revoke(self, link: LinkView) -> Revoked:
        return await self.linked.service.revoke(self.house.admin, [str(link.link.id)])

    async def used(self, link: LinkView) -> tuple[int, int]:
        """Accesses and bytes, as they are stored."""
        found = await self.house.store.read(lambda tx: tx.links.get(link.link.id))
        assert found is not None
        return found.access_count, found.bytes_served

    async def connected(self) -> None:
        await self.controller.connected()
        await until(lambda: self.attic.files.controller is not None, what="the worker to follow")
        # a token that is none is refused by a server that has its keys
        await until(self._is_told, what="the worker to have been told everything")

    async def _is_told(self) -> bool:
        return (await fetch(f"{self.attic.url}/d/x")).status == 403

    def online(self) -> None:
        """The worker keeps itself connected from now on."""
        identity = self.controller.identity()
        agent = self.attic.agent

        async def announce() -> Announcement:
            return await announcement(agent, instance="1", software=__version__)

        async def beat() -> Heartbeat:
            return await beat_of(agent)

        told = Told(
            node=agent, announce=announce, beat=beat, changes=Changes(agent), news=asyncio.Event(),
            clock=SystemClock(), files=self.attic.files,
        )  # fmt: skip
        keeper = Worker(self.controller.address(port=self.line.port), identity, told)
        self.worker = asyncio.create_task(keeper.run(), name="worker")

    async def offline(self) -> None:
        """The worker is away, as if its network were unplugged: nothing passes, no new connection comes about."""
        assert self.worker is not None
        self.worker.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self.worker
        self.line.cut()
        client = self.controller.listener.client(WORKER)
        await until(lambda: not client.line.connected, every=0.01)
        await until(lambda: self.remote.of(WORKER).follower is None, every=0.01)


@contextlib.asynccontextmanager
async def estate(
    folder: Path, *, own_endpoint: bool = False, near: bool = False, unheard: float = 600.0
) -> AsyncIterator[Estate]:
    """`own_endpoint`: links lead to the worker itself. `near`: the controller knows that it is on this machine."""
    async with house(folder / "controller") as built, controller() as control:
        attic = await _attic(folder / "attic", own_endpoint, near, unheard)
        try:
            async with tcp_relay(control.port) as line, _served(built, control, line, attic) as made:
                made.job = await _stored(built, attic.storage)
                made.online()
                try:
                    await made.connected()
                    yield made
                finally:
                    if made.worker is not None:
                        made.worker.cancel()
                        await asyncio.wait([made.worker])
        finally:
            await attic.server.stop()


async def _attic(folder: Path, own_endpoint: bool, near: bool, unheard: float) -> Attic:
    storage = LocalStorage(folder)
    storage.prepare(known=False)
    agent = NodeAgent(id=WORKER, display_name="attic", engines={}, storage=storage)
    files = WorkerFiles(clock=SystemClock(), there=FilesThere(instance="1"))
    server = FileServer(
        host="127.0.0.1", port=0, storage=stored_in(folder), keys=(), look_up=files.look_up, on_usage=files.on_usage,
        on_use=files.on_use, on_gone=files.on_gone, read_revoked=_nothing, processes=1,
        options=FileServerOptions(leased=True, takes_tickets=True, stale_seconds=unheard),
    )  # fmt: skip
    host, port = await server.start()
    url = f"http://{host}:{port}"
    agent.file_endpoint = url if own_endpoint else None
    there = FilesThere(
        instance="1", endpoint=agent.file_endpoint, near=f"{host}:{port}" if near else None, unheard=Seconds(unheard)
    )
    files.serve(server, there)
    return Attic(storage, agent, server, files, url)


async def _nothing() -> Mapping[LinkId, datetime]:
    return {}


@contextlib.asynccontextmanager
async def _served(built: House, control: Controller, line: TcpRelay, attic: Attic) -> AsyncIterator[Estate]:
    linked = linking(built.store)
    servers, serving = linked.servers, linked.serving
    relayed = RelayedLinks(built.store, serving, HERE, control.listener.client)
    gone: list[ReplicaId] = []

    async def suspect(replica_id: ReplicaId) -> None:
        gone.append(replica_id)

    remote = RemoteFiles(
        store=built.store, servers=servers, local=HERE, content=serving.content, use=serving.use,
        record=serving.record_usage, gone=suspect,
    )  # fmt: skip
    control.listener.desk = remote
    built.core.downloads.revoke = servers.push_revocations
    relay = Relay()
    server = FileServer(
        host="127.0.0.1", port=0, storage=stored_in(built.storage.base), keys=[await servers.node_key(HERE)],
        look_up=relayed.content, on_usage=serving.record_usage, read_revoked=servers.revoked, on_use=serving.use,
        on_gone=suspect, on_open=Relaying(relayed, remote, relay).open,
    )  # fmt: skip
    host, port = await server.start()
    servers.serve_on(HERE, f"http://{host}:{port}", server)
    try:
        yield Estate(built, linked, remote, relay, server, f"http://{host}:{port}", control, line, attic, gone)
    finally:
        await server.stop()


async def _stored(built: House, storage: LocalStorage) -> JobView:
    """A finished job with its files on the worker."""
    view = await built.add(f"http://origin.example/{uuid4()}")
    job = await built.until_state(view, JobState.COMPLETED)
    assert job.entry_id is not None
    entry_id = job.entry_id
    [replica] = [one for one in await built.replicas() if one.entry_id == entry_id]
    known = []
    for index, (path, content) in enumerate({"big.bin": CONTENT, "sub/small.txt": SMALL}.items(), 1):
        target = storage.allocate(replica.id) / f"{index}.bin"
        await asyncio.to_thread(target.write_bytes, content)
        known.append(
            EntryFile(
                index=index, path=path, disk_path=f"{index}.bin", size=Bytes(len(content)), ready=True,
                content_type="application/octet-stream",
            )
        )  # fmt: skip
    await asyncio.to_thread(shutil.rmtree, built.storage.base / str(replica.id))

    def move(tx: Transaction) -> None:
        tx.cache.put_files(entry_id, known)
        tx.cache.update_replica(replace(replica, node_id=WORKER))

    await built.store.write(move)
    return view
