"""What services hand to the faces: stored things joined with live figures. The same for every face."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from oddaemon.domain.admission import Allowance
from oddaemon.domain.cache import CacheEntry, EntryFile, Replica
from oddaemon.domain.errors import OpenDebridError
from oddaemon.domain.job import Job
from oddaemon.domain.link import Link, LinkState
from oddaemon.domain.node import EngineHealth, NodeSnapshot
from oddaemon.domain.types import Bytes, BytesPerSecond, EngineName, JobNumber, NodeId, Seconds
from oddaemon.ports.engine import MediaFormat, OptionSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class AddOrder:
    """One add, as a face received it. Nothing in it is trusted."""

    source: str = ""
    torrent: bytes | None = None
    torrent_name: str = ""
    engine: str = ""
    node: str = ""
    node_labels: Mapping[str, str] = field(default_factory=dict)
    files: str = ""
    options: Mapping[str, str] = field(default_factory=dict)
    name: str = ""
    tags: tuple[str, ...] = ()
    priority: int = 0
    paused: bool = False
    force: bool = False
    checksum: str = ""
    max_rate_down: int | None = None
    max_rate_up: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Live:
    """Figures that live in memory only."""

    done: Bytes = Bytes(0)
    rate_down: BytesPerSecond = BytesPerSecond(0)
    rate_up: BytesPerSecond = BytesPerSecond(0)
    eta: Seconds | None = None
    seeders: int | None = None
    peers: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class JobView:
    job: Job
    user: str
    source: str
    """Masked."""
    options: Mapping[str, str] = field(default_factory=dict)
    """Masked."""
    live: Live = field(default_factory=Live)
    progress: float = 0.0
    position: int | None = None
    placement: str = ""
    files_failed: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Selected:
    """One id of a selector: the job it names, or why it names none. Another user's job looks like none."""

    id: str
    job: Job | None = None
    error: OpenDebridError | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Removed:
    view: JobView
    freed: Bytes
    """What removing it frees now: 0 while someone else claims the content, or it is kept."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FileView:
    job: JobNumber
    file: EntryFile
    selected: bool
    done: Bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbeView:
    engine: EngineName
    name: str | None
    size: Bytes | None
    files: Sequence[EntryFile] = ()
    formats: Sequence[MediaFormat] = ()
    cache_key: str | None = None
    cache_hit: bool | None = None
    would_run_on: NodeId | None = None
    placement: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkView:
    link: Link
    state: LinkState
    job: JobNumber
    size: Bytes | None
    content_type: str
    url: str = ""
    """Only when it was just made: a token is shown once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheView:
    entry: CacheEntry
    replicas: Sequence[Replica]
    replica_sizes: Mapping[str, Bytes]
    """By replica id; empty in lists."""
    files: int
    jobs: Sequence[JobNumber]
    users: Sequence[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class CleanupItem:
    view: CacheView
    freed: Bytes
    error: OpenDebridError | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CleanupResult:
    items: Sequence[CleanupItem]
    freed: Bytes
    applied: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class UsageView:
    """What a user uses, beside what the user may use."""

    username: str
    allowance: Allowance
    running: int
    jobs: int
    """Unfinished ones."""
    stored: Bytes
    """What is charged, see domain.storage_account."""
    served_today: Bytes
    day_ends_at: datetime
    requests: int
    """Of the last minute; counted only where there is a limit."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SettingView:
    key: str
    value: Any
    default: Any
    source: str
    type: str
    description: str
    restart_required: bool = False
    editable: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineView:
    health: EngineHealth
    active: int
    options: Sequence[OptionSpec] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeView:
    node: NodeSnapshot
    engines: Sequence[EngineView]
    version: str
    reserve: Bytes
    jobs_active: int
    rate_down: BytesPerSecond
    rate_up: BytesPerSecond
    heartbeat_age: Seconds | None = None
    running_limit: int = 0
    """Downloads at once; 0: no limit."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Notice:
    """Something that needs the operator's eye."""

    code: str
    message: str
    hint: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class StatusView:
    started_at: datetime
    uptime: Seconds
    jobs: Mapping[str, int]
    rate_down: BytesPerSecond
    rate_up: BytesPerSecond
    nodes: Sequence[NodeView]
    notices: Sequence[Notice]
