"""A machine with engines and a disk, as the scheduler sees it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from oddaemon.domain.types import Bytes, EngineName, NodeId


@dataclass(frozen=True, slots=True, kw_only=True)
class DiskUsage:
    """Figures of the file system that holds the downloads."""

    total: Bytes
    free: Bytes
    """What an unprivileged process may still use."""
    present: bool = True
    """False when the sentinel is absent: the disk is not mounted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineHealth:
    name: EngineName
    ok: bool
    version: str | None = None
    message: str = ""
    max_concurrent: int = 0
    capabilities: Mapping[str, bool] = field(default_factory=dict)
    schemes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeSnapshot:
    """What a node says of itself at one moment."""

    id: NodeId
    name: str
    is_controller: bool
    online: bool
    disk: DiskUsage
    engines: tuple[EngineHealth, ...]
    file_endpoint: str | None = None
    draining: bool = False
    labels: Mapping[str, str] = field(default_factory=dict)
    disk_low: bool = False
    """The controller's judgement: the free space fell below the reserve, and is not well above it again."""

    @property
    def works(self) -> bool:
        """Whether it can be reached and has its disk."""
        return self.online and self.disk.present

    def has(self, labels: Mapping[str, str]) -> bool:
        """It has all of these labels."""
        return labels.items() <= self.labels.items()
