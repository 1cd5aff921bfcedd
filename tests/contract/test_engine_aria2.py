"""The aria2 engine holds the contract of engines: with URLs and with torrents, on a real aria2c."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import pytest_asyncio

from oddaemon.domain.source import parse_source, source_of_torrent
from oddaemon.domain.torrent import parse_torrent
from oddaemon.testing.engine_contract import EngineContract, EngineHarness, Sample
from tests.support.aria2 import build
from tests.support.origin_server import Origin
from tests.support.swarm import Seeder, Tracker
from tests.support.torrents import Content, Torrent, multi
from tests.support.wait import until

SMALL, SLOW, LARGE = 200_000, 3_000_000, 12_000_000


@pytest.mark.real("aria2c")
class TestUrls(EngineContract):
    @pytest_asyncio.fixture
    async def harness(self) -> AsyncIterator[EngineHarness]:
        async with Origin() as origin:
            small, slow, large = (os.urandom(size) for size in (SMALL, SLOW, LARGE))
            origin.page("/small.bin", small, etag='"small"')
            origin.page("/slow.bin", slow, etag='"slow"', rate=400_000)
            origin.page("/large.bin", large, etag='"large"')
            yield EngineHarness(
                build=build,
                small=Sample(source=parse_source(origin.url("/small.bin")), contents={1: small}),
                slow=Sample(source=parse_source(origin.url("/slow.bin")), contents={1: slow}),
                broken=Sample(source=parse_source(origin.url("/nothing"))),
                unlimited=Sample(source=parse_source(origin.url("/large.bin")), contents={1: large}),
                served=lambda: sum(p.sent for p in origin.pages.values()),
            )


def sample(torrent: Torrent) -> Sample:
    return Sample(
        source=source_of_torrent(parse_torrent(torrent.data)),
        contents={index: file.body for index, file in enumerate(torrent.files, 1)},
        torrent=torrent.data,
    )


@pytest.mark.real("aria2c")
class TestTorrents(EngineContract):
    @pytest_asyncio.fixture
    async def harness(self, tmp_path: Path) -> AsyncIterator[EngineHarness]:
        async with Tracker() as tracker:
            files = [Content((f"{n}.bin",), os.urandom(150_000)) for n in range(4)]
            small = multi("small", files[:1], tracker=tracker.url)
            several = multi("several", files, tracker=tracker.url)
            slow = multi("slow", [Content(("slow.bin",), os.urandom(SLOW))], tracker=tracker.url)
            broken = multi("broken", [Content(("x.bin",), os.urandom(50_000))], tracker=tracker.url)
            async with (
                Seeder(small, tmp_path / "seed-small"),
                Seeder(several, tmp_path / "seed-several"),
                Seeder(slow, tmp_path / "seed-slow", rate="400K"),
            ):
                for torrent in (small, several, slow):
                    await until(partial(tracker.seeders, torrent), what="a seeder")
                yield EngineHarness(
                    build=build,
                    small=sample(small),
                    slow=sample(slow),
                    broken=replace(sample(broken), torrent=small.data),  # not the one that its info-hash names
                    several=sample(several),
                )
