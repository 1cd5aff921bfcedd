"""A machine with engines and a disk, as the scheduler sees it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime

from oddaemon.domain.types import Bytes, EngineName, Fraction, NodeId, Seconds

MISSED = 3
"""So many heartbeats in a row that do not come mean that a node is offline."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Liveness:
    """The values of the settings `nodes.heartbeat_every` and `nodes.grace`."""

    heartbeat_every: Seconds = Seconds(5)
    grace: Seconds = Seconds(600)
    """For how long an offline node's downloads wait for it before they are placed elsewhere."""

    @property
    def silence(self) -> Seconds:
        """After so long without a word a node is offline."""
        return Seconds(MISSED * self.heartbeat_every)


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeLimits:
    """What an admin set for one node. None: as for every node."""

    running: int | None = None
    """Downloads at once; 0 means no limit."""
    min_disk_free: Bytes | None = None
    weight: float | None = None
    """Its part of the work under the balancer `weighted`; before the node's own label of that name."""


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
class NodeMarks:
    """What an admin decided of a node. Kept over its restarts, and never the node's to say."""

    draining: bool = False
    """Nothing new starts there; what runs goes on, and files are served."""
    set_labels: Mapping[str, str] = field(default_factory=dict)
    limits: NodeLimits = NodeLimits()


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeSnapshot:
    """What a node says of itself at one moment, and what its controller knows of it."""

    id: NodeId
    name: str
    is_controller: bool
    online: bool
    disk: DiskUsage
    engines: tuple[EngineHealth, ...]
    file_endpoint: str | None = None
    draining: bool = False
    labels: Mapping[str, str] = field(default_factory=dict)
    """As the node announced them."""
    disk_low: bool = False
    """The controller's judgement: the free space fell below the reserve, and is not well above it again."""
    offline_since: datetime | None = None
    """The controller's judgement, by its own clock; None while the node is online."""
    limits: NodeLimits = NodeLimits()
    """What an admin set, as `draining` is: a node has no say in it."""
    set_labels: Mapping[str, str] = field(default_factory=dict)
    """An admin's: they go before the node's own."""
    software: str = ""
    """Its version; empty for one that has not told yet."""
    load: Fraction | None = None
    """Of the last minute, as a share of the cores. Not stored."""

    @property
    def works(self) -> bool:
        """Whether it can be reached and has its disk."""
        return self.online and self.disk.present

    @property
    def all_labels(self) -> Mapping[str, str]:
        """The node's own, and the admin's before them."""
        return {**self.labels, **self.set_labels}

    def has(self, labels: Mapping[str, str]) -> bool:
        """It has all of these labels."""
        return labels.items() <= self.all_labels.items()

    @property
    def marks(self) -> NodeMarks:
        return NodeMarks(draining=self.draining, set_labels=self.set_labels, limits=self.limits)

    def marked(self, marks: NodeMarks) -> NodeSnapshot:
        """The same node with an admin's marks."""
        return replace(self, draining=marks.draining, set_labels=marks.set_labels, limits=marks.limits)
