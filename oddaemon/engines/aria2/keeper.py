"""Keeps the replicas that aria2 works on: begins them, follows what aria2 says of them, lets them go.

aria2 is asked once per `refresh`; what it answers moves each replica on. Nothing here trusts its "complete".
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from functools import partial

from oddaemon.domain.errors import EngineUnavailable
from oddaemon.domain.failure import Failure, FailureCode, Retry
from oddaemon.domain.types import ReplicaId, Seconds
from oddaemon.engines.aria2 import disk
from oddaemon.engines.aria2.daemon import PROGRAM, Aria2Process
from oddaemon.engines.aria2.downloads import Downloads
from oddaemon.engines.aria2.fill import PHASES, Fill, Stage, gid_of
from oddaemon.engines.aria2.mapping import failure_of_os_error, number
from oddaemon.engines.aria2.options import seeding_asked
from oddaemon.engines.aria2.origin import FillFailed
from oddaemon.engines.aria2.rpc import Row, Rpc, RpcRefused
from oddaemon.engines.aria2.torrent_fill import TorrentFills
from oddaemon.engines.aria2.turns import Turns
from oddaemon.engines.aria2.url_fill import UrlFills
from oddaemon.ports.clock import Clock
from oddaemon.ports.supervisor import SupervisedDaemon
from oddaemon.ports.tasks import TaskScope, end_task

log = logging.getLogger(__name__)

ABANDONED_AFTER = Seconds(600)
"""After aria2's start; what its session held and nobody took up by then is dropped."""
_FILES_PER_SECOND = 500
"""Of which aria2 is asked the progress one by one: a torrent of 5,000 files is looked at every 10 s."""
_SILENCE = Seconds(10)
"""Between two answers: then aria2 itself was held up, by a slow disk most likely, and not its origins."""
_RUNNING = frozenset({Stage.METADATA, Stage.LOADING})


