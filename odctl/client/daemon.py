"""The daemon as an object: typed methods that return models, each with a deadline. The first call is Hello."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import Any, TypeVar

from odproto import API_MAJOR, API_MINOR

from odctl import __version__
from odctl.client import convert
from odctl.client.accounts import Accounts
from odctl.client.bearer import Bearer
from odctl.client.cache import Cache
from odctl.client.channel import Calls, failures, guarded, open_channel
from odctl.client.credentials import Credential, Keyring
from odctl.client.endpoints import Choice, find_socket
from odctl.client.errors import REFUSED, OdctlError
from odctl.client.files import Files
from odctl.client.models import Delta, Detail, Event, Failure, Hello, Job, Outcome, Selection
from odctl.client.nodes import Nodes
from odctl.client.pages import Memory
from odctl.client.protocol import Message, wire
from odctl.client.upkeep import Upkeep

ADD_BATCH = 200
ADD_BYTES = 8 << 20
PAGE = 200

M = TypeVar("M", bound=Message)
R = TypeVar("R", bound=Message)


class DaemonClient:
    """One connection. Use it as an async context manager: entering connects and says Hello.

    `timeout` replaces every call's own deadline. `tell` is told where it is connected and how long each call took.
    `keyring` has what the calls are made with; without one the daemon goes by the uid. An `anonymous` one has nothing
    until `bear`, and says no Hello, for which the daemon wants to know who says it. Every method raises OdctlError.
    """

    def __init__(
        self,
        choice: Choice,
        *,
        timeout: float | None = None,
        tell: Callable[[str], None] | None = None,
        keyring: Keyring | None = None,
        anonymous: bool = False,
        memory: Memory | None = None,
    ) -> None:
        self._memory = Memory() if memory is None else memory
        self.path: Path = find_socket(choice)
        self.source = choice.source
        self._tell = tell
        self._channel = open_channel(self.path)
        calls = Calls(self._channel, timeout=timeout, tell=tell)
        self._calls = calls
        self._ask = calls.ask
        self._control = calls.control
        self._bearer = Bearer(self._channel, keyring, self.endpoint, anonymous=anonymous)
        self._anonymous = anonymous
        self.accounts = Accounts(calls)
        self.nodes = Nodes(calls)
        self.files = Files(calls)
        self.cache = Cache(calls)
        self.upkeep = Upkeep(calls)
        self.hello_answer: Hello | None = None

    async def __aenter__(self) -> DaemonClient:
        try:
            if not self._anonymous:
                await self.hello()
        except BaseException:
            self._channel.close()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._channel.close()

    @property
    def endpoint(self) -> str:
        return f"unix://{self.path}"

    @property
    def credential(self) -> Credential | None:
        """What the calls are made with; None: the uid."""
        return self._bearer.credential

    def keep(self, credential: Credential) -> None:
        """What comes from here on, here and in later runs, is called with this one."""
        self._bearer.keep(credential)

    def bear(self, credential: Credential) -> None:
        """What comes from here on is called with this one."""
        self._bearer.credential = credential

    async def hello(self) -> Hello:
        """Raises OdctlError with exit 9 for a daemon that speaks another major version of the protocol."""
        request = wire.HelloRequest(client_version=__version__, api_major=API_MAJOR, api_minor=API_MINOR)
        with self._bearer.explained():
            try:
                told = await self._ask(self._control, "hello", request)
            except OdctlError as error:
                if not await self._bearer.renewed(error):
                    raise
                told = await self._ask(self._control, "hello", request)
        answer = convert.hello(told)
        if answer.api_major != API_MAJOR:
            raise OdctlError(
                f"odctl {__version__} (API {API_MAJOR}.{API_MINOR}) cannot talk to oddaemon "
                f"{answer.server_version or '?'} (API {answer.api_major}.{answer.api_minor})",
                code="UNSUPPORTED",
                exit_code=REFUSED,
                hint="install the same version of both; odctl version shows them",
            )
        if self._tell is not None and self.hello_answer is None:
            api = f"API {answer.api_major}.{answer.api_minor}"
            self._tell(
                f"{self.endpoint} (from {self.source}): oddaemon {answer.server_version}, {api}, "
                f"node {answer.node}, you are {answer.user} ({answer.role}, {answer.auth})"
            )
        self._calls.older = f"needs oddaemon ≥ {__version__} on {answer.node} (has {answer.server_version})"
        self.hello_answer = answer
        return answer

    async def status(self) -> dict[str, Any]:
        answer: wire.GetStatusResponse = await self._ask(self._control, "get_status", wire.GetStatusRequest())
        hello = self.hello_answer
        warnings: Sequence[Any] = answer.warnings
        return {
            "server": {
                "version": answer.version,
                "api": f"{hello.api_major}.{hello.api_minor}" if hello else None,
                "uptime_s": convert.figure(answer.uptime_s) or 0.0,
                "endpoint": self.endpoint,
                "role": answer.role,
                "pid": answer.pid or None,
                "store": answer.store or None,
                "download_dir": answer.download_dir or None,
                "files_url": answer.files_url or None,
                "http_url": answer.http_url or None,
            },
            "context": None,
            "jobs": dict(answer.jobs),
            "rates": {"down": answer.rate_down, "up": answer.rate_up},
            "nodes": [convert.node(item) for item in answer.nodes],
            "warnings": [{"code": item.code, "message": item.message, "hint": item.hint} for item in warnings],
        }

    # Jobs

    async def add(self, items: Sequence[Mapping[str, Any]], *, dry_run: bool = False) -> list[Outcome]:
        """`items` hold the fields of AddItem; at most 200 go into one request. In their order. When a request fails
        after others were answered, no more are made: its items and those that were not sent come with why."""
        found: list[Outcome] = []
        for batch in _batches(items):
            request = wire.AddJobsRequest(items=[wire.AddItem(**item) for item in batch], dry_run=dry_run)
            try:
                answer: wire.AddJobsResponse = await self._ask(self._control, "add_jobs", request)
            except OdctlError as error:
                if not found:
                    raise
                unclear = "" if error.exit_code == REFUSED or dry_run else "; whether this one was added is not known"
                left = len(items) - len(found) - len(batch)
                return [
                    *found,
                    *[_not_added(f"{error.message}{unclear}", error)] * len(batch),
                    *[_not_added(f"not sent: {error.message}", error)] * left,
                ]
            # whatever the daemon says, each answer is its own item's
            answers = [convert.outcome(result) for result in answer.results[: len(batch)]]
            missing = _not_added("the daemon did not say what became of it", None)
            found += answers + [missing] * (len(batch) - len(answers))
        return found

    async def probe(
        self, *, source: str, torrent: bytes, engine: str, options: Mapping[str, str], timeout_s: float,
        node: str = "", max_files: int = 0,
    ) -> dict[str, Any]:  # fmt: skip
        """What a source is. With its first files, at most `max_files` (0: 1,000; never more than 10,000), and how many
        it has in all."""
        request = wire.ProbeRequest(
            source=source, torrent=torrent, engine=engine, options=dict(options), timeout_s=timeout_s, node=node,
            max_files=max_files,
        )  # fmt: skip
        with_slack = timeout_s + 10
        with failures("probe", with_slack):
            answer = await self._control.probe(request, timeout=with_slack)
        return {
            "name": answer.name,
            "engine": answer.engine,
            "size": answer.size,
            "files": [convert.file(item) for item in answer.files],
            "formats": [
                {
                    "id": item.id,
                    "extension": item.extension,
                    "description": item.description,
                    "size": item.size,
                    "video_codec": item.video_codec or None,
                    "audio_codec": item.audio_codec or None,
                    "width": item.width,
                    "height": item.height,
                    "bitrate_kbps": convert.figure(item.bitrate_kbps),
                }
                for item in answer.formats
            ],
            "cache_key": answer.cache_key or None,
            "cache": None if answer.cache_hit is None else {"hit": answer.cache_hit},
            "would_run_on": answer.would_run_on or None,
            "placement": answer.placement or None,
            "files_total": max(answer.files_total, len(answer.files)),
        }

    async def list_jobs(
        self,
        *,
        where: str = "",
        sort: str = "",
        offset: int = 0,
        limit: int | None = None,
        old: bool = False,
    ) -> tuple[list[Job], int]:
        """A page of jobs and how many there are; with `limit` None every one. Asks for 200 at a time: jobs that begin
        or end meanwhile change their places, so all of them are asked for by number, and put in order here."""
        if limit is None and not (sort or offset):
            jobs, total = await self._pages(where, "!id", 0, None, old)
            unique = {job.id: job for job in jobs}
            return sorted(unique.values(), key=lambda job: job.attention), total
        return await self._pages(where, sort, offset, limit, old)

    async def _pages(
        self, where: str, sort: str, offset: int, limit: int | None, old: bool
    ) -> tuple[list[Job], int]:  # fmt: skip
        jobs: list[Job] = []
        while True:
            size = PAGE if limit is None else min(PAGE, limit - len(jobs))
            request = wire.ListJobsRequest(filter=where, sort=sort, offset=offset + len(jobs), limit=size, all=old)
            answer: wire.ListJobsResponse = await self._ask(self._control, "list_jobs", request)
            jobs += [convert.job(item) for item in answer.jobs]
            done = len(answer.jobs) < size or offset + len(jobs) >= answer.total
            if done or (limit is not None and len(jobs) >= limit):
                return jobs, answer.total

    async def get_jobs(
        self, which: Selection, *, files: bool = False, peers: bool = False, raw: bool = False
    ) -> list[Detail]:
        request = wire.GetJobsRequest(
            selector=_selector(which), with_files=files, with_peers=peers, with_engine_raw=raw
        )
        answer: wire.GetJobsResponse = await self._ask(self._control, "get_jobs", request)
        return [convert.detail(item) for item in answer.jobs]

    async def _batch(self, name: str, request: Message, seconds: float = 60.0) -> list[Outcome]:
        answer: wire.BatchResponse = await self._ask(self._control, name, request, seconds)
        return [convert.outcome(item) for item in answer.results]

    async def pause(self, which: Selection, *, for_s: float = 0, dry_run: bool = False) -> list[Outcome]:
        return await self._batch(
            "pause_jobs", wire.PauseJobsRequest(selector=_selector(which), for_s=for_s, dry_run=dry_run)
        )

    async def resume(self, which: Selection, *, dry_run: bool = False) -> list[Outcome]:
        return await self._batch("resume_jobs", wire.ResumeJobsRequest(selector=_selector(which), dry_run=dry_run))

    async def cancel(self, which: Selection, *, dry_run: bool = False) -> list[Outcome]:
        return await self._batch("cancel_jobs", wire.CancelJobsRequest(selector=_selector(which), dry_run=dry_run))

    async def retry(
        self, which: Selection, *, node: str, engine: str, options: Mapping[str, str], now: bool = False,
        dry_run: bool = False,
    ) -> list[Outcome]:  # fmt: skip
        request = wire.RetryJobsRequest(
            selector=_selector(which), node=node, engine=engine, options=dict(options), now=now, dry_run=dry_run
        )
        return await self._batch("retry_jobs", request)

    async def remove(self, which: Selection, *, keep_data: bool = False, dry_run: bool = False) -> list[Outcome]:
        request = wire.RemoveJobsRequest(selector=_selector(which), keep_data=keep_data, dry_run=dry_run)
        return await self._batch("remove_jobs", request, 120.0)

    async def set_jobs(self, which: Selection, changes: Sequence[str], *, dry_run: bool = False) -> list[Outcome]:
        request = wire.SetJobsRequest(selector=_selector(which), changes=list(changes), dry_run=dry_run)
        return await self._batch("set_jobs", request)

    async def watch(
        self,
        *,
        which: Selection | None = None,
        where: str = "",
        sort: str = "",
        offset: int = 0,
        limit: int = 0,
        old: bool = False,
        interval_ms: int = 0,
        fields: Sequence[str] = (),
        epoch: str = "",
        known: Mapping[int, int] = MappingProxyType({}),
    ) -> AsyncGenerator[wire.WatchResponse, None]:
        """The raw stream; see odctl.client.watching for what follows jobs through gaps and reconnects. Of the jobs
        only `fields` are told, if there are some; those `known` of that `epoch` only when their revision is another."""
        request = wire.WatchRequest(
            filter=where, sort=sort, offset=offset, limit=limit, all=old, interval_ms=interval_ms,
            fields=list(fields), selector=None if which is None else _selector(which), epoch=epoch,
            known=list(known), known_revs=list(known.values()),
        )  # fmt: skip
        async with contextlib.aclosing(guarded(self._control.watch(request), "watch")) as stream:
            async for answer in stream:
                yield answer

    async def pages(
        self, *, where: str, sort: str, offset: int, limit: int, old: bool, interval_ms: int, fields: Sequence[str]
    ) -> AsyncGenerator[Delta, None]:
        """A page of jobs as it changes; the first answer has all of it. Only what differs from the page before it, of
        this client or of one with the same memory, comes from the daemon."""
        hello = self.hello_answer
        epoch, user = (hello.epoch, hello.user) if hello is not None else ("", "")
        of = (self.endpoint, epoch, user, *sorted(fields))
        page = self._memory.take(*of)
        stream = self.watch(
            where=where, sort=sort, offset=offset, limit=limit, old=old, interval_ms=interval_ms, fields=fields,
            epoch=epoch, known=page.settled(),
        )  # fmt: skip
        first = True
        try:
            async with contextlib.aclosing(stream) as answers:
                async for answer in answers:
                    delta = page.apply(answer).delta(whole=first)
                    first = False
                    yield delta
        finally:
            self._memory.put(page, *of)

    # Events and logs

    async def events(
        self, *, since_seq: int | None, since_time: datetime | None, types: Sequence[str], where: str = "",
        follow: bool,
    ) -> AsyncGenerator[Event | int, None]:  # fmt: skip
        """Events, and in their place the oldest sequence number that is kept where some were lost."""
        request = wire.EventsRequest(
            since_seq=since_seq or 0, from_start=since_seq is not None, types=list(types),
            no_follow=not follow, since_time=since_time, filter=where,
        )  # fmt: skip
        async with contextlib.aclosing(guarded(self._control.events(request), "events")) as stream:
            async for answer in stream:
                if answer.gap:
                    yield answer.oldest_seq
                if answer.event is not None:
                    yield convert.event(answer.event)

    async def logs(
        self, *, job: str, lines: int, follow: bool, level: str, since: datetime | None, node: str = ""
    ) -> AsyncGenerator[dict[str, Any], None]:
        request = wire.LogsRequest(job=job, lines=lines, follow=follow, level=level, since=since, node=node)
        async with contextlib.aclosing(guarded(self._control.logs(request), "logs")) as stream:
            async for answer in stream:
                yield convert.log_line(answer)


def _selector(which: Selection) -> wire.JobSelector:
    return wire.JobSelector(ids=list(which.ids), filter=which.filter, all=which.all)


def _not_added(message: str, error: OdctlError | None) -> Outcome:
    code, hint = (convert.UNKNOWN, "") if error is None else (error.code, error.hint)
    return Outcome(id="", job=None, failure=Failure(code=code, message=message, hint=hint, details={}))


def _batches(items: Sequence[Mapping[str, Any]]) -> Iterator[Sequence[Mapping[str, Any]]]:
    """At most 200 items and, so that no message is too large for the daemon, 8 MiB of torrents each."""
    batch: list[Mapping[str, Any]] = []
    size = 0
    for item in items:
        weight = len(item.get("torrent", b"")) + len(item.get("source", ""))
        if batch and (len(batch) == ADD_BATCH or size + weight > ADD_BYTES):
            yield batch
            batch, size = [], 0
        batch.append(item)
        size += weight
    if batch:
        yield batch
