"""The yt-dlp engine holds the contract of engines, with the real yt_dlp in its child."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from oddaemon.domain.source import parse_source
from oddaemon.testing.engine_contract import EngineContract, EngineHarness, Sample
from tests.support.media_site import add_page, padded
from tests.support.origin_server import Origin
from tests.support.ytdlp import build

SMALL, SLOW = 250_000, 3_000_000


@pytest.mark.real("ffmpeg")
class TestYtdlpEngine(EngineContract):
    @pytest_asyncio.fixture
    async def harness(self) -> AsyncIterator[EngineHarness]:
        async with Origin() as origin:
            small, slow = padded(SMALL), padded(SLOW, seed=1)
            origin.page("/small.mp4", small, etag='"small"', content_type="video/mp4")
            origin.page("/slow.mp4", slow, etag='"slow"', content_type="video/mp4", rate=400_000)
            add_page(origin, "/small", "/small.mp4")
            yield EngineHarness(
                build=build,
                small=Sample(source=parse_source(origin.url("/small")), contents={1: small}),
                slow=Sample(source=parse_source(origin.url("/slow.mp4")), contents={1: slow}),
                broken=Sample(source=parse_source(origin.url("/nothing"))),
                claimed_url="https://www.youtube.com/watch?v=BaW_jenozKc",
                served=lambda: sum(page.sent for page in origin.pages.values()),
            )
