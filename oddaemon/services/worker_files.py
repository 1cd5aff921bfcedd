"""A worker's file server between its processes and the controller: it has no store, so it asks, and serves by what it
was told for as long as it hears its controller, and a while longer."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from contextlib import aclosing
from dataclasses import dataclass, field
from itertools import islice

from oddaemon.domain.day_left import Counted
from oddaemon.domain.errors import NodeUnavailable, OpenDebridError, Unavailable
from oddaemon.domain.link import LinkContent, LinkUse
from oddaemon.domain.types import Bytes, LinkId, ReplicaId, Seconds
from oddaemon.ports.clock import Clock
from oddaemon.ports.node_files import FilesAtController, FileServing, FilesNews, FilesThere, UsageReport

log = logging.getLogger(__name__)

AGAIN_SECONDS = Seconds(2)
"""Before the controller is asked anew for what it did not tell."""
REPORT_SECONDS = Seconds(1)
LINKS_AT_ONCE = 5_000
MOST_LINKS = 100_000
"""Whose use is kept while the controller is away; that of more is lost."""


@dataclass(slots=True)
class _Outbox:
    """What links gave, until the controller has stored it. One report is under way at a time, and goes as it is until
    it has arrived: nothing counts twice, whatever answer is lost."""

    instance: str
    counted: Callable[[], Counted]
    links: dict[LinkId, tuple[int, Bytes]] = field(default_factory=dict)
    report: UsageReport | None = None
    number: int = 0
    """Of the last report that was stored."""
    stored: dict[int, Counted] = field(default_factory=dict)
    """By report: what the processes had told when it was made."""
    bell: asyncio.Event = field(default_factory=asyncio.Event)

    def add(self, usage: Mapping[LinkId, tuple[int, Bytes]]) -> None:
        for link, (accesses, sent) in usage.items():
            before = self.links.get(link, (0, Bytes(0)))
            if link in self.links or len(self.links) < MOST_LINKS:
                self.links[link] = before[0] + accesses, Bytes(before[1] + sent)
        self.bell.set()

    async def send(self, controller: FilesAtController) -> None:
        """All that there is. Raises NodeUnavailable."""
        while self.report is not None or self.links:
            if self.report is None:
                part = dict(islice(self.links.items(), LINKS_AT_ONCE))
                for link in part:
                    del self.links[link]
                self.report = UsageReport(instance=self.instance, number=self.number + 1, links=part)
                # what is not in this part yet is taken off once more, until the next one has arrived
                self.stored[self.number + 1] = self.counted()
            await controller.report_usage(self.report)
            self.number, self.report = self.report.number, None
            for old in [number for number in self.stored if number < self.number - 100]:
                del self.stored[old]


@dataclass(slots=True)
class WorkerFiles:
    """`serve` once, `follow` while there is a connection; the rest is for the file server."""

    clock: Clock
    there: FilesThere
    server: FileServing | None = None
    controller: FilesAtController | None = None
    _outbox: _Outbox = field(init=False)

    def __post_init__(self) -> None:
        self._outbox = _Outbox(self.there.instance, lambda: {} if self.server is None else self.server.counted)

    def serve(self, server: FileServing, there: FilesThere) -> None:
        """It is up."""
        self.server, self.there = server, there

    # the connection

    async def follow(self, controller: FilesAtController) -> None:
        """Keeps the file server up to date until it is cancelled, whatever the controller answers."""
        self.controller = controller
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._report(controller), name="use of links")
                while True:
                    try:
                        await self._follow(controller)
                    except OpenDebridError as error:
                        log.info("no news for files", extra={"action": "files_unheard", "error": error.message})
                    await self.clock.sleep(AGAIN_SECONDS)
        finally:
            if self.controller is controller:
                self.controller = None

    async def refused(self) -> None:
        """The controller does not know this node (any more): nothing is served until it does."""
        if self.server is not None:
            await self.server.serve_for(0)

    async def _follow(self, controller: FilesAtController) -> None:
        async with aclosing(controller.follow_files(self.there)) as following:
            async for news in following:
                await self._heed(news)
                if news.number:
                    await controller.files_heard(news.number)

    async def _heed(self, news: FilesNews) -> None:
        server = self.server
        if server is None:
            return
        if news.removed:
            await server.serve_for(0)
            return
        if news.revoked:
            await server.revoke(news.revoked)
        if news.keys:
            await server.rekey(news.keys)
        if news.day is not None:
            server.allot(news.day, self._outbox.stored.get(news.counted, {}))
        if news.whole:
            await server.serve_for(self.there.unheard)

    async def _report(self, controller: FilesAtController) -> None:
        while True:
            await self._outbox.bell.wait()
            self._outbox.bell.clear()
            try:
                await self._outbox.send(controller)
            except OpenDebridError as error:
                self._outbox.bell.set()
                log.info("use of links not told", extra={"action": "usage_kept", "error": error.message})
            await self.clock.sleep(REPORT_SECONDS)

    # the file server

    async def look_up(self, link_id: LinkId, replica_id: ReplicaId, file_index: int) -> LinkContent:
        """Raises TimeoutError without a controller: what is known already counts then."""
        try:
            return await self._connected().link_content(link_id, replica_id, file_index)
        except Unavailable as error:
            raise TimeoutError from error

    async def on_use(self, link_id: LinkId, client: str, continued: bool) -> LinkUse:
        """Raises NodeUnavailable: without the controller no limited link is served."""
        try:
            return await self._connected().use_link(link_id, client, continued=continued)
        except Unavailable as error:
            raise NodeUnavailable("the controller cannot be asked") from error

    async def on_gone(self, replica_id: ReplicaId) -> None:
        try:
            await self._connected().files_gone(replica_id)
        except OpenDebridError as error:
            log.info("missing file not told", extra={"action": "gone_not_told", "error": error.message})

    async def on_usage(self, usage: Mapping[LinkId, tuple[int, Bytes]]) -> None:
        self._outbox.add(usage)

    def _connected(self) -> FilesAtController:
        if self.controller is None:
            raise NodeUnavailable("the controller is not connected")
        return self.controller
