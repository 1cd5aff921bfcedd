"""A yt-dlp engine for tests, with its own directories."""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
from collections.abc import AsyncIterator, Callable, Mapping, Set
from pathlib import Path
from uuid import uuid4

from oddaemon.app.system_clock import SystemClock
from oddaemon.domain.source import parse_source
from oddaemon.domain.types import BytesPerSecond, ReplicaId
from oddaemon.engines.ytdlp import PLUGIN
from oddaemon.engines.ytdlp.engine import YtdlpEngine
from oddaemon.engines.ytdlp.settings import YtdlpSettings
from oddaemon.ports.engine import FillFile, FillRequest, FillState, FillStatus
from oddaemon.ports.plugin import Parts
from oddaemon.testing.fakes import FakeSupervisor
from tests.support.media_site import ffmpeg_program
from tests.support.processes import command
from tests.support.wait import until

ENDED = frozenset({FillState.COMPLETE, FillState.FAILED})


def build(state_dir: Path, news: Callable[[], None] = lambda: None) -> YtdlpEngine:
    """Not started."""
    state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    parts = Parts(
        supervisor=FakeSupervisor(), clock=SystemClock(), state_dir=state_dir, download_dir=state_dir.parent, news=news
    )  # fmt: skip
    return PLUGIN.build(YtdlpSettings(), parts)


class Bench:
    """A started engine and what tests ask of it."""

    def __init__(self, base: Path) -> None:
        self.base = base
        self.news = 0
        """How often the engine had some."""
        self.engine = build(base / "state", self._count)

    def _count(self) -> None:
        self.news += 1

    def request(
        self,
        url: str,
        options: Mapping[str, str] | None = None,
        *,
        selection: Set[int] | None = None,
        rate: int | None = None,
    ) -> FillRequest:
        replica = ReplicaId(uuid4())
        directory = self.base / "downloads" / str(replica)
        directory.mkdir(parents=True)
        return FillRequest(
            replica_id=replica,
            directory=directory,
            source=parse_source(url),
            options=options or {},
            selection=selection,
            max_rate_down=None if rate is None else BytesPerSecond(rate),
        )

    async def status(self, request: FillRequest) -> FillStatus:
        return (await self.engine.statuses())[request.replica_id]

    async def ended(self, request: FillRequest, *, timeout: float = 60) -> FillStatus:
        async def look() -> FillStatus | None:
            status = (await self.engine.statuses()).get(request.replica_id)
            return status if status is not None and status.state in ENDED else None

        return await until(look, timeout=timeout, what="the download to end")

    async def fetch(self, request: FillRequest, *, timeout: float = 60) -> FillStatus:
        await self.engine.add(request)
        return await self.ended(request, timeout=timeout)

    async def complete(self, request: FillRequest, *, timeout: float = 60) -> list[FillFile]:
        """The files of the download that has to come to its good end."""
        status = await self.fetch(request, timeout=timeout)
        assert status.state is FillState.COMPLETE, status.failure
        files = list(await self.engine.list_files(request.replica_id))
        for file in files:
            if file.finished:
                assert (request.directory / file.disk_path).stat().st_size == file.size
        return files

    async def bytes_came(self, request: FillRequest, least: int, *, timeout: float = 60) -> FillStatus:
        async def look() -> FillStatus | None:
            status = (await self.engine.statuses()).get(request.replica_id)
            assert status is None or status.state is not FillState.FAILED, status
            return status if status is not None and status.done >= least else None

        return await until(look, timeout=timeout, what=f"{least} bytes")

    def pid(self, request: FillRequest) -> int:
        """Of the child that fills the replica: the only process of ours that works in its directory."""
        found = [pid for pid in processes_in(request.directory) if "ytdlp.child" in command(pid)]
        assert len(found) == 1, found
        return found[0]


def processes_in(directory: Path) -> list[int]:
    found = []
    for process in Path("/proc").iterdir():
        if process.name.isdigit():
            with contextlib.suppress(OSError):
                if os.readlink(process / "cwd") == str(directory.resolve()):
                    found.append(int(process.name))
    return found


def streams(path: Path) -> list[str]:
    """The kinds of the streams in a media file, sorted, in ffmpeg's words."""
    found = subprocess.run(
        [ffmpeg_program(), "-hide_banner", "-nostdin", "-i", str(path)],
        check=False, capture_output=True, text=True, timeout=30,
    )  # fmt: skip
    kinds = re.findall(r"^\s*Stream #.*?: (Video|Audio|Subtitle): ", found.stderr, re.MULTILINE)
    return sorted(kind.lower() for kind in kinds)


@contextlib.asynccontextmanager
async def ytdlp(base: Path) -> AsyncIterator[Bench]:
    bench = Bench(base)
    await bench.engine.start()
    try:
        yield bench
    finally:
        await bench.engine.stop()
