"""One replica in the engine's memory: how far it is, and how that is shown. No I/O."""

from __future__ import annotations

import asyncio
import hashlib
import mimetypes
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, field, replace
from enum import Enum, auto
from typing import Any

from oddaemon.domain.failure import Failure
from oddaemon.domain.source import SourceKind
from oddaemon.domain.torrent import TorrentInfo
from oddaemon.domain.types import Bytes, BytesPerSecond, ReplicaId, Seconds
from oddaemon.engines.aria2.disk import disk_name_of_url, disk_names_of_torrent
from oddaemon.engines.aria2.mapping import number
from oddaemon.engines.aria2.origin import Origin
from oddaemon.ports.engine import FillFile, FillRequest, FillState, FillStatus

_FILE_NAME = "file"


class Stage(Enum):
    WAITING = auto()
    """Another replica has the same torrent in aria2."""
    CHECKING = auto()
    """The origin is asked, the disk is looked at."""
    METADATA = auto()
    """aria2 fetches a magnet's metadata."""
    LOADING = auto()
    """aria2 fetches the content."""
    SETTLING = auto()
    """aria2 is done, well or not: what came of it is found out."""
    PAUSED = auto()
    COMPLETE = auto()
    FAILED = auto()


_SHOWN: Mapping[Stage, tuple[FillState, str | None]] = {
    Stage.WAITING: (FillState.QUEUED, "waiting for the same torrent"),
    Stage.CHECKING: (FillState.ACTIVE, "checking"),
    Stage.METADATA: (FillState.ACTIVE, "metadata"),
    Stage.LOADING: (FillState.ACTIVE, "downloading"),
    Stage.SETTLING: (FillState.ACTIVE, "checking"),
    Stage.PAUSED: (FillState.PAUSED, None),
    Stage.COMPLETE: (FillState.COMPLETE, None),
    Stage.FAILED: (FillState.FAILED, None),
}


PHASES = ("meta", "data")


def gid_of(replica: ReplicaId, phase: str) -> str:
    """aria2's name for a phase of a replica: 16 hex digits, the same at every start, never zero."""
    return hashlib.sha256(b"aria2:" + phase.encode() + b":" + replica.bytes).hexdigest()[:15] + "1"


