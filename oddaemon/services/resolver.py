"""Finds the engine and the cache key of a job in the background, and joins the job to its entry. Repeatable."""

from __future__ import annotations

import asyncio
import functools
import logging
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta

from oddaemon.domain.admission import Limits, NodeWish
from oddaemon.domain.cache import CacheKey, url_key
from oddaemon.domain.errors import (
    DeadlineExceeded,
    EngineFailed,
    InvalidArgument,
    LimitExceeded,
    OpenDebridError,
    StorageMissing,
    StoreError,
    Unavailable,
    Unsupported,
)
from oddaemon.domain.failure import Failure, FailureCode, Reason, ReasonCode, Retry
from oddaemon.domain.files import HTML, display_name
from oddaemon.domain.job import Hold, Job, JobState
from oddaemon.domain.retry import wait_before, waiting_reason
from oddaemon.domain.source import Source, parse_source
from oddaemon.domain.torrent import parse_torrent
from oddaemon.domain.types import Bytes, EngineName, EntryId, JobId, NodeId, Seconds, UserId
from oddaemon.ports.clock import Clock
from oddaemon.ports.engine import failure_of
from oddaemon.ports.node_client import NodeClient
from oddaemon.ports.store import Material, Store, Transaction
from oddaemon.services.claims import fail, join, put_off, settle
from oddaemon.services.hits import HitChecker
from oddaemon.services.materials import engine_options, with_credentials
from oddaemon.services.orders import ARIA2, YTDLP, certain_engine, entry_files, key_of
from oddaemon.services.stored import check_room, never_fits

log = logging.getLogger(__name__)

LOOK_AT = 200
"""Jobs among which those that are resolved next are chosen."""
EXTRACTIONS = 4
"""In flight: each is a process of its own."""
LOOKS = 16
"""In flight: asking an origin what a URL is only waits for the network."""
UNAVAILABLE_WAIT = Seconds(5)
PAUSED_WAIT = Seconds(3600)
"""Before it is asked again what a paused job is, which could not be found out. Resuming it ends the wait."""
REST_SHARE = 4
"""A round is followed by a rest of so many times its length: every add wakes the next, and with 10,000 jobs that wait
each reads a lot."""
REST_AT_MOST = Seconds(0.5)


@dataclass(frozen=True, slots=True, kw_only=True)
class Resolution:
    key: CacheKey
    name: str | None = None
    size: Bytes | None = None


@dataclass(frozen=True, slots=True)
class Choice:
    """The engine for a source, and what its origin said of its size on the way."""

    engine: EngineName
    size: Bytes | None = None


def failure_from(error: OpenDebridError) -> Failure:
    """What an error of a node means for the job that waits for it."""
    found = failure_of(error)
    if found is not None:
        return found
    if isinstance(error, DeadlineExceeded):
        return Failure(code=FailureCode.TIMEOUT, message=error.message, retry=Retry.PASSING)
    if isinstance(error, EngineFailed):
        return Failure(code=FailureCode.ENGINE, message=error.message, retry=Retry.PASSING)
    if isinstance(error, Unsupported):
        return Failure(code=FailureCode.UNSUPPORTED, message=error.message, hint=error.hint)
    if isinstance(error, InvalidArgument):
        return Failure(code=FailureCode.BAD_SOURCE, message=error.message, hint=error.hint)
    return Failure(code=FailureCode.ENGINE, message=error.message, retry=Retry.PASSING)


def in_turn(jobs: Sequence[Job]) -> list[Job]:
    """Those that have not failed yet first, users in turn, oldest first: origins that hang hold up only the jobs that
    wait for them again."""
    places: Counter[tuple[int, UserId]] = Counter()
    ranks: dict[JobId, tuple[int, int]] = {}
    for job in jobs:
        ranks[job.id] = job.attempts, places[job.attempts, job.user_id]
        places[job.attempts, job.user_id] += 1
    return sorted(jobs, key=lambda job: ranks[job.id])


