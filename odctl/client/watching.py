"""Jobs as they change, through gaps, restarts of the daemon and lost connections."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass

from odctl.client.daemon import DaemonClient
from odctl.client.errors import UNREACHABLE, ConnectionLost, OdctlError
from odctl.client.models import Selection
from odctl.client.pages import Page, Update

RECONNECT_SECONDS = 60.0
"""For so long a daemon that went away is looked for again."""
FIRST_PAUSE, LONGEST_PAUSE = 0.2, 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What to watch: these jobs, or a page of a list."""

    which: Selection | None = None
    where: str = ""
    sort: str = ""
    offset: int = 0
    limit: int = 200
    old: bool = False
    interval_ms: int = 0
    """Between two looks; 0: as the daemon likes it."""


async def follow(
    connect: Callable[[], DaemonClient], wanted: Wanted, on_lost: Callable[[str], None]
) -> AsyncGenerator[Update, None]:
    """Updates for ever. `on_lost` is told once each time the daemon goes away; after 60 s without it the last error is
    raised. The first update is the whole page."""
    page = Page()
    loop = asyncio.get_running_loop()
    pause, since, ever = FIRST_PAUSE, loop.time(), False
    while True:
        try:
            async with connect() as client:
                stream = client.watch(
                    which=wanted.which, where=wanted.where, sort=wanted.sort, offset=wanted.offset,
                    limit=wanted.limit, old=wanted.old, interval_ms=wanted.interval_ms,
                )  # fmt: skip
                async with contextlib.aclosing(stream) as answers:
                    async for answer in answers:
                        pause, since, ever = FIRST_PAUSE, loop.time(), True
                        yield page.apply(answer)
            raise ConnectionLost("the daemon ended the stream")
        except OdctlError as error:
            passing = error.exit_code == UNREACHABLE
            if not (ever and passing) or loop.time() - since > RECONNECT_SECONDS:
                raise
            if pause == FIRST_PAUSE:
                on_lost(error.message)
        await asyncio.sleep(pause)
        pause = min(pause * 2, LONGEST_PAUSE)
