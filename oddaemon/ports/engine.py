"""What downloads a source into a replica's directory. Engines know replicas, never jobs or users.

Optional abilities are separate small Protocols, advertised in `Capabilities`; nobody raises "not implemented".
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Protocol, runtime_checkable

from oddaemon.domain.cache import CacheKey
from oddaemon.domain.failure import Failure
from oddaemon.domain.node import EngineHealth
from oddaemon.domain.source import Source
from oddaemon.domain.torrent import TorrentInfo
from oddaemon.domain.types import Bytes, BytesPerSecond, EngineName, Handle, ReplicaId, Seconds


@dataclass(frozen=True, slots=True, kw_only=True)
class OptionSpec:
    """One option that users may pass: its name, type and meaning. Everything that is not listed is refused."""

    name: str
    kind: str
    """`bool`, `int`, `size`, `duration`, `text`, `enum`."""
    description: str
    choices: tuple[str, ...] = ()
    changes_bytes: bool = False
    """Part of the cache key."""
    secret: bool = False
    """Credentials: stored apart, masked everywhere, erased when the replica is ready; makes the content private."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Capabilities:
    """What an engine can do. `custom` holds what only this engine has, for people to read."""

    schemes: tuple[str, ...]
    mime_types: tuple[str, ...] = ()
    playlists: bool = False
    streaming: bool = False
    probe: bool = False
    pause: bool = False
    select: bool = False
    rate_limit: bool = False
    claims_urls: bool = False
    custom: Mapping[str, bool] = field(default_factory=dict)
    options: tuple[OptionSpec, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class FillRequest:
    """Everything an engine needs to fill a replica's directory, made anew from the store each time."""

    replica_id: ReplicaId
    directory: Path
    """Absolute, exists, belongs to this replica alone; may hold what an earlier attempt left."""
    source: Source
    options: Mapping[str, str]
    """Validated by `validate_options`, secrets included."""
    torrent: bytes | None = None
    selection: Set[int] | None = None
    """Indices of the wanted files, counted from 1; None: all of them. An empty set, given only to engines that can
    select: find out which files there are, list them, and be COMPLETE without any."""
    may_be_page: bool = True
    """False: the origin sent a file, not an HTML page, when the engine was chosen. A page that comes in its place is a
    passing failure."""
    max_rate_down: BytesPerSecond | None = None
    max_rate_up: BytesPerSecond | None = None


class FillState(StrEnum):
    """How far an engine is with a replica."""

    QUEUED = "queued"
    ACTIVE = "active"
    PAUSED = "paused"
    COMPLETE = "complete"
    """The engine believes that every wanted file is there. Whether it is, is checked on disk."""
    FAILED = "failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class FillStatus:
    """A replica as its engine sees it. Rates, peers and seeders live in memory only."""

    replica_id: ReplicaId
    state: FillState
    engine_state: str | None = None
    """Free text for people: `metadata`, `downloading`, `postprocessing`, `checking`, `seeding`, …"""
    name: str | None = None
    total: Bytes | None = None
    """Of the wanted files; None while unknown."""
    done: Bytes = Bytes(0)
    rate_down: BytesPerSecond = BytesPerSecond(0)
    rate_up: BytesPerSecond = BytesPerSecond(0)
    eta: Seconds | None = None
    seeders: int | None = None
    peers: int | None = None
    files_rev: int = 0
    """0: the file list is not known yet. Grows whenever `list_files` would answer something new about which files
    there are, their sizes or which are finished; not for mere bytes."""
    failure: Failure | None = None
    """Set when FAILED."""
    private: bool = False
    """The torrent's private flag, once its metadata is known."""
    info_hash: str | None = None
    """The info-hash found in the metadata, when the source did not tell it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FillFile:
    """One file of a replica as its engine sees it. `path` is what its origin calls it, as given: not trusted."""

    index: int
    path: str
    disk_path: str
    """Below the replica's directory, chosen by the engine so that it is always a safe relative path."""
    size: Bytes | None
    done: Bytes
    finished: bool = False
    selected: bool = True
    failed: str | None = None
    content_type: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Peer:
    address: str
    client: str | None
    progress: float
    rate_down: BytesPerSecond
    rate_up: BytesPerSecond
    seeder: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyResolution:
    """Who the content is, found before the download."""

    key: CacheKey
    name: str | None = None
    size: Bytes | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class MediaFormat:
    id: str
    extension: str
    description: str
    size: Bytes | None = None
    video_codec: str | None = None
    audio_codec: str | None = None
    width: int | None = None
    height: int | None = None
    bitrate_kbps: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbeResult:
    """What a source would yield, without downloading it."""

    name: str | None
    size: Bytes | None
    files: Sequence[FillFile] = ()
    formats: Sequence[MediaFormat] = ()
    key: CacheKey | None = None


class Engine(Protocol):
    """One per node and kind. Every method may be cancelled at any await and leaves the engine usable."""

    @property
    def name(self) -> EngineName:
        """Constant, lower-case, usable in a URL."""

    @property
    def capabilities(self) -> Capabilities:
        """Constant after `start`."""

    async def start(self) -> None:
        """Returns when the engine can take work, or has settled into restarting its child in the background.

        Raises EngineUnavailable if it can never work here (program missing); health then says why.
        """

    async def stop(self) -> None:
        """Stops every child within 5 s, keeping the bytes. Idempotent; `start` may follow."""

    async def health(self) -> EngineHealth:
        """Never raises; answers within 2 s."""

    def validate_options(self, options: Mapping[str, str]) -> Mapping[str, str]:
        """The options in normal form. Raises InvalidOption naming the option, why, and what is allowed. No I/O."""

    async def add(self, request: FillRequest) -> Handle:
        """Begins (or goes on) filling the directory, and answers without waiting for the download.

        Idempotent: for a replica that the engine already works on it returns the same handle and starts nothing.
        Bytes that an earlier attempt left in the directory are used, unless the origin changed meanwhile.
        A replica that failed before may be added again. Raises EngineUnavailable when the child is down, EngineFailed
        when the source can never be started, InvalidOption for options it does not take.
        """

    async def recover(self, handle: Handle, request: FillRequest) -> Handle:
        """As `add`, after a restart: takes up what the stored handle points at if it is still there, else adds it
        again. An unreadable or older handle is treated as absent, never an error."""

    async def statuses(self) -> Mapping[ReplicaId, FillStatus]:
        """All replicas that the engine works on or has ended and not been told to forget, in one question to the
        engine. A replica that is absent is not known to it (any more). Raises EngineUnavailable when the child is
        down."""

    async def list_files(self, replica_id: ReplicaId) -> Sequence[FillFile]:
        """The files as known now, in index order; empty while unknown or when the replica is unknown."""

    async def cancel(self, replica_id: ReplicaId) -> None:
        """Stops and forgets the replica, keeping its bytes so that a later `add` goes on. When it returns no process
        and no open descriptor of the engine touches the directory. Unknown replica: no effect."""

    async def remove(self, replica_id: ReplicaId) -> None:
        """As `cancel`, and forgets everything the engine keeps outside the directory. The caller deletes the
        directory afterwards."""

    async def resolve_cache_key(self, source: Source, options: Mapping[str, str]) -> KeyResolution | None:
        """The key of the content before the download; may do I/O and take its time. None: only known while
        downloading. Raises EngineFailed with a Failure in `details["failure"]`."""


@runtime_checkable
class PausingEngine(Protocol):
    """Can hold a replica without forgetting it."""

    async def pause(self, replica_id: ReplicaId) -> None:
        """Stops transferring; the status becomes PAUSED. Idempotent. Unknown replica: no effect."""

    async def resume(self, replica_id: ReplicaId) -> None:
        """Undoes `pause`. Idempotent. Unknown replica: no effect."""


@runtime_checkable
class SelectingEngine(Protocol):
    """Can change which files of a running replica are wanted."""

    async def select(self, replica_id: ReplicaId, selection: Set[int] | None) -> None:
        """Takes effect soon, keeps the bytes. A file that is no longer wanted may stay incomplete. Idempotent."""


@runtime_checkable
class RateLimitingEngine(Protocol):
    """Can change the speed limits of a running replica."""

    async def limit(
        self, replica_id: ReplicaId, *, down: BytesPerSecond | None, up: BytesPerSecond | None
    ) -> None:
        """None lifts the limit. Idempotent. Unknown replica: no effect."""


@runtime_checkable
class ProbingEngine(Protocol):
    """Can tell what a source would yield without downloading it."""

    async def probe(
        self, source: Source, options: Mapping[str, str], *, torrent: bytes | None, deadline: Seconds
    ) -> ProbeResult:
        """Stores and keeps nothing. Raises EngineFailed, or DeadlineExceeded after `deadline`."""


@runtime_checkable
class ClaimingEngine(Protocol):
    """Knows which http(s) URLs are its own."""

    async def claims(self, url: str) -> bool:
        """Whether one of its extractors other than a generic one wants this URL. No network."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sniffed:
    """What an origin says of a URL. None: it does not say."""

    content_type: str | None = None
    """Lower-case, without parameters."""
    size: Bytes | None = None


@runtime_checkable
class SniffingEngine(Protocol):
    """Can ask an http(s) origin what kind of thing a URL is."""

    async def sniff(self, source: Source, options: Mapping[str, str], *, deadline: Seconds) -> Sniffed:
        """What the origin answers (HEAD, falling back to a ranged GET). Options that the engine does not know are
        another's and left aside. Raises EngineFailed with a Failure, or DeadlineExceeded."""


@runtime_checkable
class TorrentEngine(Protocol):
    """Downloads torrents."""

    def refuses_torrent(self, torrent: TorrentInfo, version: str | None = None) -> str | None:
        """Why this torrent cannot be downloaded: its version, or a name in it; None if it can. `version` is of the
        engine that would do it, on whichever node; None: this one's. No I/O."""

    async def forget(self, replica_id: ReplicaId) -> None:
        """As `cancel`, and forgets everything it knows of the bytes on disk: the next start checks each piece. A
        magnet's metadata is kept until `remove`, so that the check needs no swarm."""


@runtime_checkable
class PeeringEngine(Protocol):
    """Downloads from peers."""

    async def peers(self, replica_id: ReplicaId) -> Sequence[Peer]:
        """The connected peers now; empty when unknown."""


@runtime_checkable
class OutspokenEngine(Protocol):
    """Tells in its own words how a download is."""

    async def raw_status(self, replica_id: ReplicaId) -> Mapping[str, str | int | float | bool]:
        """What the program behind the engine says of it now, by the program's own names, for people who look for a
        mistake. No address, path, header or other secret; empty when unknown."""


def failure_of(error: BaseException) -> Failure | None:
    """The Failure that an EngineFailed carries, if it does."""
    details = getattr(error, "details", None)
    found = details.get("failure") if isinstance(details, dict) else None
    return found if isinstance(found, Failure) else None
