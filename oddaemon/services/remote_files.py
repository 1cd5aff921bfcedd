"""The file servers of other nodes, on their controller: told what they have to know, and answered what they ask.

A node follows: it is told everything once, then every change, and acknowledges. What is revoked counts as done when
the node has said so; one that does not within a second is let go, and has to begin anew before it is believed again. A
node that follows is heard, one that does not serves on for a while by itself (`node.serve_unheard` there)."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import datetime
from itertools import islice

from oddaemon.domain.day_left import Counted, DayLeft
from oddaemon.domain.errors import NotFound
from oddaemon.domain.link import LinkContent, LinkUse
from oddaemon.domain.types import Bytes, LinkId, NodeId, ReplicaId, Seconds
from oddaemon.ports.clock import Clock
from oddaemon.ports.node_files import FileDesk, FilesNews, FilesThere, UsageReport
from oddaemon.ports.store import Store, Transaction
from oddaemon.services.file_servers import FileServers, FilesOnNode

log = logging.getLogger(__name__)

ACK_SECONDS = 1.0
WORD_SECONDS = Seconds(20)
"""Between two words to a node to which there is nothing to tell; less for one that serves on for less than a minute."""
MOST_WAITING = 10_000
"""Pieces of news that a node has not taken yet; one that takes none begins anew."""
LONGEST_UNHEARD = Seconds(86_400)
"""For which a node can be set to serve without a word: assumed of one that has told nothing since the start."""
LINKS_AT_ONCE = 5_000
REPORTS_KEPT = 16
"""Instances of a node of which the last report is known."""


@dataclass(eq=False, slots=True)
class _Follower:
    told: FilesThere
    near: bool
    waiting: deque[FilesNews] = field(default_factory=deque)
    news: asyncio.Event = field(default_factory=asyncio.Event)
    heard: asyncio.Condition = field(default_factory=asyncio.Condition)
    number: int = 0
    """Of the last piece of news."""
    done: int = 0
    is_over: bool = False

    def put(self, news: FilesNews) -> int:
        self.number += 1
        self.waiting.append(replace(news, number=self.number))
        if len(self.waiting) > MOST_WAITING:
            self.is_over = True
        self.news.set()
        return self.number

    async def acknowledged(self, number: int) -> None:
        async with self.heard:
            await self.heard.wait_for(lambda: self.done >= number or self.is_over)

    async def end(self) -> None:
        self.is_over = True
        self.news.set()
        async with self.heard:
            self.heard.notify_all()


@dataclass(slots=True)
class FilesOfNode(FilesOnNode):
    """One node's file server. Stays while its connections come and go."""

    node_id: NodeId
    clock: Clock
    left_at: Seconds
    """When it was last told anything, on the monotonic clock, while nobody follows."""
    unheard: Seconds = LONGEST_UNHEARD
    follower: _Follower | None = None
    reports: dict[str, int] = field(default_factory=dict)
    """The last that was stored, by instance."""

    @property
    def near(self) -> str | None:
        """host:port of its file server, if that can be reached on this machine."""
        return self.follower.told.near if self.follower is not None and self.follower.near else None

    async def revoke(self, links: Mapping[LinkId, datetime]) -> Seconds | None:
        for part in _parts(links):
            if not await self._tell(FilesNews(number=0, revoked=part)):
                return self._serves_for()
        return None

    def _serves_for(self) -> Seconds | None:
        """For how long it may serve by itself yet; None: no more."""
        silent = self.clock.monotonic() - self.left_at
        return Seconds(self.unheard - silent) if silent < self.unheard else None

    def follows(self, follower: _Follower) -> None:
        self.follower, self.unheard = follower, follower.told.unheard

    def left(self, follower: _Follower) -> None:
        if self.follower is follower:
            self.follower, self.left_at = None, self.clock.monotonic()

    async def rekey(self, keys: Sequence[bytes]) -> None:
        await self._tell(FilesNews(number=0, keys=tuple(keys)))

    async def _tell(self, news: FilesNews) -> bool:
        """Whether it has said that it knows."""
        follower = self.follower
        if follower is None:
            return False  # it is told when it is back, from the store
        number = follower.put(news)
        try:
            async with asyncio.timeout(ACK_SECONDS):
                await follower.acknowledged(number)
        except TimeoutError:
            log.warning(
                "a node does not take what its file server must know",
                extra={"action": "files_behind", "node": self.node_id},
            )
            self.left_at = self.clock.monotonic()
            await follower.end()
        return follower.done >= number

    def counted(self) -> int:
        """The number of the last report that was stored, of the program that is there now."""
        return 0 if self.follower is None else self.reports.get(self.follower.told.instance, 0)

    def allot(self, day: DayLeft, counted: int) -> None:
        if self.follower is not None:
            self.follower.put(FilesNews(number=0, day=day, counted=counted))


