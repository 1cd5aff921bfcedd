"""A NodeClient over this process's own engines and storage: used directly on a controller, served by a transport on a
worker. Knows replicas, never jobs or users."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import logging
import os
from collections.abc import AsyncGenerator, Awaitable, Mapping, Sequence, Set
from dataclasses import dataclass, field, replace
from typing import TypeVar

from oddaemon.domain.cache import EntryFile
from oddaemon.domain.errors import DeadlineExceeded, EngineUnavailable, OpenDebridError, Unsupported
from oddaemon.domain.node import EngineHealth, NodeSnapshot
from oddaemon.domain.source import Source
from oddaemon.domain.torrent import TorrentInfo
from oddaemon.domain.types import Bytes, BytesPerSecond, EngineName, Handle, NodeId, ReplicaId, Seconds
from oddaemon.ports.engine import (
    ClaimingEngine,
    Engine,
    FillFile,
    FillRequest,
    FillState,
    FillStatus,
    KeyResolution,
    OptionSpec,
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
from oddaemon.ports.node_client import Dispatch, NodeClient, NodeStatuses
from oddaemon.ports.storage import StorageProvider, StoredFile, disk_errors

log = logging.getLogger(__name__)

T = TypeVar("T")

HEALTH_DEADLINE = Seconds(2)
STATUS_DEADLINE = Seconds(4)
CALL_DEADLINE = Seconds(30)
RESOLVE_DEADLINE = Seconds(120)
CHECKSUM_BLOCK = 1 << 20
READ_BLOCK = 256 << 10
CHECKSUMS_AT_ONCE = 2
"""Each holds a thread for as long as reading the file takes, and everything that touches the disk needs one."""
CHECKSUMS = frozenset({"md5", "sha1", "sha224", "sha256", "sha384", "sha512"})


async def within(deadline: Seconds, call: Awaitable[T], what: str) -> T:
    """The call's result; DeadlineExceeded after `deadline`."""
    try:
        async with asyncio.timeout(deadline):
            return await call
    except TimeoutError as error:
        raise DeadlineExceeded(f"{what} took longer than {deadline:g} s") from error


def abilities(engine: Engine) -> Mapping[str, bool]:
    """What the engine can do, its own extras included: how others tell without the engine at hand."""
    can = engine.capabilities
    common = {
        "playlists": can.playlists, "streaming": can.streaming, "probe": can.probe, "pause": can.pause,
        "select": can.select, "rate_limit": can.rate_limit, "claims_urls": can.claims_urls,
    }  # fmt: skip
    return {**common, **can.custom}


