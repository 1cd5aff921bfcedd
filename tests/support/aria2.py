"""A real aria2 engine for tests: own supervisor, own directories, and a swarm that stays on this machine."""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator, Callable, Mapping, Set
from dataclasses import replace
from pathlib import Path
from uuid import uuid4

from oddaemon.app.system_clock import SystemClock
from oddaemon.domain.source import Source, parse_source, source_of_torrent
from oddaemon.domain.torrent import parse_torrent
from oddaemon.domain.types import BytesPerSecond, ReplicaId
from oddaemon.engines.aria2 import PLUGIN
from oddaemon.engines.aria2.engine import Aria2Engine
from oddaemon.engines.aria2.settings import Aria2Settings
from oddaemon.ports.engine import FillRequest, FillState, FillStatus
from oddaemon.ports.plugin import Parts
from oddaemon.supervision.supervisor import ProcessSupervisor
from tests.support.torrents import Torrent
from tests.support.wait import until

QUIET = Aria2Settings(dht=False, lpd=False, pex=False, listen_ports="30000-39999")
ENDED = frozenset({FillState.COMPLETE, FillState.FAILED})


async def takes_hybrids() -> bool:
    """Whether this machine's aria2 downloads hybrid torrents (from version 1.37)."""
    asked = await asyncio.create_subprocess_exec("aria2c", "--version", stdout=asyncio.subprocess.PIPE)
    said, _ = await asyncio.wait_for(asked.communicate(), 60)
    found = re.search(rb"version (\d+)\.(\d+)", said)
    assert found, said
    return (int(found[1]), int(found[2])) >= (1, 37)


def build(
    state_dir: Path, settings: Aria2Settings = QUIET, news: Callable[[], None] = lambda: None
) -> Aria2Engine:
    """Not started; with a supervisor of its own."""
    state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    clock = SystemClock()
    parts = Parts(
        supervisor=ProcessSupervisor(clock), clock=clock, state_dir=state_dir, download_dir=state_dir.parent, news=news
    )  # fmt: skip
    return PLUGIN.build(settings, parts)


class Bench:
    """A started engine and what tests ask of it."""

    def __init__(self, base: Path, settings: Aria2Settings) -> None:
        self.base = base
        self.state_dir = base / "state"
        self._settings = settings
        self.news = 0
        """How often the engine had some."""
        self.engine = build(self.state_dir, settings, self._count)

    def _count(self) -> None:
        self.news += 1

    @property
    def pid(self) -> int:
        """Of the aria2c child."""
        daemon = self.engine._downloads.daemon
        assert daemon is not None
        assert daemon.pid is not None
        return daemon.pid

    async def restart(self) -> None:
        await self.engine.stop()
        self.engine = build(self.state_dir, self._settings, self._count)
        await self.engine.start()

    def request(
        self,
        source: str | Source | Torrent,
        *,
        options: Mapping[str, str] | None = None,
        torrent: bytes | None = None,
        selection: Set[int] | None = None,
        down: int | None = None,
        may_be_page: bool = True,
    ) -> FillRequest:
        if isinstance(source, Torrent):
            torrent = source.data
            source = source_of_torrent(parse_torrent(source.data))
        elif isinstance(source, str):
            source = parse_source(source)
        replica = ReplicaId(uuid4())
        directory = self.base / "downloads" / str(replica)
        directory.mkdir(parents=True)
        return FillRequest(
            replica_id=replica,
            directory=directory,
            source=source,
            options=options or {},
            torrent=torrent,
            selection=selection,
            may_be_page=may_be_page,
            max_rate_down=None if down is None else BytesPerSecond(down),
        )

    async def status(self, request: FillRequest) -> FillStatus:
        return (await self.engine.statuses())[request.replica_id]

    async def ended(self, request: FillRequest, *, timeout: float = 60) -> FillStatus:
        """The status with which it is complete or has failed."""

        async def look() -> FillStatus | None:
            status = (await self.engine.statuses()).get(request.replica_id)
            return status if status is not None and status.state in ENDED else None

        return await until(look, timeout=timeout, what="the download to end")

    async def bytes_came(self, request: FillRequest, least: int, *, timeout: float = 60) -> FillStatus:
        async def look() -> FillStatus | None:
            status = (await self.engine.statuses()).get(request.replica_id)
            assert status is None or status.state is not FillState.FAILED, status
            return status if status is not None and status.done >= least else None

        return await until(look, timeout=timeout, what=f"{least} bytes")

    async def fetch(self, request: FillRequest, *, timeout: float = 60) -> FillStatus:
        await self.engine.add(request)
        return await self.ended(request, timeout=timeout)

    async def body(self, request: FillRequest, index: int = 1) -> bytes:
        files = {file.index: file for file in await self.engine.list_files(request.replica_id)}
        return (request.directory / files[index].disk_path).read_bytes()


@contextlib.asynccontextmanager
async def aria2(base: Path, **settings: object) -> AsyncIterator[Bench]:
    bench = Bench(base, replace(QUIET, **settings))  # type: ignore[arg-type]
    await bench.engine.start()
    try:
        yield bench
    finally:
        await bench.engine.stop()