@dataclass(slots=True)
class Resolver:
    store: Store
    clock: Clock
    node: Callable[[NodeId | None], NodeClient]
    hits: HitChecker
    limits: Callable[[], Limits]
    asking: Callable[[NodeWish, EngineName | None], NodeClient]
    """Which node to ask about a source: the one that was wished for, else one that is online and has the engine."""
    joined: Callable[[EntryId | None], None]
    """Told of every entry that a job has joined."""
    _looking: dict[JobId, asyncio.Task[None]] = field(default_factory=dict)
    _extracting: dict[JobId, asyncio.Task[None]] = field(default_factory=dict)
    _chosen: dict[JobId, EngineName] = field(default_factory=dict)
    """Engines that were chosen for jobs that now wait for an extraction."""
    _due: list[Job] = field(default_factory=list)
    """Those that the last round found and that are not begun, in turn."""
    _wake: asyncio.Event = field(default_factory=asyncio.Event)

    def wake(self) -> None:
        self._wake.set()

    async def run(self) -> None:
        """Until cancelled."""
        async with asyncio.TaskGroup() as group:
            try:
                while True:
                    self._wake.clear()
                    began = self.clock.monotonic()
                    try:
                        await self._round(group)
                    except StoreError as error:
                        log.warning("round failed", extra={"action": "resolve_failed", "error": error.message})
                    await asyncio.sleep(min(REST_SHARE * (self.clock.monotonic() - began), REST_AT_MOST))
                    await self._idle()
            finally:
                self._due = []  # nothing is begun any more

    async def _round(self, group: asyncio.TaskGroup) -> None:
        now = self.clock.now()
        await self._end_unwanted()
        due = await self.store.read(lambda tx: tx.jobs.unresolved(now, limit=LOOK_AT))
        ids = {job.id for job in due}
        self._chosen = {job_id: engine for job_id, engine in self._chosen.items() if job_id in ids}
        self._due = in_turn([job for job in due if job.id not in self._busy()])
        self._start(group)

    def _busy(self) -> dict[JobId, asyncio.Task[None]]:
        return self._looking | self._extracting

    async def _end_unwanted(self) -> None:
        """What is being found out for jobs that were removed or cancelled meanwhile. What a paused one is, is found out
        too: that is how its files can be chosen before it starts."""
        busy = self._busy()

        def wanted(tx: Transaction) -> set[JobId]:
            jobs = [tx.jobs.get(job_id) for job_id in busy]
            return {job.id for job in jobs if job is not None and job.state is JobState.QUEUED}

        if busy:
            for job_id in busy.keys() - await self.store.read(wanted):
                busy[job_id].cancel()

    def _start(self, group: asyncio.TaskGroup) -> None:
        """As many of those that are due as there is room for. One that was cancelled meanwhile is looked at in vain."""
        waiting = []
        for job in self._due:
            extracts = job.engine_wish is not None or job.id in self._chosen
            running, most = (self._extracting, EXTRACTIONS) if extracts else (self._looking, LOOKS)
            if len(running) < most:
                running[job.id] = group.create_task(self._one(job), name=f"resolve {job.number}")
                running[job.id].add_done_callback(functools.partial(self._ended, group, running, job.id))
            else:
                waiting.append(job)
        self._due = waiting

    def _ended(
        self, group: asyncio.TaskGroup, running: dict[JobId, asyncio.Task[None]], job_id: JobId, _: asyncio.Task[None]
    ) -> None:
        del running[job_id]
        # the next of them without another look into the store: with 10,000 jobs that wait each reads a lot
        self._start(group)
        if not self._due or job_id in self._chosen:
            self._wake.set()

    async def _idle(self) -> None:
        try:
            async with asyncio.timeout(1.0):
                await self._wake.wait()
        except TimeoutError:
            return

    async def _one(self, job: Job) -> None:
        try:
            await self._look_into(job)
        except StoreError as error:
            # nobody's failed attempt: the job is still due
            log.warning("not resolved", extra={"action": "resolve_failed", "job": job.number, "error": error.message})

    async def _look_into(self, job: Job) -> None:
        try:
            material = await self.store.read(lambda tx: tx.materials.of_job(job.id))
            found = await self._find(job, material)
            if found is not None:
                await self._join(job, found)
        except Unavailable as error:
            if isinstance(error, DeadlineExceeded):
                await self._failed(job, failure_from(error))
            else:
                await self._later(job, error)
        except StoreError:
            raise
        except OpenDebridError as error:
            await self._failed(job, failure_from(error))
        except Exception:
            log.exception("resolving failed", extra={"action": "resolve_crashed", "job": job.number})
            await self._failed(
                job, Failure(code=FailureCode.ENGINE, message="internal error, see the log", retry=Retry.PASSING)
            )

    async def _find(self, job: Job, material: Material | None) -> Resolution | None:
        """Engine and key of a job, by asking its node; None when all that is known now is an engine that has to
        extract, which waits for its turn. Raises what the node raises."""
        source = with_credentials(parse_source(job.source), material)
        options = engine_options(job.options, material)
        if material is not None and material.erased:
            raise EngineFailed(
                "its credentials are erased",
                failure=Failure(
                    code=FailureCode.CREDENTIALS_NEEDED,
                    message="the credentials it was fetched with were erased when it was complete",
                    hint=f"odctl retry {job.number} -O …, or add it again with them",
                ),
            )
        known = job.engine_wish or self._chosen.get(job.id)
        wish = NodeWish(job.node_wish, frozenset(job.node_labels.items()))
        node = self.asking(wish, known)
        choice = Choice(known) if known else await self.choose(node, source, options)
        engine = choice.engine
        node = self.asking(wish, engine)
        node.validate_options(engine, options)
        key = key_of(source, engine)
        name, size = None, choice.size
        if key is None and known is None:
            self._chosen[job.id] = engine
            return None
        if key is None:
            answer = await node.resolve_cache_key(engine, source, options)
            if answer is not None:
                key, name, size = answer.key, answer.name, answer.size
            elif source.normalised is not None:
                key = url_key(engine, source.normalised)
            else:
                raise Unsupported(f"{engine} cannot take this source")
        if material is not None and material.secrets:
            key = key.private_to(job.user_id)
        return Resolution(key=key, name=display_name(name) if name else None, size=size)

    async def choose(self, node: NodeClient, source: Source, options: dict[str, str]) -> Choice:
        """product.md section 3.4: an extractor's own URLs to yt-dlp; else a file to aria2, a page to yt-dlp. What was
        fetched as a file before is one: its origin need not be there any more."""
        certain = certain_engine(source)
        if certain is not None:
            return Choice(certain)
        claimed = await node.claims(source.uri)
        if claimed is not None:
            return Choice(claimed)
        if not options and await self.store.read(lambda tx: _was_file(tx, source)):
            return Choice(ARIA2)
        found = await node.sniff(source, options)
        if found is None or found.content_type in HTML:
            return Choice(YTDLP)
        return Choice(ARIA2, size=found.size)

    async def _join(self, job: Job, found: Resolution) -> None:
        on_disk = await self.hits.check(found.key) if not job.force else None

        def work(tx: Transaction) -> EntryId | None:
            at = self.clock.now()
            current = tx.jobs.get(job.id)
            if current is None or current.finished or current.entry_id is not None:
                return None
            material = tx.materials.of_job(job.id)
            files = entry_files(parse_torrent(material.torrent)) if material and material.torrent else ()
            joined = join(
                tx, current, found.key, at=at, name=found.name, size=found.size, files=files,
                on_disk=None if on_disk is None else on_disk.good,
            )  # fmt: skip
            if on_disk is not None:
                self.hits.record(tx, on_disk, at)
            if joined.entry_id is not None and not joined.finished:
                settle(tx, joined.entry_id, at, there=on_disk is not None and joined.entry_id in on_disk.good)
                joined = tx.jobs.get(job.id) or joined
            self._check_size(tx, joined)
            return joined.entry_id

        try:
            self.joined(await self.store.write(work))
        except LimitExceeded as error:
            failure = Failure(code=FailureCode.STORAGE_LIMIT, message=error.message, hint=error.hint)
            await self._failed(job, failure)

    def _check_size(self, tx: Transaction, job: Job) -> None:
        """What is too large is not begun when its size was told with its key. Raises LimitExceeded when it is there
        already and its user has no room for it."""
        if job.state is JobState.COMPLETED:
            check_room(tx, job, self.limits())
        if job.finished or job.hold is Hold.USER:
            return
        failure = never_fits(tx, job, self.limits())
        if failure is not None:
            fail(tx, job, failure, self.clock.now())

    async def _later(self, job: Job, error: OpenDebridError) -> None:
        """The node or its engine is away: that is nobody's failed attempt."""

        def work(tx: Transaction) -> None:
            current = tx.jobs.get(job.id)
            if current is None or current.state is not JobState.QUEUED or current.entry_id is not None:
                return
            at = self.clock.now()
            until = at + timedelta(seconds=UNAVAILABLE_WAIT)
            code = ReasonCode.STORAGE_MISSING if isinstance(error, StorageMissing) else ReasonCode.ENGINE_DOWN
            reason = Reason(code=code, message=error.message, retry_at=until)
            tx.jobs.update(replace(current, reason=_shown(current, reason), next_try_at=until, updated_at=at))

        await self.store.write(work)

    async def _failed(self, job: Job, failure: Failure) -> None:
        limits = self.limits()

        def work(tx: Transaction) -> None:
            current = tx.jobs.get(job.id)
            if current is None or current.finished or current.entry_id is not None:
                return
            at = self.clock.now()
            if current.hold is Hold.USER:
                # whoever paused it did not ask for it yet: it fails at the earliest when it is resumed
                until = at + timedelta(seconds=PAUSED_WAIT)
                put_off(tx, replace(current, next_try_at=until, updated_at=at), waiting_reason(failure, until))
                return
            attempts = current.attempts + 1
            if failure.retry is Retry.LASTING or attempts > limits.retries:
                fail(tx, replace(current, attempts=attempts), failure, at)
                return
            until = at + timedelta(seconds=wait_before(attempts, limits, failure.retry_after))
            reason = waiting_reason(failure, until)
            put_off(tx, replace(current, attempts=attempts, next_try_at=until, reason=reason, updated_at=at), reason)

        await self.store.write(work)


def _was_file(tx: Transaction, source: Source) -> bool:
    """Whether the origin said, when aria2 fetched this URL, that it is no page."""
    key = key_of(source, ARIA2)
    entry = None if key is None else tx.cache.current_entry(key.full)
    types = [] if entry is None else [file.content_type for file in tx.cache.files(entry.id) if file.ready]
    return bool(types) and all(found is not None and found not in HTML for found in types)


def _shown(job: Job, reason: Reason) -> Reason | None:
    """A paused job waits for its user, whatever else it may have to wait for."""
    return job.reason if job.hold is Hold.USER else reason
