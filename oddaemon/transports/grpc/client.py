"""GrpcNodeClient: a node on another machine, as its controller calls it."""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping, Sequence, Set
from dataclasses import dataclass
from typing import Any, TypeVar

from odproto.gen.opendebrid.node import v1 as pb

from oddaemon.domain.cache import EntryFile
from oddaemon.domain.errors import InvalidArgument
from oddaemon.domain.node import NodeSnapshot
from oddaemon.domain.source import Source
from oddaemon.domain.torrent import MAX_FILES, TorrentInfo
from oddaemon.domain.types import Bytes, BytesPerSecond, EngineName, Handle, NodeId, ReplicaId, Seconds
from oddaemon.ports.engine import FillFile, FillStatus, KeyResolution, OptionSpec, Peer, ProbeResult, Sniffed
from oddaemon.ports.node_client import Dispatch, NodeClient, NodeStatuses
from oddaemon.ports.node_transport import Judges
from oddaemon.ports.storage import StoredFile
from oddaemon.transports.grpc.announced import judged_options, judged_torrent
from oddaemon.transports.grpc.failures import failures
from oddaemon.transports.grpc.line import Line
from oddaemon.transports.grpc.node_service import VERIFIED_AT_ONCE
from oddaemon.wire import node_messages as wire
from oddaemon.wire import node_values as v
from oddaemon.wire.registry import MAX_REPLICAS

P = TypeVar("P")
T = TypeVar("T")

# Above what a node allows itself (services.node_agent): it is the node that should say what took so long. Only one that
# cannot be reached, or hangs, is given up by these.
QUICK = Seconds(15)
"""A question about what the node has at hand."""
CALL = Seconds(45)
"""An engine is asked, once."""
DISPATCH = Seconds(120)
"""An earlier attempt may have to be stopped and its directory emptied."""
RESOLVE = Seconds(135)
DELETE = Seconds(600)
"""A directory of a hundred thousand files, on a slow disk."""
CHECKSUM = Seconds(6 * 3600)
"""A terabyte at 50 MB/s. A connection that is lost meanwhile is noticed by its keepalive."""
READ = Seconds(24 * 3600)
PART = Seconds(60)
"""Between two parts of a file."""
PROBE_SLACK = Seconds(15)
_HEX = re.compile(r"[0-9a-f]{32,128}")