class Keeper:
    def __init__(
        self,
        *,
        rpc: Rpc,
        process: Aria2Process,
        downloads: Downloads,
        urls: UrlFills,
        torrents: TorrentFills,
        turns: Turns,
        clock: Clock,
        news: Callable[[], None],
        stall_timeout: Seconds,
        save_interval: Seconds,
    ) -> None:
        self._rpc = rpc
        self._process = process
        self._downloads = downloads
        self._urls = urls
        self._torrents = torrents
        self._turns = turns
        self._clock = clock
        self._news = news
        self._stall_timeout = stall_timeout
        self._save_interval = save_interval
        self._tasks = TaskScope("aria2 fills")
        self._refreshing = asyncio.Lock()
        self._refreshed_at = Seconds(-1e9)
        self._answered_at = Seconds(0)
        self._swept = (0, Seconds(0))
        """The generation of aria2c whose session was looked through last, and when it was first seen."""
        self.fills: dict[ReplicaId, Fill] = {}
        self.problem = "aria2 is not started"
        """Why there is no child at all."""

    async def open(self) -> None:
        await self._tasks.open()

    async def close(self) -> None:
        """Forgets everything; what aria2 has, it keeps."""
        await self._tasks.close()
        for replica in self.fills:
            self._turns.release(replica)
        self.fills.clear()

    def running(self) -> SupervisedDaemon:
        """Raises EngineUnavailable if aria2 is down."""
        daemon = self._downloads.daemon
        if daemon is None or not daemon.running:
            problem = self.problem if daemon is None else daemon.last_problem
            raise EngineUnavailable(f"{PROGRAM} is not running" + (f": {problem}" if problem else ""))
        return daemon

    async def refresh(self, max_age: Seconds | None = None) -> None:
        """Asks aria2 about everything it works on, and moves on what it has ended; not again if it was asked less than
        `max_age` ago."""
        async with self._refreshing:
            daemon = self.running()
            generation, now = daemon.generation, self._clock.monotonic()
            if max_age is not None and now - self._refreshed_at < max_age:
                return
            self._refreshed_at = now
            # those only that aria2 had confirmed before it was asked; the others are not missed in its answer
            asked = {fill.replica: fill for fill in self.fills.values() if fill.attached and not fill.busy}
            if not asked and not self._sweep_due(generation, now):
                return
            rows, files = await self._rpc.snapshot([str(f.gid) for f in asked.values() if _files_due(f, now)])
            self._forgive_silence(asked.values())
            for fill in asked.values():
                if self.fills.get(fill.replica) is fill and fill.attached and not fill.busy:
                    await self._move_on(fill, rows, files.get(str(fill.gid)), generation)
            await self._sweep(rows, generation, now)

    def _forgive_silence(self, fills: Iterable[Fill]) -> None:
        """Time in which aria2 told nothing of anything does not count as a time in which nothing came."""
        before, self._answered_at = self._answered_at, self._clock.monotonic()
        silence = self._answered_at - before
        if silence > _SILENCE:
            for fill in fills:
                fill.moved_at = min(fill.moved_at + silence, self._answered_at)

    def works_on(self, fill: Fill) -> bool:
        if fill.stage is Stage.FAILED or fill.stage is Stage.COMPLETE:
            return False
        daemon = self._downloads.daemon
        return not fill.attached or (daemon is not None and fill.generation == daemon.generation)

    def begin(self, fill: Fill) -> None:
        fill.failure, fill.stage = None, Stage.CHECKING
        self._run(fill, partial(self._begin_in_its_way, fill), "begin")

    async def let_go(self, fill: Fill) -> None:
        """Nothing works on it any more, aria2 included."""
        await end_task(fill.task)
        # a refresh that is under way looks at this: it takes up nothing that is being let go
        was, fill.task, fill.attached = fill.attached, None, False
        try:
            await self._downloads.take_back(fill)
        except BaseException:
            fill.attached = was
            raise
        fill.still()
        self._turns.release(fill.replica)

    def _lose(self, fill: Fill) -> None:
        """aria2 does not have it any more: it is absent until it is recovered."""
        if self.fills.get(fill.replica) is fill:
            del self.fills[fill.replica]
        self._turns.release(fill.replica)

    async def _begin_in_its_way(self, fill: Fill) -> None:
        directory = fill.request.directory
        if not await asyncio.to_thread(directory.is_dir):
            # aria2 would make it, and everything above it, perhaps below the mount point of a disk that is not there
            raise FillFailed(
                Failure(code=FailureCode.STORAGE, message="the replica's directory is gone", retry=Retry.PASSING)
            )
        kind = self._torrents if fill.is_torrent else self._urls
        await kind.begin(fill, self._process.version, self._clock.monotonic())

    def _run(self, fill: Fill, work: Callable[[], Awaitable[None]], what: str) -> None:
        fill.task = self._tasks.start(self._guarded(fill, work), f"aria2 {what} {fill.replica}")

    async def _guarded(self, fill: Fill, work: Callable[[], Awaitable[None]]) -> None:
        """Whatever goes wrong in the work becomes a failure of this replica, or its absence if aria2 is down."""
        try:
            await work()
            if fill.stage is Stage.COMPLETE:
                self._news()
            return
        except FillFailed as failed:
            failure = failed.failure
        except EngineUnavailable:
            self._lose(fill)
            return
        except RpcRefused as refused:
            failure = Failure(code=FailureCode.ENGINE, message=f"aria2 refuses: {refused}", retry=Retry.PASSING)
        except OSError as error:
            failure = failure_of_os_error(error)
        except Exception:
            log.exception("fill broke", extra={"action": "aria2.error", "replica": str(fill.replica)})
            failure = Failure(code=FailureCode.ENGINE, message="the engine made a mistake", retry=Retry.PASSING)
        fill.fail(failure)
        self._turns.release(fill.replica)
        self._news()

    async def _move_on(
        self, fill: Fill, rows: Mapping[str, Row], files: Sequence[Row] | None, generation: int
    ) -> None:
        row = rows.get(str(fill.gid))
        if row is None or fill.generation != generation or row["status"] == "removed":
            self._lose(fill)
            return
        now, version, status = self._clock.monotonic(), self._process.version, row["status"]
        seeder = status == "active" and row.get("seeder") == "true"
        fill.observe(row, now)
        if files is not None:
            await self._look_at_files(fill, files, now)
            if not fill.attached or fill.busy:
                return  # it was let go meanwhile
        if fill.stage is Stage.COMPLETE:
            fill.seeding = status not in ("complete", "error")
            if not fill.seeding:
                self._run(fill, partial(self._torrents.seeding_ended, fill), "end of seeding")
        elif fill.stage not in _RUNNING:
            return
        elif status == "error":
            if fill.is_torrent:
                self._run(fill, partial(self._torrents.explain, fill, row), "explain")
            else:
                self._run(fill, partial(self._urls.explain, fill, row, version, now), "explain")
        elif status == "complete" and fill.stage is Stage.METADATA:
            self._run(fill, partial(self._torrents.metadata_came, fill, version, now), "metadata")
        elif status == "complete" and not fill.is_torrent:
            self._run(fill, partial(self._urls.settle, fill, row, version, now), "settle")
        elif status == "complete" or (seeder and seeding_asked(fill.request.options)):
            self._run(fill, partial(self._torrents.settle, fill, version, now, seeding=seeder), "settle")
        elif not fill.is_torrent and now - fill.moved_at > self._stall_timeout:
            self._run(fill, partial(self._urls.hung, fill, self._stall_timeout), "hung")
        elif not fill.is_torrent and fill.rate_down and now - fill.noted_at >= self._save_interval:
            fill.noted_at = now
            await self._urls.note(fill)

    async def _look_at_files(self, fill: Fill, rows: Sequence[Row], now: float) -> None:
        """Takes over the progress of each file; one that aria2 has whole counts as finished when the disk agrees."""
        fill.files_at = now + len(fill.names) / _FILES_PER_SECOND
        whole: dict[int, int] = {}
        for row in rows:
            index, done, length = number(row, "index"), number(row, "completedLength"), number(row, "length")
            if index not in fill.names:
                continue
            fill.file_done[index] = done
            if done == length > 0 and index not in fill.finished:
                whole[index] = length
        if not whole:
            return
        names = {index: fill.names[index] for index in whole}
        found = await asyncio.to_thread(disk.sizes_of, fill.request.directory, names)
        finished = {index for index, size in whole.items() if found.get(index) == size}
        if finished:
            fill.finished |= finished
            fill.files_rev += 1

    def _sweep_due(self, generation: int, now: Seconds) -> bool:
        swept, since = self._swept
        if swept != generation:
            self._swept = (generation, now)
            return False
        return bool(since) and now - since >= ABANDONED_AFTER

    async def _sweep(self, rows: Mapping[str, Row], generation: int, now: Seconds) -> None:
        """Drops what a restarted aria2 found in its session and nobody asked for in ten minutes."""
        if not self._sweep_due(generation, now):
            return
        self._swept = (generation, Seconds(0))
        ours = {gid_of(replica, phase) for replica in self.fills for phase in PHASES}
        for gid, row in rows.items():
            if row["status"] == "paused" and gid not in ours:
                await self._downloads.forget(gid)


def _files_due(fill: Fill, now: float) -> bool:
    return fill.stage is Stage.LOADING and len(fill.names) > 1 and now >= fill.files_at
