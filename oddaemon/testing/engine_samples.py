"""What an engine is tried with."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Set
from dataclasses import dataclass, field
from pathlib import Path
from uuid import uuid4

from oddaemon.domain.source import Source
from oddaemon.domain.types import BytesPerSecond, ReplicaId
from oddaemon.ports.engine import Engine, FillRequest

STOP_LIMIT = 20.0
"""Seconds for `stop`, and for whatever else may not take long."""
ADD_LIMIT = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """Something to download, and what has to come of it."""

    source: Source
    contents: Mapping[int, bytes] = field(default_factory=dict)
    """The bytes of each file by its index; empty when they cannot be told beforehand."""
    options: Mapping[str, str] = field(default_factory=dict)
    torrent: bytes | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineHarness:
    """What the suite needs to know of an engine."""

    build: Callable[[Path], Engine]
    """An engine that is not started and keeps what it keeps in this directory (exists, 0700, one engine at a time). The
    same directory again means: the same engine after a restart."""
    small: Sample
    """Done within seconds. Several replicas of it may run at a time."""
    slow: Sample
    """Takes between 4 and 30 s, bytes arriving all the time."""
    broken: Sample
    """Fails for good: the origin does not have it, or the like."""
    several: Sample | None = None
    """At least three files, done within seconds: for engines that select."""
    unlimited: Sample | None = None
    """At least 8 MiB that arrive in under a second when nothing limits them: for engines that limit rates."""
    claimed_url: str = ""
    """For engines that claim URLs."""
    served: Callable[[], int] | None = None
    """Bytes of bodies that the origin has sent until now: shows that a resumed download does not begin again."""
    fetched_twice: int = 256 * 1024
    """What may be fetched again at a resume, in bytes."""
    patience: float = 40.0
    """Seconds after which something that should have happened has not."""


def private(directory: Path) -> Path:
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    return directory


def a_request(
    sample: Sample,
    downloads: Path,
    *,
    selection: Set[int] | None = None,
    max_rate_down: BytesPerSecond | None = None,
) -> FillRequest:
    replica_id = ReplicaId(uuid4())
    return FillRequest(
        replica_id=replica_id,
        directory=private(downloads / str(replica_id)),
        source=sample.source,
        options=sample.options,
        torrent=sample.torrent,
        selection=selection,
        max_rate_down=max_rate_down,
    )