@dataclass(slots=True)
class GrpcNodeClient(NodeClient):
    """Calls go over the connection that the node has at the moment; without one they raise NodeUnavailable at once.
    `judges`: how this process's own engines of the same names judge options and torrents."""

    line: Line
    judges: Judges

    @property
    def node_id(self) -> NodeId:
        return self.line.node_id

    async def _ask(self, call: Callable[..., Awaitable[T]], seconds: Seconds) -> T:
        """`call` with a deadline. Raises NodeUnavailable, and what the node raised."""
        with failures(self.node_id, seconds):
            return await call(timeout=seconds)

    async def _all(
        self, parts: AsyncIterator[P], seconds: Seconds, most: int, read: Callable[[P], Sequence[T]]
    ) -> list[T]:
        """What is in all parts of an answer; more than `most` are refused. Reading is work: others have a turn between
        two parts."""
        found: list[T] = []
        with failures(self.node_id, seconds):
            async with _closing(parts) as arriving:
                async for part in arriving:
                    found += read(part)
                    if len(found) > most:
                        raise InvalidArgument(f"more than {most} rows")
                    await asyncio.sleep(0)
        return found

    def _read(self, read: Callable[[], T]) -> T:
        """What an answer says; NodeUnavailable for one that cannot be."""
        with failures(self.node_id, 0):
            return read()

    async def snapshot(self) -> NodeSnapshot:
        stub = self.line.stub()
        found = await self._ask(lambda **kw: stub.snapshot(pb.SnapshotRequest(), **kw), QUICK)
        return self._read(lambda: wire.snapshot_from(found, self.node_id))

    async def dispatch(self, order: Dispatch) -> Handle:
        stub = self.line.stub()
        found = await self._ask(lambda **kw: stub.dispatch(wire.dispatch_message(order), **kw), DISPATCH)
        return self._read(lambda: v.handle(found.handle))

    async def statuses(self) -> NodeStatuses:
        stub = self.line.stub()
        down: dict[EngineName, str] = {}

        def read(part: pb.GetStatusesResponse) -> Sequence[FillStatus]:
            down.update({v.engine_name(name): v.said(why) for name, why in part.down.items()})
            v.at_most(down, wire.MAX_ENGINES, "down")
            return [wire.status_from(status) for status in part.statuses]

        found = await self._all(stub.get_statuses(pb.GetStatusesRequest(), timeout=QUICK), QUICK, MAX_FILES, read)
        self._each_once([status.replica_id for status in found], "a replica")
        return NodeStatuses(statuses={status.replica_id: status for status in found}, down=down)

    async def list_files(self, engine: EngineName, replica_id: ReplicaId) -> Sequence[FillFile]:
        stub = self.line.stub()
        request = pb.ListFilesRequest(engine=engine, replica_id=replica_id.bytes)
        found = await self._all(
            stub.list_files(request, timeout=CALL), CALL, MAX_FILES, lambda part: [*map(wire.file_from, part.files)]
        )
        self._each_once([file.index for file in found], "a file")
        self._each_once([file.disk_path for file in found], "a place")
        return found

    def _each_once(self, things: Sequence[object], what: str) -> None:
        with failures(self.node_id, 0):
            if len(set(things)) != len(things):
                raise InvalidArgument(f"it names {what} twice")

    async def verify(self, replica_id: ReplicaId, files: Sequence[EntryFile]) -> Mapping[int, Bytes | None]:
        found: dict[int, Bytes | None] = {}
        for start in range(0, max(len(files), 1), VERIFIED_AT_ONCE):
            part = files[start : start + VERIFIED_AT_ONCE]
            request = pb.VerifyRequest(
                replica_id=replica_id.bytes, files=[wire.file_to_verify_message(file) for file in part]
            )
            answer = await self._verify(request)
            found |= self._read(
                lambda answer=answer, part=part: wire.verified_from(answer, {f.index for f in part})  # type: ignore[misc]
            )
        return found

    async def _verify(self, request: pb.VerifyRequest) -> pb.VerifyResponse:
        stub = self.line.stub()
        return await self._ask(lambda **kw: stub.verify(request, **kw), CALL)

    async def stat(self, replica_id: ReplicaId, paths: Sequence[str]) -> Sequence[StoredFile | None]:
        stub = self.line.stub()
        found: list[StoredFile | None] = []
        for start in range(0, len(paths), VERIFIED_AT_ONCE):
            part = paths[start : start + VERIFIED_AT_ONCE]
            request = pb.StatRequest(replica_id=replica_id.bytes, paths=[v.path_bytes(path) for path in part])
            answer = await self._ask(lambda request=request, **kw: stub.stat(request, **kw), CALL)
            found += self._read(lambda answer=answer, part=part: wire.stated_from(answer, part))  # type: ignore[misc]
        return found

    async def checksum(self, replica_id: ReplicaId, path: str, algorithm: str) -> str:
        stub = self.line.stub()
        request = pb.ChecksumRequest(replica_id=replica_id.bytes, path=v.path_bytes(path), algorithm=algorithm)
        found = await self._ask(lambda **kw: stub.checksum(request, **kw), CHECKSUM)

        def read() -> str:
            if not _HEX.fullmatch(found.hex_digest):
                raise InvalidArgument("no digest")
            return found.hex_digest

        return self._read(read)

    async def pause(self, engine: EngineName, replica_id: ReplicaId) -> bool:
        stub = self.line.stub()
        request = pb.PauseRequest(engine=engine, replica_id=replica_id.bytes)
        return (await self._ask(lambda **kw: stub.pause(request, **kw), CALL)).held

    async def resume(self, engine: EngineName, replica_id: ReplicaId) -> None:
        stub = self.line.stub()
        request = pb.ResumeRequest(engine=engine, replica_id=replica_id.bytes)
        await self._ask(lambda **kw: stub.resume(request, **kw), CALL)

    async def select(self, engine: EngineName, replica_id: ReplicaId, selection: Set[int] | None) -> bool:
        stub = self.line.stub()
        request = pb.SelectRequest(
            engine=engine, replica_id=replica_id.bytes, selection=wire.selection_message(selection)
        )  # fmt: skip
        return (await self._ask(lambda **kw: stub.select(request, **kw), CALL)).taken

    async def limit(
        self, engine: EngineName, replica_id: ReplicaId, *, down: BytesPerSecond | None, up: BytesPerSecond | None
    ) -> None:
        stub = self.line.stub()
        request = wire.limit_message(engine, replica_id, down, up)
        await self._ask(lambda **kw: stub.limit(request, **kw), CALL)

    async def cancel(self, engine: EngineName, replica_id: ReplicaId) -> None:
        stub = self.line.stub()
        request = pb.CancelRequest(engine=engine, replica_id=replica_id.bytes)
        await self._ask(lambda **kw: stub.cancel(request, **kw), CALL)

    async def forget(self, engine: EngineName, replica_id: ReplicaId) -> None:
        stub = self.line.stub()
        request = pb.ForgetRequest(engine=engine, replica_id=replica_id.bytes)
        await self._ask(lambda **kw: stub.forget(request, **kw), CALL)

    async def delete(self, engine: EngineName, replica_id: ReplicaId) -> Bytes:
        stub = self.line.stub()
        request = pb.DeleteRequest(engine=engine, replica_id=replica_id.bytes)
        found = await self._ask(lambda **kw: stub.delete(request, **kw), DELETE)
        return self._read(lambda: v.size(found.freed, "freed"))

    async def inventory(self) -> Sequence[ReplicaId]:
        stub = self.line.stub()
        found = await self._all(
            stub.inventory(pb.InventoryRequest(), timeout=CALL), CALL, MAX_REPLICAS,
            lambda part: [*map(v.replica_id, part.replica_ids)],
        )  # fmt: skip
        return tuple(dict.fromkeys(found))

    async def claims(self, url: str) -> EngineName | None:
        stub = self.line.stub()
        found = await self._ask(lambda **kw: stub.claims(pb.ClaimsRequest(url=url), **kw), CALL)
        return self._read(lambda: None if found.engine is None else v.engine_name(found.engine))

    async def sniff(self, source: Source, options: Mapping[str, str]) -> Sniffed | None:
        stub = self.line.stub()
        request = pb.SniffRequest(source=wire.source_message(source), options=dict(options))
        found = await self._ask(lambda **kw: stub.sniff(request, **kw), CALL)
        return self._read(lambda: wire.sniffed_from(found))

    async def resolve_cache_key(
        self, engine: EngineName, source: Source, options: Mapping[str, str]
    ) -> KeyResolution | None:
        stub = self.line.stub()
        request = pb.ResolveCacheKeyRequest(engine=engine, source=wire.source_message(source), options=dict(options))
        found = await self._ask(lambda **kw: stub.resolve_cache_key(request, **kw), RESOLVE)
        return self._read(lambda: wire.resolution_from(found, engine))

    async def probe(
        self, engine: EngineName, source: Source, options: Mapping[str, str], *, torrent: bytes | None,
        deadline: Seconds,
    ) -> ProbeResult:  # fmt: skip
        stub = self.line.stub()
        request = pb.ProbeRequest(
            engine=engine, source=wire.source_message(source), options=dict(options), torrent=torrent,
            deadline_s=deadline,
        )  # fmt: skip
        found = await self._ask(lambda **kw: stub.probe(request, **kw), Seconds(deadline + PROBE_SLACK))
        return self._read(lambda: wire.probe_from(found, engine))

    async def peers(self, engine: EngineName, replica_id: ReplicaId) -> Sequence[Peer]:
        stub = self.line.stub()
        request = pb.PeersRequest(engine=engine, replica_id=replica_id.bytes)
        found = await self._ask(lambda **kw: stub.peers(request, **kw), CALL)
        return self._read(lambda: wire.peers_from(found.peers))

    async def raw_status(self, engine: EngineName, replica_id: ReplicaId) -> Mapping[str, str | int | float | bool]:
        stub = self.line.stub()
        request = pb.RawStatusRequest(engine=engine, replica_id=replica_id.bytes)
        found = await self._ask(lambda **kw: stub.raw_status(request, **kw), CALL)
        return self._read(lambda: wire.raw_from(found))

    async def read(
        self, replica_id: ReplicaId, path: str, *, offset: int, length: int
    ) -> AsyncGenerator[bytes, None]:
        request = pb.ReadFileRequest(
            replica_id=replica_id.bytes, path=v.path_bytes(path), offset=offset, length=length
        )  # fmt: skip
        parts = self.line.stub().read_file(request, timeout=READ)
        left = length
        async with _closing(parts) as arriving:
            while True:
                with failures(self.node_id, PART):
                    async with asyncio.timeout(PART):
                        part = await anext(arriving, None)
                    if part is not None and not 0 < len(part.data) <= left:
                        raise InvalidArgument("other bytes than were asked for")
                if part is None:
                    return
                left -= len(part.data)
                yield part.data

    async def write(self, replica_id: ReplicaId, path: str, *, offset: int, data: bytes) -> None:
        stub = self.line.stub()
        request = pb.WriteFileRequest(
            replica_id=replica_id.bytes, path=v.path_bytes(path), offset=offset, data=data
        )  # fmt: skip
        await self._ask(lambda **kw: stub.write_file(request, **kw), PART)

    def option_specs(self) -> Mapping[EngineName, Sequence[OptionSpec]]:
        told = self.line.announced
        return {} if told is None else {engine.name: engine.options for engine in told.engines}

    def refuses_torrent(self, engine: EngineName, torrent: TorrentInfo) -> str | None:
        return judged_torrent(self.line, engine, torrent, self.judges)

    def validate_options(self, engine: EngineName, options: Mapping[str, str]) -> Mapping[str, str]:
        return judged_options(self.line, engine, options, self.judges)


@contextlib.asynccontextmanager
async def _closing(parts: AsyncIterator[T]) -> AsyncIterator[AsyncIterator[T]]:
    """The parts, and an end of the call when not all are taken."""
    try:
        yield parts
    finally:
        close: Any = getattr(parts, "aclose", None)
        if close is not None:
            # what remains of a call that failed is told by the failure
            with contextlib.suppress(Exception):
                await close()


