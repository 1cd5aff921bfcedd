"""What a daemon keeps of itself: settings, secrets, the record of events, nodes. Read with `ports.store`."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import datetime
from typing import Any, Protocol

from oddaemon.domain.events import Event
from oddaemon.domain.node import NodeSnapshot
from oddaemon.domain.types import JobId, NodeId, UserId


class SettingRepository(Protocol):
    def all(self) -> Mapping[str, Any]: ...

    def put(self, key: str, value: Any, at: datetime) -> None: ...

    def delete(self, key: str) -> None: ...


class SecretRepository(Protocol):
    def get_or_create(self, name: str, make: Callable[[], bytes]) -> bytes:
        """An installation's own secret (link master key, …), made on first use. Never in a list, log or backup view."""

    def put(self, name: str, value: bytes) -> None:
        """Another value from now on."""


class EventRepository(Protocol):
    def add(self, event: Event) -> Event:
        """Durable ones get their `seq`; all are published after the commit."""

    def after(
        self, seq: int, *, limit: int, types: Collection[str] = (), user_id: UserId | None = None
    ) -> Sequence[Event]: ...

    def of_job(self, job_id: JobId, *, limit: int) -> Sequence[Event]:
        """The newest rows of one job, oldest first."""

    def oldest_seq(self) -> int:
        """The smallest sequence number still kept; 0 when there is none."""

    def newest_seq(self) -> int: ...

    def trim(self, before: datetime) -> int: ...


class NodeRepository(Protocol):
    def upsert(self, node: NodeSnapshot, at: datetime) -> None: ...

    def all(self) -> Sequence[NodeSnapshot]: ...

    def get(self, node_id: NodeId) -> NodeSnapshot | None: ...
