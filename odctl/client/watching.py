"""Jobs as they change, through gaps, restarts of the daemon and lost connections."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass
from typing import TypeVar

from odctl.client.daemon import DaemonClient
from odctl.client.errors import UNREACHABLE, ConnectionLost, OdctlError
from odctl.client.models import Selection
from odctl.client.pages import Page, Update
from odctl.client.protocol import wire

T = TypeVar("T")

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
    """Updates as of `lasting`. The first is the whole page."""
    page, epoch = Page(), ""

    def stream(client: DaemonClient) -> AsyncGenerator[wire.WatchResponse, None]:
        nonlocal epoch
        before, epoch = epoch, "" if client.hello_answer is None else client.hello_answer.epoch
        return client.watch(
            which=wanted.which, where=wanted.where, sort=wanted.sort, offset=wanted.offset, limit=wanted.limit,
            old=wanted.old, interval_ms=wanted.interval_ms, epoch=epoch,
            known=page.settled() if before == epoch else {},
        )  # fmt: skip

    async with contextlib.aclosing(lasting(connect, stream, on_lost)) as answers:
        async for answer in answers:
            yield page.apply(answer)


async def lasting(
    connect: Callable[[], DaemonClient], stream: Callable[[DaemonClient], AsyncGenerator[T, None]],
    on_lost: Callable[[str], None], on_back: Callable[[], None] = lambda: None,
) -> AsyncGenerator[T, None]:  # fmt: skip
    """What the stream brings, for ever, begun again on a new connection whenever it ends. `on_lost` is told once each
    time the daemon goes away, `on_back` once it answers again; after 60 s without it the last error is raised. So is
    one of the first connection."""
    loop = asyncio.get_running_loop()
    pause, ever, lost, told_back = FIRST_PAUSE, False, 0.0, False
    while True:
        began = 0.0
        try:
            async with connect() as client, contextlib.aclosing(stream(client)) as answers:
                began = loop.time()
                if lost and not told_back:
                    told_back = True
                    on_back()
                ever = True
                async for answer in answers:
                    pause, lost = FIRST_PAUSE, 0.0
                    yield answer
            raise ConnectionLost("the daemon ended the stream")
        except OdctlError as error:
            now = loop.time()
            if began and now - began > LONGEST_PAUSE:
                pause, lost = FIRST_PAUSE, 0.0  # it had nothing to tell, but was there
            if not (ever and error.exit_code == UNREACHABLE) or (lost and now - lost > RECONNECT_SECONDS):
                raise
            if not lost:
                lost, told_back = now, False
                on_lost(error.message)
        await asyncio.sleep(pause)
        pause = min(pause * 2, LONGEST_PAUSE)
