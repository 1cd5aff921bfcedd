"""The life of an http, https or ftp replica: ask the origin, let aria2 fetch, ask again, compare.

aria2 compares nothing: an origin that changes between two of its connections gives one file made of two versions,
which it reports as complete. So what the origin says is kept with the bytes, and bytes whose origin says something
else now are thrown away.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from oddaemon.domain.failure import Failure, FailureCode, Retry
from oddaemon.domain.types import Bytes, ReplicaId, Seconds
from oddaemon.engines.aria2 import disk
from oddaemon.engines.aria2.downloads import Downloads, ask_of
from oddaemon.engines.aria2.fill import Fill, Stage
from oddaemon.engines.aria2.ftp import ask_ftp
from oddaemon.engines.aria2.jar import Jar
from oddaemon.engines.aria2.mapping import failure_of, number
from oddaemon.engines.aria2.memory import Memory, Remembered
from oddaemon.engines.aria2.origin import DEADLINE, Ask, FillFailed, Origin, OriginProbe

log = logging.getLogger(__name__)

_ANEW_LIMIT = 2
"""How often a changed origin is fetched anew before the failure is left to the caller's waits."""
_LAST_LOOK = Seconds(5)
"""For the comparison at the end. All bytes being there, a completed download is not held back for long."""
_LAST_LOOKS = 2
_DECODED = frozenset({"gzip", "deflate"})
"""What aria2 takes off; it would store `x-gzip` as it comes."""
_OF_ORIGIN = frozenset({
    FailureCode.ORIGIN_BUSY, FailureCode.ORIGIN_ERROR, FailureCode.ORIGIN_DENIED, FailureCode.ORIGIN_GONE,
    FailureCode.ORIGIN_CHANGED, FailureCode.NETWORK, FailureCode.TIMEOUT, FailureCode.SHORT_READ,
})  # fmt: skip
"""With several connections aria2 tells the end of the last one only, and never Retry-After: the origin is asked."""
_PAGE_NAMES = (".html", ".htm", ".xhtml")


