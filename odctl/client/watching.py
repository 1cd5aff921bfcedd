"""Jobs as they change, through gaps, restarts of the daemon and lost connections."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass, field

from odctl.client import convert
from odctl.client.daemon import DaemonClient, Selection
from odctl.client.errors import UNREACHABLE, ConnectionLost, OdctlError
from odctl.client.models import Job
from odctl.client.protocol import common, wire

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


@dataclass(frozen=True, slots=True, kw_only=True)
class Update:
    """What is known now, and what changed since the last one."""

    jobs: dict[int, Job]
    """In the page's order."""
    changed: frozenset[int]
    removed: frozenset[int]
    total: int


@dataclass(slots=True)
class Page:
    """The page as the stream describes it."""

    messages: dict[int, common.Job] = field(default_factory=dict)
    jobs: dict[int, Job] = field(default_factory=dict)
    total: int = 0

    def apply(self, answer: wire.WatchResponse) -> Update:
        before = set(self.jobs)
        changed: set[int] = set()
        if answer.snapshot is not None:
            self.messages = {job.id: job for job in answer.snapshot.jobs}
            fresh = {number: convert.job(message) for number, message in self.messages.items()}
            changed = {number for number, job in fresh.items() if self.jobs.get(number) != job}
            self.jobs, self.total = fresh, answer.snapshot.total
        for patch in answer.patches:
            self._patch(patch)
            changed.add(patch.id)
        for number in answer.removed:
            self.messages.pop(number, None)
            self.jobs.pop(number, None)
        if answer.total is not None:
            self.total = answer.total
        if answer.order:
            self.jobs = {number: self.jobs[number] for number in answer.order if number in self.jobs}
        return Update(
            jobs=dict(self.jobs),
            changed=frozenset(changed & set(self.jobs)),
            removed=frozenset(before - set(self.jobs)),
            total=self.total,
        )

    def _patch(self, patch: wire.JobPatch) -> None:
        message = self.messages.setdefault(patch.id, common.Job(id=patch.id))
        for name in patch.fields:
            # a field of a newer daemon is none of ours
            if patch.job is not None and hasattr(message, name):
                setattr(message, name, getattr(patch.job, name))
        self.jobs[patch.id] = convert.job(message)


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
