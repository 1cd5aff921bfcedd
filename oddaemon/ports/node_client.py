"""Everything a controller asks of a node: local and remote alike."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence, Set
from dataclasses import dataclass
from typing import Protocol

from oddaemon.domain.cache import EntryFile
from oddaemon.domain.node import NodeSnapshot
from oddaemon.domain.source import Source
from oddaemon.domain.torrent import TorrentInfo
from oddaemon.domain.types import Bytes, BytesPerSecond, EngineName, Handle, NodeId, ReplicaId, Seconds
from oddaemon.ports.engine import FillFile, FillStatus, KeyResolution, OptionSpec, Peer, ProbeResult, Sniffed
from oddaemon.ports.storage import StoredFile

MAX_WRITE = 1 << 20
"""Bytes that one `write` takes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Dispatch:
    """A replica to fill. As `ports.engine.FillRequest`, without the node's own paths."""

    replica_id: ReplicaId
    engine: EngineName
    source: Source
    options: Mapping[str, str]
    torrent: bytes | None = None
    selection: Set[int] | None = None
    may_be_page: bool = True
    max_rate_down: BytesPerSecond | None = None
    max_rate_up: BytesPerSecond | None = None
    handle: Handle | None = None
    """Set when it was dispatched before: the engine recovers it."""
    afresh: bool = False
    """Empty the directory first."""
    keep: Set[str] = frozenset()
    """The files in it that stay all the same: they are somebody's."""
    recheck: bool = False
    """What the engine knows of the bytes on disk is not to be believed: every piece is checked, and repaired."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeStatuses:
    """One round of statuses; of a worker's, who may say anything, a caller takes only replicas that are placed there.
    `down` names the engines that could not answer, with their message: what they work on is
    then unknown, not gone."""

    statuses: Mapping[ReplicaId, FillStatus]
    down: Mapping[EngineName, str]


class NodeClient(Protocol):
    """Every method has a deadline and raises NodeUnavailable when the node cannot be reached."""

    @property
    def node_id(self) -> NodeId: ...

    async def snapshot(self) -> NodeSnapshot:
        """Engines, health and disk as they are now."""

    async def dispatch(self, order: Dispatch) -> Handle:
        """Makes the directory and hands the replica to its engine. Idempotent. Raises StorageMissing, StorageFailed,
        NoSpace, EngineUnavailable, EngineFailed (with a Failure), InvalidOption."""

    async def statuses(self) -> NodeStatuses:
        """All replicas in batches: one question per engine, however many replicas."""

    async def list_files(self, engine: EngineName, replica_id: ReplicaId) -> Sequence[FillFile]: ...

    async def verify(self, replica_id: ReplicaId, files: Sequence[EntryFile]) -> Mapping[int, Bytes | None]:
        """The size on disk of each file by index, None where there is no regular file, or a control file says that it
        is incomplete. Raises StorageMissing."""

    async def checksum(self, replica_id: ReplicaId, path: str, algorithm: str) -> str:
        """Hex digest of a file, read in a thread. Raises NotFound."""

    async def pause(self, engine: EngineName, replica_id: ReplicaId) -> bool:
        """True: the engine holds it and `resume` goes on. False: the engine has no pause, it was cancelled keeping
        its bytes, and a new `dispatch` goes on."""

    async def resume(self, engine: EngineName, replica_id: ReplicaId) -> None: ...

    async def select(self, engine: EngineName, replica_id: ReplicaId, selection: Set[int] | None) -> bool:
        """True: taken over while running. False: the engine cannot; it takes effect at the next dispatch."""

    async def limit(
        self, engine: EngineName, replica_id: ReplicaId, *, down: BytesPerSecond | None, up: BytesPerSecond | None
    ) -> None: ...

    async def cancel(self, engine: EngineName, replica_id: ReplicaId) -> None:
        """Stops, keeps the bytes."""

    async def forget(self, engine: EngineName, replica_id: ReplicaId) -> None:
        """The engine is done with a finished replica; its files stay."""

    async def delete(self, engine: EngineName, replica_id: ReplicaId) -> Bytes:
        """Stops the engine's work on it, then deletes the directory; the bytes freed. Idempotent."""

    async def inventory(self) -> Sequence[ReplicaId]:
        """Which replicas have a directory on this node's disk."""

    async def claims(self, url: str) -> EngineName | None:
        """The engine, if any, one of whose own extractors wants this URL."""

    async def sniff(self, source: Source, options: Mapping[str, str]) -> Sniffed | None:
        """What the origin of an http(s) URL says of it; None when no engine here can ask. Raises EngineFailed with a
        Failure."""

    async def resolve_cache_key(
        self, engine: EngineName, source: Source, options: Mapping[str, str]
    ) -> KeyResolution | None: ...

    async def probe(
        self, engine: EngineName, source: Source, options: Mapping[str, str], *, torrent: bytes | None,
        deadline: Seconds,
    ) -> ProbeResult: ...  # fmt: skip

    async def peers(self, engine: EngineName, replica_id: ReplicaId) -> Sequence[Peer]: ...

    async def raw_status(self, engine: EngineName, replica_id: ReplicaId) -> Mapping[str, str | int | float | bool]:
        """As ports.engine.OutspokenEngine says it; empty for an engine that is none."""

    async def stat(self, replica_id: ReplicaId, paths: Sequence[str]) -> Sequence[StoredFile | None]:
        """What lies on the disk, in the order of the paths; None where there is no regular file. Raises
        StorageMissing."""

    def read(self, replica_id: ReplicaId, path: str, *, offset: int, length: int) -> AsyncGenerator[bytes, None]:
        """The bytes of a file from `offset` on, at most `length` of them, in parts; an end before that is the file's.
        `path` is a disk path. Close it when not all is wanted. Raises NotFound, StorageMissing, StorageFailed."""

    async def write(self, replica_id: ReplicaId, path: str, *, offset: int, data: bytes) -> None:
        """Puts bytes of a copy into its file, which ends behind them then; the directory is made. At most MAX_WRITE of
        them. Raises InvalidArgument, also for an offset behind the file's end, StorageMissing, StorageFailed,
        NoSpace."""

    def option_specs(self) -> Mapping[EngineName, Sequence[OptionSpec]]:
        """Of every engine that the node has, as far as it has told. No I/O, and raises nothing."""

    def refuses_torrent(self, engine: EngineName, torrent: TorrentInfo) -> str | None:
        """Why the engine cannot download this torrent; None if it can. From what the node announced."""

    def validate_options(self, engine: EngineName, options: Mapping[str, str]) -> Mapping[str, str]:
        """From the capabilities that the node announced; no I/O. Raises InvalidOption, Unsupported (no such engine)."""
