"""The life of a magnet or torrent replica: metadata, then the selected files, then a look at the disk.

Two phases, because what aria2 makes of a magnet by itself gets a new name and loses its options at every restart.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Mapping
from typing import Any

from oddaemon.domain.errors import InvalidSource
from oddaemon.domain.failure import Failure, FailureCode, Retry
from oddaemon.domain.torrent import TorrentInfo, parse_torrent
from oddaemon.engines.aria2 import disk
from oddaemon.engines.aria2.downloads import Downloads
from oddaemon.engines.aria2.fill import Fill, Stage
from oddaemon.engines.aria2.mapping import failure_of
from oddaemon.engines.aria2.memory import Memory, Remembered
from oddaemon.engines.aria2.options import seeding_asked
from oddaemon.engines.aria2.origin import FillFailed
from oddaemon.engines.aria2.rpc import RpcRefused
from oddaemon.engines.aria2.turns import Turns

log = logging.getLogger(__name__)

_HYBRID_SINCE = (1, 37)
_REPAIRS = 1
_REFUSED_NAME = re.compile(r"[\x00-\x1f\x7f]|^/|/\Z|(?:^|/)\.\.?(?:/|\Z)")
"""What aria2 rejects in a name with its folder's (measured on 1.36), whatever it is stored as."""
_SHOWN = 80
_HASHED_AFTER_KILL = 2 * 2**30
"""Up to so many bytes, hashing what is there after a kill takes a few seconds, and saves the second's worth of bytes
that the control file does not know of."""


class TorrentFills:
    def __init__(self, downloads: Downloads, memory: Memory, turns: Turns) -> None:
        self._downloads = downloads
        self._memory = memory
        self._turns = turns

    async def begin(self, fill: Fill, version: str, now: float) -> None:
        """Returns when aria2 has it, or when nothing is left to fetch. Raises FillFailed."""
        request = fill.request
        fill.stage = Stage.CHECKING
        torrent = request.torrent
        if torrent is None:
            torrent = await asyncio.to_thread(self._memory.load_torrent, fill.replica)
        if torrent is None:
            assert request.source.info_hash is not None
            await self._take_turn(fill, request.source.info_hash)
            directory = await asyncio.to_thread(self._memory.meta_directory, fill.replica)
            await self._downloads.fetch_metadata(fill, str(directory))
            fill.stage = Stage.METADATA
            return
        fill.learn_torrent(await read_torrent(torrent, version, request.source.info_hash))
        await self._load(fill, torrent, now)

    async def _load(self, fill: Fill, torrent: bytes, now: float) -> None:
        info, wanted, directory = fill.info, fill.wanted, fill.request.directory
        assert info is not None
        assert info.info_hash is not None
        if fill.request.selection is not None and not fill.request.selection:
            # asked only which files there are
            fill.complete({})
            fill.still()
            self._turns.release(fill.replica)
            return
        if not wanted:
            raise FillFailed(
                Failure(code=FailureCode.BAD_SELECTION, message="the selection names no file of this torrent")
            )
        known = await asyncio.to_thread(self._memory.load, fill.replica)
        found = await asyncio.to_thread(disk.sizes_of, directory, fill.names)
        sizes = {file.index: int(file.size) for file in info.files}
        there = all(found.get(index) == sizes[index] == known.finished.get(index, -1) for index in wanted)
        if there:
            fill.complete({index: sizes[index] for index in wanted})
            if known.seeded or not seeding_asked(fill.request.options):
                return
            # from now on, so that nobody takes it for one whose seeding has ended
            fill.seeding = True
        elif fill.total == 0:
            await self._completed(fill)
            return
        await self._take_turn(fill, info.info_hash)
        # what was found complete is not hashed again at every restart, unless aria2 would offer what is not there
        whole = there and len(wanted) == max(fill.names)
        verify = not whole and await asyncio.to_thread(self._has_to_be_hashed, fill, found)
        try:
            await self._downloads.fetch_torrent(fill, torrent, verify=verify, whole=whole)
        except RpcRefused as refused:
            raise FillFailed(_unusable(str(refused))) from refused
        fill.moved_at = now
        if not there:
            fill.stage = Stage.LOADING

    def _has_to_be_hashed(self, fill: Fill, found: Mapping[int, int]) -> bool:
        """Whether aria2 has to find out itself which pieces are there, its control file telling nothing or too
        little. Removes a control file that it is not to believe. Blocking."""
        directory = fill.request.directory
        if not disk.has_control_file(directory):
            return bool(found)
        names = [fill.names[index] for index in found]
        small = sum(found.values()) <= _HASHED_AFTER_KILL
        stale = small and disk.has_newer_bytes(directory, names)
        if found and not stale and disk.control_is_whole(directory):
            return False
        disk.drop_control_files(directory)
        return bool(found)

    async def metadata_came(self, fill: Fill, version: str, now: float) -> None:
        """aria2 says that a magnet's metadata is complete. Raises FillFailed."""
        fill.stage = Stage.SETTLING
        await self._downloads.take_back(fill)
        source = fill.request.source
        torrent = await asyncio.to_thread(read_metadata, self._memory, fill)
        info = await read_torrent(torrent, version, source.info_hash)
        await asyncio.to_thread(self._memory.save_torrent, fill.replica, torrent)
        fill.learn_torrent(info)
        await self._load(fill, torrent, now)

    async def settle(self, fill: Fill, version: str, now: float, *, seeding: bool) -> None:
        """aria2 says that every selected file is complete; `seeding`: it goes on uploading. Raises FillFailed."""
        fill.stage = Stage.SETTLING
        if not seeding:
            await self._downloads.take_back(fill)
        if await self._completed(fill):
            if seeding:
                fill.seeding = True
            else:
                fill.still()
                self._turns.release(fill.replica)
            return
        fill.anew += 1
        await self._downloads.take_back(fill)
        if fill.anew > _REPAIRS:
            message = "files are shorter on disk than in the torrent"
            raise FillFailed(Failure(code=FailureCode.SHORT_READ, message=message, retry=Retry.AFRESH))
        log.warning(
            "files are hashed again", extra={"action": "aria2.repair", "replica": str(fill.replica)}
        )
        await asyncio.to_thread(disk.drop_control_files, fill.request.directory)
        await self.begin(fill, version, now)

    async def seeding_ended(self, fill: Fill) -> None:
        await self._downloads.take_back(fill)
        fill.still()
        self._turns.release(fill.replica)
        known = await asyncio.to_thread(self._memory.load, fill.replica)
        seeded = Remembered(origin=known.origin, finished=known.finished, seeded=True)
        await asyncio.to_thread(self._memory.save, fill.replica, seeded)

    async def explain(self, fill: Fill, row: Mapping[str, Any]) -> None:
        """aria2 gave up. Raises FillFailed."""
        fill.stage = Stage.SETTLING
        await self._downloads.take_back(fill)
        raise FillFailed(failure_of(row))

    async def _completed(self, fill: Fill) -> bool:
        """Whether every wanted file is on disk with its size; if so, this is remembered."""
        assert fill.info is not None
        directory = fill.request.directory
        wanted = set(fill.wanted)
        sizes = {file.index: int(file.size) for file in fill.info.files if file.index in wanted}
        empty = [fill.names[index] for index, size in sizes.items() if size == 0]
        await asyncio.to_thread(disk.make_empty_files, directory, empty)
        found = await asyncio.to_thread(disk.sizes_of, directory, {index: fill.names[index] for index in sizes})
        if found != sizes:
            return False
        known = await asyncio.to_thread(self._memory.load, fill.replica)
        finished = {**known.finished, **sizes}
        await asyncio.to_thread(self._memory.save, fill.replica, Remembered(finished=finished))
        fill.complete(sizes)
        return True

    async def _take_turn(self, fill: Fill, info_hash: str) -> None:
        if not self._turns.is_free(info_hash, fill.replica):
            before, fill.stage = fill.stage, Stage.WAITING
            await self._turns.take(info_hash, fill.replica)
            fill.stage = before
        else:
            await self._turns.take(info_hash, fill.replica)


