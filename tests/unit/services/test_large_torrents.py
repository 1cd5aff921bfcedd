"""A torrent of many files takes seconds to read: whoever else calls does not wait for that."""

from __future__ import annotations

import asyncio
import threading

import pytest

from oddaemon.domain.torrent import TorrentInfo, parse_torrent
from oddaemon.services import orders
from tests.support.wait import until

INFO = b"d6:lengthi1e4:name1:x12:piece lengthi16384e6:pieces20:" + b"a" * 20 + b"e"
LARGE = b"d7:comment%d:%b4:info%be" % (orders.LARGE_TORRENT, b"x" * orders.LARGE_TORRENT, INFO)


async def test_a_large_torrent_is_read_beside_the_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    begun, go_on = threading.Event(), threading.Event()

    def slowly(data: bytes) -> TorrentInfo:
        begun.set()
        assert go_on.wait(10), "nobody else came to a turn"
        return parse_torrent(data)

    monkeypatch.setattr(orders, "parse_torrent", slowly)
    reading = asyncio.create_task(orders.opened(LARGE))
    await until(begun.is_set, what="the reading to begin")
    go_on.set()
    info, files = await reading
    assert (info.total, [file.path for file in files]) == (1, ["x"])
