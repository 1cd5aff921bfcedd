"""A page of jobs as a Watch stream describes it."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import islice

from msgspec import Struct

from odctl.client import convert
from odctl.client.models import Delta, Job
from odctl.client.protocol import common, wire

MOST_KNOWN = 1000
"""Jobs that a daemon lets a watcher say it knows; of more it tells those again."""
OVER = frozenset({common.JobState.COMPLETED, common.JobState.FAILED, common.JobState.CANCELLED})


class Update(Struct, frozen=True, kw_only=True):
    """What is known now, and what changed since the last one."""

    jobs: dict[int, Job]
    """In the page's order."""
    changed: frozenset[int]
    removed: frozenset[int]
    total: int

    def delta(self, *, whole: bool = False) -> Delta:
        """`whole`: for who knows nothing yet."""
        changed = tuple(job for number, job in self.jobs.items() if whole or number in self.changed)
        return Delta(changed=changed, order=tuple(self.jobs), total=self.total)


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
            told = {job.id: job for job in answer.snapshot.jobs}
            both = self.messages | told
            order = answer.snapshot.order or list(told)
            self.messages = {number: both[number] for number in order if number in both}
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

    def settled(self) -> dict[int, int]:
        """Revisions by number of the jobs of which nothing changes without a new one: the first MOST_KNOWN."""
        found = (
            (number, message.rev)
            for number, message in self.messages.items()
            if message.state in OVER and not message.rate_up and message.peers is None and message.seeders is None
        )
        return dict(islice(found, MOST_KNOWN))

    def _patch(self, patch: wire.JobPatch) -> None:
        message = self.messages.setdefault(patch.id, common.Job(id=patch.id))
        for name in patch.fields:
            # a field of a newer daemon is none of ours
            if patch.job is not None and hasattr(message, name):
                setattr(message, name, getattr(patch.job, name))
        self.jobs[patch.id] = convert.job(message)


@dataclass(slots=True)
class Memory:
    """The page that was told last, and what it was told of: what comes after a lost connection, or after the person
    scrolled on, needs only what is otherwise."""

    page: Page = field(default_factory=Page)
    of: tuple[object, ...] = ()

    def take(self, *of: object) -> Page:
        """The page, for one who goes on with it, when it is of the same; else an empty one."""
        page = self.page if self.of == of else Page()
        self.page, self.of = Page(), ()
        return page

    def put(self, page: Page, *of: object) -> None:
        self.page, self.of = page, of
