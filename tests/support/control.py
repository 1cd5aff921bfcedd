"""The control API over the services of `tests.support.core`, on a Unix socket, in the test's own process."""

from __future__ import annotations

import contextlib
import os
import socket
import tempfile
from collections.abc import AsyncIterator, Collection, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from unittest.mock import patch

from grpclib.client import Channel
from odproto.gen.opendebrid.control import v1 as pb

from oddaemon import __version__
from oddaemon.api.auth import Peer
from oddaemon.api.control.accounts import AccountService
from oddaemon.api.control.admin import AdminService
from oddaemon.api.control.calls import Gate
from oddaemon.api.control.parts import ControlParts, Finding
from oddaemon.api.control.server import ControlServer
from oddaemon.api.control.service import ControlService
from oddaemon.app.load_settings import load
from oddaemon.app.log_ring import LogRing
from oddaemon.app.setting_specs import check_together, fixed_settings, setting_specs
from oddaemon.app.system_clock import SystemClock
from oddaemon.domain.cache import Replica
from oddaemon.domain.events import Event
from oddaemon.domain.types import Bytes, NodeId, ReplicaId, Seconds
from oddaemon.eventbus.in_process import InProcessEventBus
from oddaemon.services.cache import CacheService
from oddaemon.services.nodes import Doorway, Nodes
from oddaemon.services.quotas import Quotas
from oddaemon.services.runtime_settings import RuntimeSettings
from oddaemon.services.status import StatusService
from tests.support import core
from tests.support.accounts import built_accounts
from tests.support.core import HERE, SIMULATED, House
from tests.support.links import linking

KEPT = Seconds(3600)
"""For how long events are said to be kept."""


class NoConnections:
    """Meets services.nodes.Connections: nobody is connected."""

    @contextlib.asynccontextmanager
    async def silencing(self, node_id: NodeId) -> AsyncIterator[None]:
        yield

    async def stop(self, node_id: NodeId, fills: Sequence[Replica]) -> None:
        pass

    async def cut(self, node_id: NodeId) -> None:
        pass


def quiet_nodes(home: House) -> Nodes:
    """The nodes of a house to which no worker comes."""
    return Nodes(
        store=home.store, clock=home.core.hits.clock, port=FakePort(), watch=home.core.reconciler.watch,
        connections=NoConnections(), gone=home.core.reconciler.lost,
    )  # fmt: skip


class FakePort:
    """Meets services.nodes.NodePort."""

    async def open(self) -> Doorway:
        return Doorway("home.example.org:9090", "ab" * 32)


@dataclass(slots=True)
class LoudHouse(House):
    """Its events go to a bus that delivers."""

    bus: InProcessEventBus = field(default_factory=InProcessEventBus)

    def _published(self, events: Sequence[Event]) -> None:
        self.events += events
        self.bus.publish(events)


@dataclass(slots=True)
class Desk:
    """A control socket and what stands behind it."""

    home: LoudHouse
    path: Path
    gate: Gate
    server: ControlServer
    log_book: LogRing
    parts: ControlParts

    @contextlib.asynccontextmanager
    async def client(self) -> AsyncIterator[pb.ControlServiceStub]:
        async with self.channel() as channel:
            yield pb.ControlServiceStub(channel)

    @contextlib.asynccontextmanager
    async def channel(self) -> AsyncIterator[Channel]:
        channel = Channel(path=str(self.path))
        try:
            yield channel
        finally:
            channel.close()


@contextlib.asynccontextmanager
async def desk(folder: Path, *, own_uid: int | None = None, uid: int | None = None) -> AsyncIterator[Desk]:
    """`own_uid`: whom the daemon takes itself for. `uid`: whom it takes every caller for."""
    bus = InProcessEventBus()
    home = LoudHouse(folder, bus=bus)
    with patch.object(core, "RecordingBus", lambda: bus):
        await home.start()
    try:
        with tempfile.TemporaryDirectory(prefix="od-") as runtime:
            path = Path(runtime) / "control.sock"
            with _listener(path) as listening:
                built = await _built(home, path, own_uid, uid)
                await built.server.serve(listening)
                try:
                    yield built
                finally:
                    await built.server.drain(2)
                    built.parts.accounts.passwords.close()
    finally:
        await home.crash()


@contextlib.contextmanager
def _listener(path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listening:
        listening.bind(str(path))
        listening.listen(128)
        listening.setblocking(False)
        yield listening


async def _built(home: LoudHouse, path: Path, own_uid: int | None, uid: int | None) -> Desk:
    clock, store, log_book, inner = SystemClock(), home.store, LogRing(), home.core
    accounts = built_accounts(
        store, clock, own_uid=os.geteuid() if own_uid is None else own_uid, wake=inner.reconciler.wake
    )
    gate = Gate(accounts) if uid is None else Gate(accounts, peer_of=lambda stream: Peer(uid=uid, pid=1))
    specs = {SIMULATED: home.agent.engines[SIMULATED].capabilities.options}
    loaded = load(environ={})
    settings = RuntimeSettings(store, clock, setting_specs(loaded), fixed_settings(loaded), check=check_together)
    await settings.load()

    async def measure(replicas: Sequence[ReplicaId]) -> dict[ReplicaId, Bytes]:
        return {found: home.storage.size_of(found) for found in replicas}

    async def diagnose() -> Sequence[Finding]:
        return []

    def nothing_in_use() -> Collection[ReplicaId]:
        return ()

    parts = ControlParts(
        accounts=accounts, quotas=Quotas(store=store, clock=clock, limits=lambda: home.limits),
        downloads=inner.downloads, jobs=inner.jobs, job_files=inner.job_files, reports=inner.reports,
        prober=inner.prober, batches=inner.batches,
        links=linking(store).service,
        cache=CacheService(
            store=store, clock=clock, nodes=lambda: [home.agent], wake=inner.reconciler.wake,
            settle=inner.reconciler.deleter.settled, in_use=nothing_in_use, measure=measure,
        ),
        settings=settings,
        status=StatusService(
            store=store, clock=clock, board=inner.board, reconciler=inner.reconciler, node=lambda _: home.agent,
            limits=lambda: home.limits, option_specs=lambda: specs, version=__version__, started_at=clock.now(),
        ),
        nodes=quiet_nodes(home),
        views=inner.views, store=store, bus=home.bus, clock=clock, log_book=log_book,
        reload=lambda: ([], []), events_kept=lambda: KEPT, shutdown=lambda: None, diagnose=diagnose,
        version=__version__,
        node_id=HERE,
        epoch="epoch", store_kind="sqlite", download_dir=str(home.storage.base), files_url="http://127.0.0.1:1",
        http_url="http://127.0.0.1:2",
    )  # fmt: skip
    server = ControlServer([ControlService(parts, gate), AccountService(parts), AdminService(parts)], gate)
    return Desk(home=home, path=path, gate=gate, server=server, log_book=log_book, parts=parts)
