"""The files that a node serves, between it and its controller: what each has to know of the other, whatever carries it.

A node follows the news of its controller: first everything that its file server has to know, then every change, in
order. It acknowledges what it has done. Each piece of news, an empty one too, is a word of the controller, and a node
that hears none stops serving after a while."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

from oddaemon.domain.day_left import Counted, DayLeft
from oddaemon.domain.link import LinkContent, LinkUse
from oddaemon.domain.types import Bytes, LinkId, NodeId, ReplicaId, Seconds


@dataclass(frozen=True, slots=True, kw_only=True)
class FilesThere:
    """What a node tells of its file server."""

    instance: str
    """Of the node's process: reports of use are numbered within one."""
    endpoint: str | None = None
    """What links to it begin with; None: nobody but the controller can reach it."""
    near: str | None = None
    """host:port on the loopback, for a controller on the same machine."""
    unheard: Seconds = Seconds(600)
    """For how long it serves without a word."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FilesNews:
    number: int
    whole: bool = False
    """With this one everything was told that there was to know when it began. True of all later ones."""
    keys: tuple[bytes, ...] = ()
    """Those that links are signed with from now on, newest first; empty: as before."""
    revoked: Mapping[LinkId, datetime] = field(default_factory=dict)
    """Links that are refused from now on, with their expiry."""
    day: DayLeft | None = None
    """What the links of users may still give; None: as before."""
    counted: int = 0
    """Up to which of the node's reports that counts what was given."""
    removed: bool = False
    """The node is not one any more: it serves nothing from now on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class UsageReport:
    """What links were used for and gave. One that is sent again, since no answer came, has the same number and says
    the same."""

    instance: str
    number: int
    """From 1 on."""
    links: Mapping[LinkId, tuple[int, Bytes]]


class FilesAtController(Protocol):
    """What a node's file server asks and tells its controller. Every method has a deadline and raises NodeUnavailable
    when the controller cannot be reached."""

    def follow_files(self, told: FilesThere) -> AsyncGenerator[FilesNews, None]:
        """Until the connection is lost, or the controller ends it. Close it when no more is wanted."""

    async def files_heard(self, number: int) -> None:
        """All news up to this one are done."""

    async def link_content(self, link_id: LinkId, replica_id: ReplicaId, file_index: int) -> LinkContent:
        """See services.link_serving. Raises NotFound, NotReady."""

    async def use_link(self, link_id: LinkId, client: str, *, continued: bool) -> LinkUse:
        """Whether a link with limits may be used now."""

    async def files_gone(self, replica_id: ReplicaId) -> None:
        """A recorded file was not found."""

    async def report_usage(self, report: UsageReport) -> None:
        """It is stored, once."""


class FileDesk(Protocol):
    """The controller's side. Who calls is proven before; a node learns of nothing but its own links, and what it
    says of others is passed over."""

    def follow_files(self, node_id: NodeId, told: FilesThere, *, near: bool) -> AsyncGenerator[FilesNews, None]:
        """`near`: the node's connection comes from this machine itself. A node's newest one ends the one before."""

    async def files_heard(self, node_id: NodeId, number: int) -> None: ...

    async def link_content(
        self, node_id: NodeId, link_id: LinkId, replica_id: ReplicaId, file_index: int
    ) -> LinkContent:
        """Raises NotFound, for another node's link, too; NotReady."""

    async def use_link(self, node_id: NodeId, link_id: LinkId, client: str, *, continued: bool) -> LinkUse: ...

    async def files_gone(self, node_id: NodeId, replica_id: ReplicaId) -> None: ...

    async def report_usage(self, node_id: NodeId, report: UsageReport) -> None: ...


class FileServing(Protocol):
    """A file server of this process, as who keeps it up to date needs it."""

    @property
    def counted(self) -> Counted:
        """Up to which of its reports what each process gave was taken."""

    async def revoke(self, links: Mapping[LinkId, datetime]) -> None:
        """When this returns none of them is served any more. Values are expiries."""

    async def rekey(self, keys: Sequence[bytes]) -> None:
        """When this returns nothing is served that none of these keys signed."""

    def allot(self, day: DayLeft, as_of: Counted) -> None:
        """What the links of users may still give, as of what `counted` was."""

    async def serve_for(self, seconds: float) -> None:
        """Links are served for so long from now, and no longer. 0: when this returns nothing is served any more."""
