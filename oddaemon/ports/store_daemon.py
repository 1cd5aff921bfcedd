"""What a daemon keeps of itself: settings, secrets, the record of events, nodes. Read with `ports.store`."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import datetime
from typing import Any, Protocol

from oddaemon.domain.events import Event
from oddaemon.domain.join_token import KeptToken
from oddaemon.domain.node import NodeMarks, NodeSnapshot
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
    def upsert(self, node: NodeSnapshot, at: datetime) -> None:
        """Of a node that is there its marks stay as they are: those are changed by `mark` alone."""

    def mark(self, node_id: NodeId, marks: NodeMarks) -> None:
        """Raises NotFound."""

    def all(self) -> Sequence[NodeSnapshot]:
        """The controller's own first."""

    def get(self, node_id: NodeId) -> NodeSnapshot | None: ...

    def delete(self, node_id: NodeId) -> bool:
        """With its credential. Whether there was one."""

    def credential(self, node_id: NodeId) -> bytes | None: ...

    def put_credential(self, node_id: NodeId, credential: bytes, *, token_id: str, at: datetime) -> None:
        """Another one from now on. The node has to exist."""

    def confirm_credential(self, node_id: NodeId) -> None:
        """The node has it: it has shown that it does."""

    def unconfirmed(self, token_id: str) -> Sequence[NodeId]:
        """Nodes that joined with that token and have not shown yet that they have their credential."""


class JoinTokenRepository(Protocol):
    def insert(self, token: KeptToken) -> None: ...

    def get(self, token_id: str) -> KeptToken | None: ...

    def all(self) -> Sequence[KeptToken]:
        """Oldest first, those that are not good any more too."""

    def use(self, token_id: str, at: datetime) -> bool:
        """Counts one use. False when there is no such token or it is not good any more: of any number of users of a
        single-use token at once, one gets True."""

    def delete(self, token_id: str) -> bool:
        """Whether there was one."""

    def trim(self, expired_before: datetime) -> int: ...
