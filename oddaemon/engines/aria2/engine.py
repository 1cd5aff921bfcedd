"""The engine: the port's methods, each a few steps on the replicas that the keeper keeps."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import Mapping, Sequence, Set
from dataclasses import replace

from oddaemon.domain.errors import EngineUnavailable
from oddaemon.domain.node import EngineHealth
from oddaemon.domain.source import Source, SourceKind
from oddaemon.domain.torrent import TorrentInfo
from oddaemon.domain.types import BytesPerSecond, EngineName, Handle, ReplicaId, Seconds
from oddaemon.engines.aria2.daemon import Aria2Process, save_interval
from oddaemon.engines.aria2.downloads import Downloads
from oddaemon.engines.aria2.fill import Fill, Stage, gid_of
from oddaemon.engines.aria2.keeper import Keeper
from oddaemon.engines.aria2.keys import key_of
from oddaemon.engines.aria2.mapping import peers_of
from oddaemon.engines.aria2.memory import Memory
from oddaemon.engines.aria2.notifications import Notifications
from oddaemon.engines.aria2.options import SPECS, understood, validate
from oddaemon.engines.aria2.origin import FillFailed, OriginProbe
from oddaemon.engines.aria2.probing import Prober, engine_failed
from oddaemon.engines.aria2.rpc import Rpc, RpcRefused
from oddaemon.engines.aria2.settings import Aria2Settings
from oddaemon.engines.aria2.torrent_fill import TorrentFills, read_torrent, refusal
from oddaemon.engines.aria2.turns import Turns
from oddaemon.engines.aria2.url_fill import UrlFills
from oddaemon.ports.engine import (
    Capabilities,
    Engine,
    FillFile,
    FillRequest,
    FillStatus,
    KeyResolution,
    OutspokenEngine,
    PausingEngine,
    Peer,
    PeeringEngine,
    ProbeResult,
    ProbingEngine,
    RateLimitingEngine,
    SelectingEngine,
    Sniffed,
    SniffingEngine,
    TorrentEngine,
)
from oddaemon.ports.plugin import Parts
from oddaemon.ports.tasks import KeyedLocks

NAME = EngineName("aria2")
_SCHEMES = ("magnet", "http", "https", "ftp")
_HEALTH = Seconds(1.5)
_FILES_AGE = Seconds(0.5)

CAPABILITIES = Capabilities(
    schemes=_SCHEMES,
    mime_types=("application/x-bittorrent",),
    probe=True,
    pause=True,
    select=True,
    rate_limit=True,
    custom={"torrents": True, "magnets": True, "peers": True, "seeding": True, "several_connections": True},
    options=SPECS,
)


class Aria2Engine(
    Engine, PausingEngine, SelectingEngine, RateLimitingEngine, ProbingEngine, SniffingEngine, TorrentEngine,
    PeeringEngine, OutspokenEngine,
):  # fmt: skip
    def __init__(self, settings: Aria2Settings, parts: Parts) -> None:
        self._settings = settings
        self._supervisor = parts.supervisor
        self._rpc = Rpc()
        self._process = Aria2Process(settings, parts.state_dir, self._rpc)
        self._downloads = Downloads(self._rpc, settings)
        self._probe = OriginProbe(settings.ca_certificate)
        self._memory = Memory(parts.state_dir / "replicas")
        turns, patience = Turns(), Seconds(settings.stall_timeout)
        self._urls = UrlFills(self._downloads, self._probe, self._memory, patience)
        self._prober = Prober(self._rpc, self._downloads, self._urls, self._memory, turns)
        self._keeper = Keeper(
            rpc=self._rpc,
            process=self._process,
            downloads=self._downloads,
            urls=self._urls,
            torrents=TorrentFills(self._downloads, self._memory, turns),
            turns=turns,
            clock=parts.clock,
            news=parts.news,
            stall_timeout=patience,
            save_interval=Seconds(save_interval(settings.max_concurrent)),
        )
        self._notifications = Notifications(parts.clock, lambda: self._process.port, parts.news)
        self._locks = KeyedLocks()
        """One change of a replica at a time."""

    @property
    def name(self) -> EngineName:
        return NAME

    @property
    def capabilities(self) -> Capabilities:
        return CAPABILITIES

    async def start(self) -> None:
        if self._downloads.daemon is not None:
            return
        await asyncio.to_thread(self._memory.open)
        await self._probe.open()
        await self._keeper.open()
        await self._notifications.open()
        try:
            self._downloads.daemon = await self._supervisor.start(self._process.spec)
        except BaseException as error:
            if isinstance(error, EngineUnavailable):
                self._keeper.problem = error.message
            await self.stop()
            raise

    async def stop(self) -> None:
        daemon, self._downloads.daemon = self._downloads.daemon, None
        swarming = any(fill.is_torrent and fill.attached for fill in self._keeper.fills.values())
        await self._notifications.close()
        await self._keeper.close()
        if daemon is not None and daemon.pid is not None and swarming:
            # aria2 takes a second TERM, which the supervisor sends, as the wish to skip the farewell to trackers
            with contextlib.suppress(ProcessLookupError):
                os.kill(daemon.pid, signal.SIGTERM)
        await self._supervisor.stop("aria2")
        await self._rpc.close()
        await self._probe.close()

    async def health(self) -> EngineHealth:
        ok, message = False, ""
        try:
            self._keeper.running()
            await self._rpc.version(timeout=_HEALTH)
            ok = True
        except (EngineUnavailable, RpcRefused) as error:
            message = str(error)
        return EngineHealth(
            name=NAME,
            ok=ok,
            version=self._process.version or None,
            message=message,
            max_concurrent=self._settings.max_concurrent,
            capabilities=CAPABILITIES.custom,
            schemes=_SCHEMES,
        )

    def validate_options(self, options: Mapping[str, str]) -> Mapping[str, str]:
        return validate(options)

    def refuses_torrent(self, torrent: TorrentInfo, version: str | None = None) -> str | None:
        failure = refusal(torrent, self._process.version if version is None else version)
        return None if failure is None else failure.message

    async def add(self, request: FillRequest) -> Handle:
        request = replace(request, options=validate(request.options))
        self._keeper.running()
        await self._refuse_impossible(request)
        async with self._locks.holding(request.replica_id):
            self._keeper.running()
            fill = self._keeper.fills.get(request.replica_id)
            if fill is not None and self._keeper.works_on(fill):
                await self._update(fill, request)
                return _handle(fill)
            if fill is not None:
                await self._keeper.let_go(fill)
            fill = Fill(request=request)
            self._keeper.fills[fill.replica] = fill
            self._keeper.begin(fill)
            return _handle(fill)

    async def recover(self, handle: Handle, request: FillRequest) -> Handle:
        # aria2's name for a replica follows from the replica's id, so the handle tells nothing that is not known
        return await self.add(request)

    async def statuses(self) -> Mapping[ReplicaId, FillStatus]:
        await self._keeper.refresh()
        return {fill.replica: fill.status() for fill in self._keeper.fills.values()}

    async def list_files(self, replica_id: ReplicaId) -> Sequence[FillFile]:
        fill = self._keeper.fills.get(replica_id)
        if fill is not None and fill.attached and not fill.busy:
            with contextlib.suppress(EngineUnavailable):  # then what was known last is answered
                # one question tells of all: asked anew for each of 500, it would cost the square of them
                await self._keeper.refresh(max_age=_FILES_AGE)
        return () if fill is None else fill.files()

    async def cancel(self, replica_id: ReplicaId) -> None:
        async with self._locks.holding(replica_id):
            fill = self._keeper.fills.get(replica_id)
            if fill is not None:
                await self._keeper.let_go(fill)
                self._keeper.fills.pop(replica_id, None)
            else:
                # aria2 may have it all the same: from its session, or from a call whose answer came too late
                await self._downloads.drop(replica_id)

    async def forget(self, replica_id: ReplicaId) -> None:
        await self.cancel(replica_id)
        self._urls.forget(replica_id)
        await asyncio.to_thread(self._memory.forget, replica_id)

    async def remove(self, replica_id: ReplicaId) -> None:
        await self.forget(replica_id)
        await asyncio.to_thread(self._memory.forget_torrent, replica_id)

    async def pause(self, replica_id: ReplicaId) -> None:
        async with self._locks.holding(replica_id):
            fill = self._keeper.fills.get(replica_id)
            if fill is None or fill.stage in (Stage.PAUSED, Stage.COMPLETE, Stage.FAILED):
                return
            await self._keeper.let_go(fill)
            fill.stage = Stage.PAUSED

    async def resume(self, replica_id: ReplicaId) -> None:
        async with self._locks.holding(replica_id):
            fill = self._keeper.fills.get(replica_id)
            if fill is not None and fill.stage is Stage.PAUSED:
                self._keeper.running()
                self._keeper.begin(fill)

    async def select(self, replica_id: ReplicaId, selection: Set[int] | None) -> None:
        async with self._locks.holding(replica_id):
            fill = self._keeper.fills.get(replica_id)
            if fill is not None:
                await self._select(fill, selection)

    async def limit(
        self, replica_id: ReplicaId, *, down: BytesPerSecond | None, up: BytesPerSecond | None
    ) -> None:
        async with self._locks.holding(replica_id):
            fill = self._keeper.fills.get(replica_id)
            if fill is None:
                return
            fill.request = replace(fill.request, max_rate_down=down, max_rate_up=up)
            if fill.attached and not fill.busy:
                await self._downloads.limit(fill)

    async def peers(self, replica_id: ReplicaId) -> Sequence[Peer]:
        fill = self._keeper.fills.get(replica_id)
        if fill is None or not fill.is_torrent or not fill.attached or fill.gid is None:
            return ()
        try:
            return peers_of(await self._rpc.peers(fill.gid))
        except RpcRefused:
            return ()

    async def raw_status(self, replica_id: ReplicaId) -> Mapping[str, str | int | float | bool]:
        fill = self._keeper.fills.get(replica_id)
        row = await self._rpc.status(fill.gid) if fill is not None and fill.gid is not None else None
        # a message may hold the URL
        return {key: str(value) for key, value in (row or {}).items() if key != "errorMessage"}

    async def probe(
        self, source: Source, options: Mapping[str, str], *, torrent: bytes | None, deadline: Seconds
    ) -> ProbeResult:
        options, version = validate(options), self._process.version
        if source.kind is SourceKind.URL:
            return await self._prober.url(source, options, version, deadline)
        infos = (fill.info for fill in self._keeper.fills.values())
        known = next((i for i in infos if i is not None and i.info_hash == source.info_hash and not i.private), None)
        if torrent is None and known is None:
            self._keeper.running()
        return await self._prober.torrent(source, options, torrent, known, version, deadline)

    async def sniff(self, source: Source, options: Mapping[str, str], *, deadline: Seconds) -> Sniffed:
        # nobody has chosen an engine yet: some of the options may be another's
        found = await self._prober.url(source, validate(understood(options)), self._process.version, deadline)
        return Sniffed(content_type=found.files[0].content_type, size=found.size)

    async def resolve_cache_key(self, source: Source, options: Mapping[str, str]) -> KeyResolution | None:
        return KeyResolution(key=key_of(source), name=source.name)

    async def _refuse_impossible(self, request: FillRequest) -> None:
        """What can be told without waiting is told at once."""
        if request.torrent is None:
            return
        try:
            await read_torrent(request.torrent, self._process.version, request.source.info_hash)
        except FillFailed as failed:
            raise engine_failed(failed.failure) from failed

    async def _update(self, fill: Fill, request: FillRequest) -> None:
        """An add of what is worked on already: the wishes of now count."""
        selection = request.selection
        if fill.stage is Stage.PAUSED:
            fill.request = replace(request, selection=fill.request.selection)
        await self._select(fill, selection)

    async def _select(self, fill: Fill, selection: Set[int] | None) -> None:
        if fill.request.selection == selection:
            return
        fill.choose(selection)
        if not fill.is_torrent or fill.stage in (Stage.PAUSED, Stage.FAILED, Stage.METADATA):
            return
        self._keeper.running()
        await self._keeper.let_go(fill)
        self._keeper.begin(fill)


def _handle(fill: Fill) -> Handle:
    return Handle(f"aria2/1/{gid_of(fill.replica, 'data')}")