def read_metadata(memory: Memory, fill: Fill) -> bytes:
    """What a metadata phase has brought; its directory goes. Raises FillFailed. Blocking."""
    try:
        return memory.meta_path(fill.replica, str(fill.request.source.info_hash)).read_bytes()
    except FileNotFoundError:
        # what aria2 refuses to unpack it also does not save: names that would lead out of the folder
        raise FillFailed(_unusable("aria2 refuses this torrent's metadata")) from None
    finally:
        memory.drop_meta_directory(fill.replica)


async def read_torrent(torrent: bytes, version: str, info_hash: str | None) -> TorrentInfo:
    """What the torrent holds, if this aria2 can download it. Raises FillFailed."""
    try:
        info = await asyncio.to_thread(parse_torrent, torrent)
    except InvalidSource as error:
        raise FillFailed(Failure(code=FailureCode.BAD_SOURCE, message=error.message)) from error
    refused = refusal(info, version)
    if refused is not None:
        raise FillFailed(refused)
    if info_hash is not None and info.info_hash != info_hash:
        message = "the torrent is not the one that its info-hash names"
        raise FillFailed(Failure(code=FailureCode.BAD_SOURCE, message=message))
    return info


def refusal(info: TorrentInfo, version: str) -> Failure | None:
    """Why the aria2 of this version cannot download that torrent. One that has not yet told its version is trusted."""
    if info.version == "v2":
        message = "a torrent of BitTorrent v2 only, which aria2 cannot download"
        return Failure(code=FailureCode.UNSUPPORTED, message=message)
    if info.version == "hybrid" and version and _parsed(version) < _HYBRID_SINCE:
        message = f"a hybrid torrent (v1 and v2), which aria2 downloads from version 1.37; this is {version}"
        hint = "install aria2 1.37 or later on the node, or use the v1 torrent of the same files"
        return Failure(code=FailureCode.UNSUPPORTED, message=message, hint=hint)
    folder = f"{info.name}/" if info.is_multi else ""
    bad = next((file.path for file in info.files if _REFUSED_NAME.search(folder + file.path)), None)
    if bad is not None:
        return _bad_name(f"the name {bad[:_SHOWN]!a} in it or that of its folder")
    return None


def _parsed(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split(".")[:2] if part.isdigit())


def _unusable(words: str) -> Failure:
    """What aria2 says of a torrent that it does not take."""
    if "traversal" in words:
        return _bad_name("a name in it")
    return Failure(code=FailureCode.BAD_SOURCE, message=words)


def _bad_name(which: str) -> Failure:
    message = f"aria2 refuses this torrent: {which} is empty, is '.' or '..', or holds control characters"
    return Failure(code=FailureCode.BAD_SOURCE, message=message)
