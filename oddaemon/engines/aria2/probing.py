"""What a source would yield, without downloading it."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path
from uuid import uuid4

from oddaemon.domain.errors import DeadlineExceeded, EngineFailed
from oddaemon.domain.failure import Failure
from oddaemon.domain.source import Source
from oddaemon.domain.torrent import TorrentInfo
from oddaemon.domain.types import Bytes, ReplicaId, Seconds
from oddaemon.engines.aria2.disk import disk_name_of_url, disk_names_of_torrent
from oddaemon.engines.aria2.downloads import Downloads, ask_of
from oddaemon.engines.aria2.fill import Fill, files_of_torrent
from oddaemon.engines.aria2.keys import key_of
from oddaemon.engines.aria2.mapping import failure_of
from oddaemon.engines.aria2.memory import Memory
from oddaemon.engines.aria2.origin import FillFailed
from oddaemon.engines.aria2.rpc import Rpc, RpcRefused
from oddaemon.engines.aria2.torrent_fill import read_metadata, read_torrent
from oddaemon.engines.aria2.turns import Turns
from oddaemon.engines.aria2.url_fill import UrlFills
from oddaemon.ports.engine import FillFile, FillRequest, ProbeResult

_POLL = Seconds(0.3)
_CLEAN_UP = Seconds(6)


class Prober:
    def __init__(self, rpc: Rpc, downloads: Downloads, urls: UrlFills, memory: Memory, turns: Turns) -> None:
        self._rpc = rpc
        self._downloads = downloads
        self._urls = urls
        self._memory = memory
        self._turns = turns

    async def url(
        self, source: Source, options: Mapping[str, str], version: str, deadline: Seconds
    ) -> ProbeResult:
        """Raises EngineFailed, DeadlineExceeded."""
        ask = ask_of(_fill(source, options), version)
        try:
            async with asyncio.timeout(deadline):
                origin = await self._urls.ask(ask)
        except FillFailed as failed:
            raise engine_failed(failed.failure) from failed
        except TimeoutError as error:
            raise DeadlineExceeded(f"the origin did not answer within {deadline:g} s") from error
        name = origin.name or source.name
        file = FillFile(
            index=1,
            path=name or "file",
            disk_path=disk_name_of_url(source.name),
            size=origin.length,
            done=Bytes(0),
            content_type=origin.content_type,
        )
        return ProbeResult(name=name, size=origin.length, files=(file,), key=key_of(source))

    async def torrent(
        self,
        source: Source,
        options: Mapping[str, str],
        torrent: bytes | None,
        known: TorrentInfo | None,
        version: str,
        deadline: Seconds,
    ) -> ProbeResult:
        """`known`: what a replica of the same torrent has found out already. Raises EngineFailed, DeadlineExceeded."""
        try:
            async with asyncio.timeout(deadline):
                if torrent is not None:
                    info = await read_torrent(torrent, version, source.info_hash)
                else:
                    info = known or await self._metadata(source, options, version)
        except FillFailed as failed:
            raise engine_failed(failed.failure) from failed
        except TimeoutError as error:
            raise DeadlineExceeded(f"no peer gave the metadata within {deadline:g} s") from error
        files = files_of_torrent(info, disk_names_of_torrent(info))
        return ProbeResult(name=info.name, size=info.total, files=files, key=key_of(source))

    async def _metadata(self, source: Source, options: Mapping[str, str], version: str) -> TorrentInfo:
        fill = _fill(source, options)
        assert source.info_hash is not None
        try:
            await self._turns.take(source.info_hash, fill.replica)
            directory = await asyncio.to_thread(self._memory.meta_directory, fill.replica)
            await self._downloads.fetch_metadata(fill, str(directory))
            while True:
                row = await self._rpc.status(str(fill.gid))
                if row is None or row["status"] in ("error", "removed"):
                    raise FillFailed(failure_of(row or {}))
                if row["status"] == "complete":
                    break
                await asyncio.sleep(_POLL)
            data = await asyncio.to_thread(read_metadata, self._memory, fill)
            return await read_torrent(data, version, source.info_hash)
        except RpcRefused as refused:
            raise FillFailed(failure_of({"errorMessage": str(refused)})) from refused
        finally:
            await asyncio.shield(self._clean_up(fill))

    async def _clean_up(self, fill: Fill) -> None:
        try:
            async with asyncio.timeout(_CLEAN_UP):
                await self._downloads.take_back(fill)
                await asyncio.to_thread(self._memory.forget, fill.replica)
                await asyncio.to_thread(self._memory.forget_torrent, fill.replica)
        finally:
            self._turns.release(fill.replica)


def engine_failed(failure: Failure) -> EngineFailed:
    return EngineFailed(failure.message, hint=failure.hint, failure=failure)


def _fill(source: Source, options: Mapping[str, str]) -> Fill:
    """For a replica that there will never be; nothing is written below its directory."""
    nowhere = Path("/nonexistent")
    return Fill(
        request=FillRequest(replica_id=ReplicaId(uuid4()), directory=nowhere, source=source, options=options)
    )