@dataclass(slots=True)
class NodeAgent(NodeClient):
    """`problems` are engines that were configured and could not be built, with the reason."""

    id: NodeId
    display_name: str
    engines: Mapping[EngineName, Engine]
    storage: StorageProvider
    file_endpoint: str | None = None
    problems: Mapping[EngineName, str] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)
    working: dict[EngineName, int] = field(default_factory=dict)
    """How many downloads each engine was at when it was last asked."""
    _silent: set[EngineName] = field(default_factory=set)
    """Those that left a question unanswered: not asked again until they are healthy, so that they hold up no other."""
    _reading: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(CHECKSUMS_AT_ONCE))

    @property
    def node_id(self) -> NodeId:
        return self.id

    def _engine(self, name: EngineName) -> Engine:
        engine = self.engines.get(name)
        if engine is None:
            why = self.problems.get(name)
            if why:
                raise EngineUnavailable(f"the engine {name} is not available on {self.display_name}: {why}")
            raise Unsupported(
                f"node {self.display_name} has no engine {name!r}", hint=f"it has: {', '.join(sorted(self.engines))}"
            )
        return engine

    async def snapshot(self) -> NodeSnapshot:
        disk = await asyncio.to_thread(self.storage.usage)
        healths = list(await asyncio.gather(*(self._health(name, engine) for name, engine in self.engines.items())))
        healths += [EngineHealth(name=name, ok=False, message=why) for name, why in self.problems.items()]
        return NodeSnapshot(
            id=self.id,
            name=self.display_name,
            is_controller=True,
            online=True,
            disk=disk,
            engines=tuple(healths),
            file_endpoint=self.file_endpoint,
            labels=self.labels,
        )

    async def _health(self, name: EngineName, engine: Engine) -> EngineHealth:
        try:
            health = await within(HEALTH_DEADLINE, engine.health(), f"asking {name} for its health")
            if health.ok:
                self._silent.discard(name)
            return replace(health, capabilities=abilities(engine))
        except Exception as error:
            log.warning(
                "engine health failed", extra={"action": "engine_health_failed", "engine": name}, exc_info=error
            )
            return EngineHealth(name=name, ok=False, message=str(error) or type(error).__name__)

    async def dispatch(self, order: Dispatch) -> Handle:
        # engines write to the disk themselves: what they meet there ends no attempt either
        with disk_errors():
            return await self._dispatch(order)

    async def _dispatch(self, order: Dispatch) -> Handle:
        engine = self._engine(order.engine)
        directory = await asyncio.to_thread(self.storage.allocate, order.replica_id)
        if order.afresh:
            await within(CALL_DEADLINE, engine.remove(order.replica_id), "stopping the earlier attempt")
            await asyncio.to_thread(self.storage.empty, order.replica_id, order.keep)
        elif order.recheck:
            await self.forget(order.engine, order.replica_id)
        request = FillRequest(
            replica_id=order.replica_id,
            directory=directory,
            source=order.source,
            options=order.options,
            torrent=order.torrent,
            selection=order.selection,
            may_be_page=order.may_be_page,
            max_rate_down=order.max_rate_down,
            max_rate_up=order.max_rate_up,
        )
        if order.handle is not None and not (order.afresh or order.recheck):
            return await within(CALL_DEADLINE, engine.recover(order.handle, request), "taking up the download again")
        return await within(CALL_DEADLINE, engine.add(request), "starting the download")

    async def statuses(self) -> NodeStatuses:
        found: dict[ReplicaId, FillStatus] = {}
        down: dict[EngineName, str] = {}

        async def ask(name: EngineName, engine: Engine) -> None:
            try:
                told = await within(STATUS_DEADLINE, engine.statuses(), f"asking {name} for its downloads")
                found.update(told)
                self.working[name] = sum(status.state is FillState.ACTIVE for status in told.values())
            except OpenDebridError as error:
                if isinstance(error, DeadlineExceeded):
                    self._silent.add(name)
                down[name] = error.message
            except Exception as error:
                log.exception("engine statuses failed", extra={"action": "engine_statuses_failed", "engine": name})
                down[name] = str(error) or type(error).__name__

        down |= dict.fromkeys(self._silent, "it does not answer")
        asked = [ask(name, engine) for name, engine in self.engines.items() if name not in self._silent]
        await asyncio.gather(*asked)
        return NodeStatuses(statuses=found, down=down)

    async def list_files(self, engine: EngineName, replica_id: ReplicaId) -> Sequence[FillFile]:
        return await within(CALL_DEADLINE, self._engine(engine).list_files(replica_id), "listing the files")

    async def verify(self, replica_id: ReplicaId, files: Sequence[EntryFile]) -> Mapping[int, Bytes | None]:
        paths = [file.disk_path for file in files]
        controls = [f"{path}.aria2" for path in paths]
        found = await asyncio.to_thread(self.storage.stat, replica_id, [*paths, *controls])
        half = len(paths)
        # a file that was complete once is judged by its size: a check that was broken off leaves a control file too
        return {
            file.index: None if stored is None or (control is not None and not file.ready) else stored.size
            for file, stored, control in zip(files, found[:half], found[half:], strict=True)
        }

    async def stat(self, replica_id: ReplicaId, paths: Sequence[str]) -> Sequence[StoredFile | None]:
        return await asyncio.to_thread(self.storage.stat, replica_id, paths)

    async def checksum(self, replica_id: ReplicaId, path: str, algorithm: str) -> str:
        def read() -> str:
            digest = hashlib.new(algorithm, usedforsecurity=False)
            descriptor = self.storage.open(replica_id, path)
            try:
                while block := os.read(descriptor, CHECKSUM_BLOCK):
                    digest.update(block)
            finally:
                os.close(descriptor)
            return digest.hexdigest()

        async with self._reading:
            return await asyncio.to_thread(read)

    async def read(
        self, replica_id: ReplicaId, path: str, *, offset: int, length: int
    ) -> AsyncGenerator[bytes, None]:
        with disk_errors():
            descriptor = await asyncio.to_thread(self.storage.open, replica_id, path)
            try:
                while length > 0:
                    part = await asyncio.to_thread(os.pread, descriptor, min(READ_BLOCK, length), offset)
                    if not part:
                        return
                    yield part
                    offset, length = offset + len(part), length - len(part)
            finally:
                os.close(descriptor)

    async def write(self, replica_id: ReplicaId, path: str, *, offset: int, data: bytes) -> None:
        await asyncio.to_thread(self.storage.write, replica_id, path, offset, data)

    async def pause(self, engine: EngineName, replica_id: ReplicaId) -> bool:
        found = self._engine(engine)
        if isinstance(found, PausingEngine) and found.capabilities.pause:
            await within(CALL_DEADLINE, found.pause(replica_id), "pausing the download")
            return True
        await self.cancel(engine, replica_id)
        return False

    async def resume(self, engine: EngineName, replica_id: ReplicaId) -> None:
        found = self._engine(engine)
        if isinstance(found, PausingEngine) and found.capabilities.pause:
            await within(CALL_DEADLINE, found.resume(replica_id), "resuming the download")

    async def select(self, engine: EngineName, replica_id: ReplicaId, selection: Set[int] | None) -> bool:
        found = self._engine(engine)
        if isinstance(found, SelectingEngine) and found.capabilities.select:
            await within(CALL_DEADLINE, found.select(replica_id, selection), "changing the selection")
            return True
        return False

    async def limit(
        self, engine: EngineName, replica_id: ReplicaId, *, down: BytesPerSecond | None, up: BytesPerSecond | None
    ) -> None:
        found = self._engine(engine)
        if isinstance(found, RateLimitingEngine) and found.capabilities.rate_limit:
            await within(CALL_DEADLINE, found.limit(replica_id, down=down, up=up), "changing the speed limit")

    async def cancel(self, engine: EngineName, replica_id: ReplicaId) -> None:
        await within(CALL_DEADLINE, self._engine(engine).cancel(replica_id), "stopping the download")

    async def stop_all(self) -> int:
        """Cancels whatever the engines work on, keeping the bytes; how many. What an engine does not stop is logged."""
        stopped = 0
        for name, engine in self.engines.items():
            try:
                found = await within(STATUS_DEADLINE, engine.statuses(), f"asking {name} for its downloads")
            except OpenDebridError:
                continue  # it is down, and what it worked on with it
            for replica_id in found:
                try:
                    await self.cancel(name, replica_id)
                    stopped += 1
                except OpenDebridError as error:
                    facts = {"action": "not_stopped", "replica": str(replica_id), "error": error.message}
                    log.warning("a download could not be stopped", extra=facts)
        return stopped

    async def forget(self, engine: EngineName, replica_id: ReplicaId) -> None:
        found = self._engine(engine)
        forget = found.forget if isinstance(found, TorrentEngine) else found.remove
        await within(CALL_DEADLINE, forget(replica_id), "forgetting the download")

    async def delete(self, engine: EngineName, replica_id: ReplicaId) -> Bytes:
        # an engine that is gone for good cannot hold the directory open
        with contextlib.suppress(Unsupported):
            await within(CALL_DEADLINE, self._engine(engine).remove(replica_id), "stopping the download")
        return await asyncio.to_thread(self.storage.delete, replica_id)

    async def inventory(self) -> Sequence[ReplicaId]:
        return await asyncio.to_thread(self.storage.replicas)

    async def claims(self, url: str) -> EngineName | None:
        for name, engine in self.engines.items():
            if isinstance(engine, ClaimingEngine) and engine.capabilities.claims_urls:
                try:
                    if await within(CALL_DEADLINE, engine.claims(url), f"asking {name} whether it wants the URL"):
                        return name
                except EngineUnavailable:
                    log.warning("engine cannot classify", extra={"action": "classify_failed", "engine": name})
        return None

    async def sniff(self, source: Source, options: Mapping[str, str]) -> Sniffed | None:
        for engine in self.engines.values():
            if isinstance(engine, SniffingEngine):
                return await engine.sniff(source, options, deadline=CALL_DEADLINE)
        return None

    async def resolve_cache_key(
        self, engine: EngineName, source: Source, options: Mapping[str, str]
    ) -> KeyResolution | None:
        return await within(
            RESOLVE_DEADLINE, self._engine(engine).resolve_cache_key(source, options), "finding out what this is"
        )

    async def probe(
        self, engine: EngineName, source: Source, options: Mapping[str, str], *, torrent: bytes | None,
        deadline: Seconds,
    ) -> ProbeResult:  # fmt: skip
        found = self._engine(engine)
        if not isinstance(found, ProbingEngine) or not found.capabilities.probe:
            raise Unsupported(f"the engine {engine} cannot look at a source without downloading it")
        return await within(
            deadline, found.probe(source, options, torrent=torrent, deadline=deadline), "looking at the source"
        )

    async def peers(self, engine: EngineName, replica_id: ReplicaId) -> Sequence[Peer]:
        found = self._engine(engine)
        if not isinstance(found, PeeringEngine):
            return ()
        return await within(CALL_DEADLINE, found.peers(replica_id), "asking for the peers")

    async def raw_status(self, engine: EngineName, replica_id: ReplicaId) -> Mapping[str, str | int | float | bool]:
        found = self._engine(engine)
        if not isinstance(found, OutspokenEngine):
            return {}
        return await within(CALL_DEADLINE, found.raw_status(replica_id), "asking how it is")

    def option_specs(self) -> Mapping[EngineName, Sequence[OptionSpec]]:
        return {name: engine.capabilities.options for name, engine in self.engines.items()}

    def refuses_torrent(self, engine: EngineName, torrent: TorrentInfo) -> str | None:
        found = self._engine(engine)
        return found.refuses_torrent(torrent) if isinstance(found, TorrentEngine) else None

    def validate_options(self, engine: EngineName, options: Mapping[str, str]) -> Mapping[str, str]:
        return self._engine(engine).validate_options(options)