@dataclass(slots=True)
class RemoteFiles(FileDesk):
    """`content` and the like are those of services.link_serving; `gone` is told of a replica of which a file is not
    there."""

    store: Store
    servers: FileServers
    local: NodeId
    """Whose file server relays."""
    content: Callable[[LinkId, ReplicaId, int], Awaitable[LinkContent]]
    use: Callable[[LinkId, str, bool], Awaitable[LinkUse]]
    record: Callable[[Mapping[LinkId, tuple[int, Bytes]]], Awaitable[None]]
    gone: Callable[[ReplicaId], Awaitable[None]]
    nodes: dict[NodeId, FilesOfNode] = field(default_factory=dict)
    _day: tuple[DayLeft, Counted] | None = None
    _recording: asyncio.Lock = field(default_factory=asyncio.Lock)

    def of(self, node_id: NodeId) -> FilesOfNode:
        if node_id not in self.nodes:
            clock = self.servers.clock
            self.nodes[node_id] = FilesOfNode(node_id, clock, left_at=clock.monotonic())
        return self.nodes[node_id]

    def take(self, node_id: NodeId, endpoint: str | None = None) -> None:
        """Links can be made to what lies on this node, whether it is there at the moment or not."""
        if endpoint:
            self.servers.serve_on(node_id, endpoint, self.of(node_id))
        else:
            self.servers.relay(node_id, self.local, self.of(node_id))

    async def remove(self, node_id: NodeId) -> None:
        """The node is not one any more: from now on its file server gives nothing, if it can be told."""
        self.servers.serves_no_more(node_id)
        found = self.nodes.pop(node_id, None)
        if found is not None and found.follower is not None:
            number = found.follower.put(FilesNews(number=0, removed=True))
            with suppress(TimeoutError):
                async with asyncio.timeout(ACK_SECONDS):
                    await found.follower.acknowledged(number)
            await found.follower.end()

    def counted(self) -> Counted:
        return {node_id: node.counted() for node_id, node in self.nodes.items()}

    def allot(self, day: DayLeft, counted: Counted) -> None:
        """What the links of users may still give, on whatever node."""
        self._day = day, counted
        for node_id, node in self.nodes.items():
            node.allot(day, counted.get(node_id, 0))

    # what nodes call

    async def follow_files(self, node_id: NodeId, told: FilesThere, *, near: bool) -> AsyncGenerator[FilesNews, None]:
        node = self.of(node_id)
        if node.follower is not None:
            await node.follower.end()
        # from here on changes wait; what was changed before is in what is read now
        follower = _Follower(told, near)
        node.follows(follower)
        self.take(node_id, told.endpoint)
        try:
            async for news in self._whole(node_id):
                yield news
            while not follower.is_over:
                change = await _next(follower)
                if change is None:
                    return
                yield change
        finally:
            node.left(follower)
            await follower.end()

    async def _whole(self, node_id: NodeId) -> AsyncGenerator[FilesNews, None]:
        """All that it has to know. Numbers go on from here: what was changed meanwhile comes behind."""
        keys = (await self.servers.node_key(node_id),)
        revoked = await self.servers.revoked()
        for part in _parts(revoked):
            yield FilesNews(number=0, revoked=part)
        day, counted = self._day or (None, {})
        yield FilesNews(number=0, whole=True, keys=keys, day=day, counted=counted.get(node_id, 0))

    async def files_heard(self, node_id: NodeId, number: int) -> None:
        node = self.nodes.get(node_id)
        if node is not None and node.follower is not None:
            follower = node.follower
            async with follower.heard:
                follower.done = max(follower.done, min(number, follower.number))
                follower.heard.notify_all()

    async def link_content(
        self, node_id: NodeId, link_id: LinkId, replica_id: ReplicaId, file_index: int
    ) -> LinkContent:
        def is_theirs(tx: Transaction) -> bool:
            link, replica = tx.links.get(link_id), tx.cache.replica(replica_id)
            return link is not None and replica is not None and node_id == link.node_id == replica.node_id

        if not await self.store.read(is_theirs):
            raise NotFound("the link is gone")
        return replace(await self.content(link_id, replica_id, file_index), is_elsewhere=False)

    async def use_link(self, node_id: NodeId, link_id: LinkId, client: str, *, continued: bool) -> LinkUse:
        if not await self.store.read(lambda tx: _is_link_of(tx, link_id, node_id)):
            return LinkUse.USED_UP
        return await self.use(link_id, client, continued)

    async def files_gone(self, node_id: NodeId, replica_id: ReplicaId) -> None:
        replica = await self.store.read(lambda tx: tx.cache.replica(replica_id))
        if replica is not None and replica.node_id == node_id:
            await self.gone(replica_id)

    async def report_usage(self, node_id: NodeId, report: UsageReport) -> None:
        node = self.of(node_id)
        async with self._recording:
            if report.number <= node.reports.get(report.instance, 0):
                return  # its answer was lost
            ids = list(report.links)
            theirs = await self.store.read(lambda tx: {one for one in ids if _is_link_of(tx, one, node_id)})
            if theirs:
                await self.record({link: used for link, used in report.links.items() if link in theirs})
            node.reports.pop(report.instance, None)
            node.reports[report.instance] = report.number
            for old in list(node.reports)[:-REPORTS_KEPT]:
                del node.reports[old]


async def _next(follower: _Follower) -> FilesNews | None:
    """A word in any case; None: it is over."""
    if not follower.waiting:
        follower.news.clear()
        with suppress(TimeoutError):
            async with asyncio.timeout(max(min(WORD_SECONDS, follower.told.unheard / 3), 1)):
                await follower.news.wait()
    if follower.waiting:
        return replace(follower.waiting.popleft(), whole=True)
    return None if follower.is_over else FilesNews(number=follower.number, whole=True)


def _parts(links: Mapping[LinkId, datetime]) -> Iterator[Mapping[LinkId, datetime]]:
    left = iter(links.items())
    while part := dict(islice(left, LINKS_AT_ONCE)):
        yield part


def _is_link_of(tx: Transaction, link_id: LinkId, node_id: NodeId) -> bool:
    link = tx.links.get(link_id)
    return link is not None and link.node_id == node_id