@dataclass(slots=True, kw_only=True)
class Fill:
    """Changed by the engine's tasks only, one at a time under the replica's lock or in `task`."""

    request: FillRequest
    stage: Stage = Stage.CHECKING
    task: asyncio.Task[None] | None = None
    """What works on it now apart from aria2."""
    gid: str | None = None
    """aria2 may know it under this name."""
    attached: bool = False
    """aria2 has confirmed that it does."""
    generation: int = 0
    """Of the aria2c that was given it."""
    failure: Failure | None = None
    origin: Origin | None = None
    info: TorrentInfo | None = None
    names: dict[int, str] = field(default_factory=dict)
    """Names on disk by index."""
    wanted: tuple[int, ...] = ()
    """Indices of the selected files, in order; empty while unknown or if the selection names none."""
    torrent_total: int = 0
    """Of the selected files of a torrent."""
    done: int = 0
    loaded: int = 0
    """Length of the content as aria2 knows it; 0 while unknown."""
    verifying: bool = False
    seeding: bool = False
    rate_down: int = 0
    rate_up: int = 0
    seeders: int | None = None
    peers: int | None = None
    file_done: dict[int, int] = field(default_factory=dict)
    finished: set[int] = field(default_factory=set)
    files_rev: int = 0
    files_at: float = 0.0
    """When the list of files is asked for next, by the monotonic clock."""
    moved_at: float = 0.0
    """When the last byte came."""
    noted_at: float = 0.0
    """When what aria2 has noted on disk was looked at last."""
    anew: int = 0
    """How often it was begun anew because the origin changed or the result was wrong."""

    @property
    def replica(self) -> ReplicaId:
        return self.request.replica_id

    @property
    def is_torrent(self) -> bool:
        return self.request.source.kind is not SourceKind.URL

    @property
    def busy(self) -> bool:
        return self.task is not None and not self.task.done()

    @property
    def total(self) -> Bytes | None:
        """Of the wanted files."""
        if self.info is not None:
            return Bytes(self.torrent_total)
        if self.origin is not None and self.origin.length is not None:
            return self.origin.length
        return Bytes(self.loaded) if self.loaded or self.stage is Stage.COMPLETE else None

    def choose(self, selection: Set[int] | None) -> None:
        """Changes which files are wanted."""
        self.request = replace(self.request, selection=selection)
        self.wanted = tuple(index for index in self.names if selection is None or index in selection)
        if self.info is not None:
            wanted = set(self.wanted)
            self.torrent_total = sum(file.size for file in self.info.files if file.index in wanted)
            self.files_rev += 1

    def learn_torrent(self, info: TorrentInfo) -> None:
        if self.info is None:
            self.info = info
            self.names = disk_names_of_torrent(info)
            self.choose(self.request.selection)

    def learn_origin(self, origin: Origin) -> None:
        if self.origin != origin:
            self.files_rev += 1
        self.origin = origin
        self.names = {1: disk_name_of_url(self.request.source.name)}

    def observe(self, row: Mapping[str, Any], now: float) -> None:
        """Takes over the figures of a download that runs."""
        done = number(row, "completedLength")
        # aria2 counts in blocks of 16 KiB, and shows a rate for some seconds after the last byte
        if done != self.done or (self.rate_down and self.request.max_rate_down):
            self.moved_at = now
        self.rate_down, self.rate_up = number(row, "downloadSpeed"), number(row, "uploadSpeed")
        self.verifying = "verifiedLength" in row or row.get("verifyIntegrityPending") == "true"
        if self.is_torrent:
            self.seeders, self.peers = number(row, "numSeeders"), number(row, "connections")
        if self.stage is not Stage.LOADING:
            return
        self.done = done
        loaded = number(row, "totalLength")
        if loaded != self.loaded and self.info is None and (self.origin is None or self.origin.length is None):
            self.files_rev += 1
        self.loaded = loaded
        if len(self.names) == 1:
            self.file_done = dict.fromkeys(self.names, done)

    def still(self) -> None:
        """Nothing moves any more."""
        self.rate_down = self.rate_up = 0
        self.seeders = self.peers = None
        self.verifying = self.seeding = False

    def complete(self, sizes: Mapping[int, int]) -> None:
        """Every wanted file was found on disk with these sizes."""
        self.stage, self.failure = Stage.COMPLETE, None
        if self.info is None:
            self.loaded = sizes[1]
        self.done = sum(sizes.values())
        self.file_done.update(sizes)
        self.finished.update(sizes)
        self.files_rev += 1

    def fail(self, failure: Failure) -> None:
        self.stage, self.failure = Stage.FAILED, failure
        self.still()

    def status(self) -> FillStatus:
        state, engine_state = _SHOWN[self.stage]
        if self.stage is Stage.LOADING and self.verifying:
            engine_state = "checking"
        if self.stage is Stage.COMPLETE and self.seeding:
            engine_state = "seeding"
        total = self.total
        left = None if total is None or self.stage is not Stage.LOADING else max(0, total - self.done)
        return FillStatus(
            replica_id=self.replica,
            state=state,
            engine_state=engine_state,
            name=self._name(),
            total=total,
            done=Bytes(self.done),
            rate_down=BytesPerSecond(self.rate_down),
            rate_up=BytesPerSecond(self.rate_up),
            eta=Seconds(left / self.rate_down) if left is not None and self.rate_down else None,
            seeders=self.seeders,
            peers=self.peers,
            files_rev=self.files_rev,
            failure=self.failure,
            private=self.info is not None and self.info.private,
            info_hash=None if self.info is None else self.info.info_hash,
        )

    def files(self) -> Sequence[FillFile]:
        if self.info is not None:
            return files_of_torrent(self.info, self.names, self)
        if self.origin is None:
            return ()
        guessed = mimetypes.guess_type(self._name() or "")[0]
        return (
            FillFile(
                index=1,
                path=self._name() or _FILE_NAME,
                disk_path=self.names[1],
                size=self.total,
                done=Bytes(self.file_done.get(1, 0)),
                finished=1 in self.finished,
                content_type=self.origin.content_type or guessed,
            ),
        )

    def _name(self) -> str | None:
        if self.info is not None:
            return self.info.name
        if self.origin is not None and self.origin.name:
            return self.origin.name
        return self.request.source.name


def files_of_torrent(info: TorrentInfo, names: Mapping[int, str], fill: Fill | None = None) -> Sequence[FillFile]:
    """`fill`: what is known of its progress."""
    wanted = set(names if fill is None else fill.wanted)
    return tuple(
        FillFile(
            index=file.index,
            path=file.path,
            disk_path=names[file.index],
            size=file.size,
            done=Bytes(0 if fill is None else fill.file_done.get(file.index, 0)),
            finished=fill is not None and file.index in fill.finished,
            selected=file.index in wanted,
            content_type=mimetypes.guess_type(file.path)[0],
        )
        for file in info.files
    )