class UrlFills:
    def __init__(self, downloads: Downloads, probe: OriginProbe, memory: Memory, patience: Seconds) -> None:
        """`patience`: how long a silent origin is waited for."""
        self._downloads = downloads
        self._probe = probe
        self._memory = memory
        self._deadline = Seconds(min(DEADLINE, patience))
        self._jar = Jar()
        self._given: dict[ReplicaId, int] = {}
        """The generation of the aria2c that was given it last."""
        self._notes: dict[ReplicaId, bytes] = {}
        """The last whole control file of each unfinished replica: aria2 spoils it when the disk is full."""

    async def begin(self, fill: Fill, version: str, now: float) -> None:
        """Returns when aria2 has it, or when nothing is left to fetch. Raises FillFailed."""
        directory = fill.request.directory
        fill.stage = Stage.CHECKING
        known = await asyncio.to_thread(self._memory.load, fill.replica)
        if known.origin is not None:
            fill.learn_origin(known.origin)
            size = await asyncio.to_thread(disk.size_of, directory / fill.names[1])
            if size is not None and size == known.finished.get(1):
                fill.complete({1: size})
                return
        ask = ask_of(fill, version)
        origin = await self.ask(ask)
        if origin.encoding and origin.encoding not in _DECODED:
            message = f"the origin sends the file only in the encoding {origin.encoding!r}"
            raise FillFailed(Failure(code=FailureCode.UNSUPPORTED, message=message))
        _refuse_page(fill, known.origin, origin)
        if await self._ended_aria2(fill):
            await self._probe.ask(ask, deadline=self._deadline, insist=True, whole=True)
        fill.learn_origin(origin)
        before, use_head = known.origin, False
        await asyncio.to_thread(self._mend, fill)
        if origin.by_head and before is not None and await asyncio.to_thread(disk.has_control_file, directory):
            # to go on, aria2 first asks for the whole file, takes the length from the answer and hangs up; a HEAD
            # spares that, where HEAD and GET tell the same
            first_byte = await self.ask(ask, insist=True)
            _refuse_page(fill, origin, first_byte)
            use_head = first_byte.length == origin.length
            if not first_byte.ranged:
                before = None
        kept = await asyncio.to_thread(self._prepare, fill, before, origin)
        if origin.length == 0:
            await asyncio.to_thread(disk.make_empty_files, directory, [fill.names[1]])
            await self._completed(fill, origin, 0)
        elif kept is not None:
            # aria2 had finished, and the end came before the last comparison; this is that comparison
            await self._completed(fill, origin, kept)
        else:
            if (daemon := self._downloads.daemon) is not None:
                if origin.etag is None and origin.last_modified is None:
                    self._jar.clean(ask, origin, daemon)
                self._jar.note(fill, ask, origin, daemon)
                self._given[fill.replica] = daemon.generation
            await self._downloads.fetch_url(fill, ask, origin, use_head=use_head)
            fill.stage, fill.moved_at = Stage.LOADING, now

    async def note(self, fill: Fill) -> None:
        """Keeps a copy of what aria2 has noted on disk about a download that runs."""
        data = await asyncio.to_thread(disk.read_control, fill.request.directory / fill.names[1])
        if data is not None:
            self._notes[fill.replica] = data

    def forget(self, replica: ReplicaId) -> None:
        self._notes.pop(replica, None)
        self._given.pop(replica, None)

    async def _ended_aria2(self, fill: Fill) -> bool:
        """Whether aria2c may have ended for what this origin tells when it is asked as aria2 asks: it did so before
        anything came of it."""
        daemon, given = self._downloads.daemon, self._given.get(fill.replica)
        if daemon is None or given is None or given == daemon.generation or fill.request.source.uri.startswith("ftp:"):
            return False
        return not await asyncio.to_thread(disk.has_control_file, fill.request.directory)

    def _mend(self, fill: Fill) -> None:
        """Puts the last whole control file in the place of a spoilt one; without one the bytes are lost. Blocking."""
        directory = fill.request.directory
        if not disk.has_control_file(directory) or disk.control_is_whole(directory):
            return
        noted = self._notes.get(fill.replica)
        log.warning(
            "a control file is spoilt",
            extra={"action": "aria2.mend", "replica": str(fill.replica), "mended": noted is not None},
        )
        if noted is None:
            disk.clear(directory)
        else:
            disk.write_control(directory / fill.names[1], noted)

    def _prepare(self, fill: Fill, before: Origin | None, origin: Origin) -> int | None:
        """Keeps the bytes that may be continued, removes any others. The size of a file that aria2 had finished."""
        directory = fill.request.directory
        size = disk.size_of(directory / fill.names[1])
        partial = disk.has_control_file(directory)
        usable = before is not None and size is not None and origin.continues(before)
        # without a control file nobody knows which parts are there, unless it is all of them
        if usable and (partial or size == origin.length):
            self._memory.save(fill.replica, Remembered(origin=origin))
            return None if partial else size
        # memory first: should the end come between the two, the bytes are no longer believed
        self._memory.save(fill.replica, Remembered(origin=origin))
        if size is not None or not disk.is_empty(directory):
            log.info(
                "bytes that cannot be continued are dropped",
                extra={"action": "aria2.drop", "replica": str(fill.replica), "size": size},
            )
            disk.clear(directory)
        return None

    async def settle(self, fill: Fill, row: Mapping[str, Any], version: str, now: float) -> None:
        """aria2 says that it is complete. Raises FillFailed."""
        fill.stage = Stage.SETTLING
        fill.still()
        await self._downloads.take_back(fill)
        directory, before = fill.request.directory, fill.origin
        assert before is not None
        size = await asyncio.to_thread(disk.size_of, directory / fill.names[1])
        if size is None or await asyncio.to_thread(disk.has_control_file, directory):
            raise FillFailed(
                Failure(code=FailureCode.SHORT_READ, message="the file is not complete", retry=Retry.PASSING)
            )
        ask = ask_of(fill, version)
        whole = before.length == size
        # a HEAD without a length has told nothing of what aria2 got
        after = await self._last_look(fill, ask, whole=whole, insist=before.by_head and before.length is None)
        fits = whole or before.length is None
        if fits and (after is None or not after.changed_since(before)):
            await self._completed(fill, before, size)
            return
        # some origins tell one length in a HEAD and another in a GET: then the GET counts
        after = await self._last_look(fill, ask, whole=whole, insist=True)
        told = replace(before, length=None)
        if (
            after is not None
            and not after.changed_since(told)
            and after.length == size == number(row, "totalLength")
        ):
            await self._completed(fill, replace(before, length=Bytes(size)), size)
            return
        await self._anew(fill, size, after, version, now)

    async def explain(self, fill: Fill, row: Mapping[str, Any], version: str, now: float) -> None:
        """aria2 gave up. Raises FillFailed, unless the download has begun anew."""
        fill.stage = Stage.SETTLING
        fill.still()
        await self._downloads.take_back(fill)
        failure = failure_of(row)
        if failure.code in _OF_ORIGIN:
            try:
                # by GET, as aria2 has asked: a HEAD may know nothing of a link that has expired
                _refuse_page(fill, fill.origin, await self.ask(ask_of(fill, version), insist=True))
            except FillFailed as refused:
                failure = refused.failure
        if failure.code is FailureCode.ORIGIN_CHANGED:
            await self._anew(fill, None, None, version, now)
            return
        if failure.retry is Retry.AFRESH:
            await asyncio.to_thread(self._memory.save, fill.replica, Remembered())
        raise FillFailed(failure)

    async def hung(self, fill: Fill, timeout: Seconds) -> None:
        """No byte for so long. Raises FillFailed."""
        fill.stage = Stage.SETTLING
        await self._downloads.take_back(fill)
        raise FillFailed(
            Failure(code=FailureCode.TIMEOUT, message=f"no byte came for {timeout:g} s", retry=Retry.PASSING)
        )

    async def ask(self, ask: Ask, *, deadline: Seconds | None = None, insist: bool = False) -> Origin:
        """Raises FillFailed."""
        deadline = self._deadline if deadline is None else deadline
        if ask.url.startswith("ftp:"):
            return await ask_ftp(ask, deadline=deadline)
        return await self._probe.ask(ask, deadline=deadline, insist=insist)

    async def _last_look(self, fill: Fill, ask: Ask, *, whole: bool, insist: bool) -> Origin | None:
        """None: the origin does not tell any more. Bytes that are all there are not thrown away for that, as links
        that work once or for minutes are common. `whole`: as many bytes as were declared are there. Raises FillFailed
        if they are not and what comes now is an error page: it may be what aria2 got."""
        for _ in range(_LAST_LOOKS):
            try:
                now = await self.ask(ask, deadline=_LAST_LOOK, insist=insist)
            except FillFailed as refused:
                log.info(
                    "the origin cannot be compared at the end",
                    extra={"action": "aria2.compare", "replica": str(fill.replica), "problem": refused.failure.message},
                )
                if refused.failure.retry is Retry.LASTING:
                    return None
            else:
                if whole and _is_error_page(fill, fill.origin, now):
                    return None
                _refuse_page(fill, fill.origin, now)
                return now
        return None

    async def _anew(self, fill: Fill, size: int | None, after: Origin | None, version: str, now: float) -> None:
        fill.anew += 1
        log.warning(
            "the origin changed during the download",
            extra={"action": "aria2.changed", "replica": str(fill.replica), "size": size, "times": fill.anew},
        )
        await asyncio.to_thread(self._memory.save, fill.replica, Remembered())
        if (daemon := self._downloads.daemon) is not None and fill.origin is not None:
            self._jar.clean(ask_of(fill, version), fill.origin, daemon)
        if fill.anew <= _ANEW_LIMIT:
            fill.done, fill.file_done = 0, {}
            await self.begin(fill, version, now)
            return
        before = fill.origin
        if before is not None and size is not None and before.length not in (None, size) and (
            after is None or not after.changed_since(before)
        ):  # fmt: skip
            message = f"the origin declared {before.length} bytes and sent {size}"
            raise FillFailed(Failure(code=FailureCode.SHORT_READ, message=message, retry=Retry.AFRESH))
        raise FillFailed(
            Failure(
                code=FailureCode.ORIGIN_CHANGED,
                message="the file at the origin keeps changing while it is fetched",
                retry=Retry.AFRESH,
            )
        )

    async def _completed(self, fill: Fill, origin: Origin, size: int) -> None:
        fill.learn_origin(origin)
        await asyncio.to_thread(self._memory.save, fill.replica, Remembered(origin=origin, finished={1: size}))
        self.forget(fill.replica)
        fill.complete({1: size})


def _is_error_page(fill: Fill, before: Origin | None, now: Origin) -> bool:
    """Whether the origin sends an HTML page where it had a file: many answer so when a link has expired, a quota is
    used up or a login is wanted. `before`: what it said earlier, if it was asked."""
    if not now.is_page or (fill.request.source.name or "").lower().endswith(_PAGE_NAMES):
        return False
    return not fill.request.may_be_page if before is None else not before.is_page


def _refuse_page(fill: Fill, before: Origin | None, now: Origin) -> None:
    """Raises FillFailed if it is an error page. The bytes of the file are kept: the page may go as it came."""
    if _is_error_page(fill, before, now):
        raise FillFailed(
            Failure(
                code=FailureCode.ORIGIN_ERROR,
                message="the origin sends an HTML page in place of the file",
                retry=Retry.PASSING,
                hint="the link may have expired, or want a login; add it with `-e aria2` if the page is wanted",
            )
        )
