"""ControlService: parse → service → convert; one short method per RPC."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any, Protocol

from grpclib.const import Status
from grpclib.server import Stream
from odproto import API_MAJOR, API_MINOR
from odproto.gen.opendebrid.common import v1 as common
from odproto.gen.opendebrid.control import v1 as pb

from oddaemon.api.control import streams
from oddaemon.api.control.calls import Gate, caller, request_id
from oddaemon.api.control.parts import ControlParts
from oddaemon.api.control.watch import watch
from oddaemon.domain.errors import InvalidArgument, LimitExceeded, NotFound, Unsupported
from oddaemon.domain.link import LinkState
from oddaemon.domain.types import JobNumber, NodeId, Seconds
from oddaemon.domain.user import Principal
from oddaemon.services.batches import MAX_ITEMS, Chosen, Outcome
from oddaemon.services.views import JobView, ProbeView
from oddaemon.wire import messages as wire
from oddaemon.wire.errors import mapped, to_message

log = logging.getLogger(__name__)

FEATURES = ("watch", "events", "probe", "select", "links", "zip", "m3u", "cache", "settings", "doctor", "accounts")
MAX_DETAIL_FILES = 1000
MAX_PROBED_FILES = 10_000
MAX_ANSWER_FILES = 20_000
"""Of all jobs in one answer together."""
DEFAULT_PROBE_SECONDS = 60.0
MAX_PROBE_SECONDS = 600.0


class ControlService(pb.ControlServiceBase):
    def __init__(self, parts: ControlParts, gate: Gate) -> None:
        self._parts = parts
        self._gate = gate

    async def _call_rpc_handler_server_stream(
        self, handler: Callable[[Any], Any], stream: Stream[Any, Any], request: Any
    ) -> None:
        """A caller that goes away ends what its stream holds now, not when the collector comes by."""
        async with contextlib.aclosing(handler(request)) as answers:
            async for answer in answers:
                await stream.send_message(answer)

    async def hello(self, message: pb.HelloRequest) -> pb.HelloResponse:
        who, parts = caller(), self._parts
        if message.api_major and message.api_major != API_MAJOR:
            raise Unsupported(
                f"this odctl speaks API {message.api_major}.{message.api_minor}, "
                f"the daemon (oddaemon {parts.version}) speaks {API_MAJOR}.{API_MINOR}",
                hint="install the same major version of both",
            )
        return pb.HelloResponse(
            server_version=parts.version, api_major=API_MAJOR, api_minor=API_MINOR, features=list(FEATURES),
            user=who.username, role=str(who.role), auth=str(who.proof), node=parts.node_id, epoch=parts.epoch,
            now=parts.clock.now(),
        )  # fmt: skip

    async def get_status(self, message: pb.GetStatusRequest) -> pb.GetStatusResponse:
        who, parts = caller(), self._parts
        answer = wire.status_message(await parts.status.status(who))
        answer.version, answer.role, answer.pid = parts.version, "controller", os.getpid()
        answer.store, answer.files_url, answer.http_url = parts.store_kind, parts.files_url, parts.http_url
        answer.download_dir = parts.download_dir if who.is_admin else ""
        return answer

    async def add_jobs(self, message: pb.AddJobsRequest) -> pb.AddJobsResponse:
        """Each item has its own answer."""
        results = await self._parts.batches.add(
            caller(), [wire.add_order(item) for item in message.items], dry_run=message.dry_run
        )
        return pb.AddJobsResponse(
            results=[
                pb.AddResult(
                    job=None if found.view is None else wire.job_message(found.view),
                    error=None if found.error is None else _refusal(found.error),
                )
                for found in results
            ]
        )  # fmt: skip

    async def probe(self, message: pb.ProbeRequest) -> pb.ProbeResponse:
        if message.timeout_s < 0:
            raise InvalidArgument("a deadline is not negative", field="timeout_s")
        deadline = min(message.timeout_s or DEFAULT_PROBE_SECONDS, MAX_PROBE_SECONDS)
        view = await self._parts.prober.probe(
            caller(), message.source, torrent=message.torrent or None, engine=message.engine,
            options=dict(message.options), deadline=Seconds(deadline),
            on=NodeId(message.node) if message.node else None,
        )  # fmt: skip
        # a long list takes longer to be written than anybody else should have to wait
        return await asyncio.to_thread(_write, view, min(message.max_files or MAX_DETAIL_FILES, MAX_PROBED_FILES))

    async def list_jobs(self, message: pb.ListJobsRequest) -> pb.ListJobsResponse:
        rev = await self._parts.store.read(lambda tx: tx.jobs.highest_rev())
        page = await self._parts.jobs.page(
            caller(), filter=message.filter, sort=message.sort, offset=message.offset, limit=message.limit,
            include_old=message.all,
        )  # fmt: skip
        return pb.ListJobsResponse(jobs=[wire.job_message(view) for view in page.rows], total=page.total, rev=rev)

    async def get_jobs(self, message: pb.GetJobsRequest) -> pb.GetJobsResponse:
        who, parts = caller(), self._parts
        selector = message.selector or pb.JobSelector()
        picked = await parts.jobs.pick(who, selector.ids, filter=selector.filter, all_jobs=selector.all)
        views = await self._views(who, [found.job.number for found in picked if found.job is not None])
        details: list[pb.JobDetail] = []
        files = 0
        for found in picked:
            view = views.get(found.job.number) if found.job is not None else None
            if view is None:
                error = found.error or NotFound(f"there is no job {found.id}")
                details.append(pb.JobDetail(id=found.id, error=to_message(error)))
                continue
            detail = pb.JobDetail(id=str(view.job.number), job=wire.job_message(view))
            if message.with_files:
                page = await parts.job_files.files(who, detail.id, offset=0, limit=MAX_DETAIL_FILES)
                detail.files = [wire.file_message(file) for file in page.rows]
                files += len(detail.files)
            if files > MAX_ANSWER_FILES:
                raise LimitExceeded(
                    f"these jobs have more than {MAX_ANSWER_FILES} files together", hint="ask for fewer jobs at once"
                )
            if message.with_peers:
                detail.peers = [wire.peer_message(peer) for peer in await parts.reports.peers(who, detail.id)]
            if message.with_engine_raw:
                detail.engine_raw = json.dumps(dict(await parts.reports.raw(who, detail.id)))
            details.append(detail)
        return pb.GetJobsResponse(jobs=details)

    async def _views(self, who: Principal, numbers: Sequence[JobNumber]) -> dict[int, JobView]:
        found: dict[int, JobView] = {}
        for start in range(0, len(numbers), MAX_ITEMS):
            part = await self._parts.jobs.views(who, numbers[start : start + MAX_ITEMS])
            found |= {view.job.number: view for view in part}
        return found

    async def pause_jobs(self, message: pb.PauseJobsRequest) -> pb.BatchResponse:
        duration = Seconds(message.for_s) if message.for_s else None
        return _batch(
            await self._parts.batches.pause(caller(), _chosen(message), duration=duration, dry_run=message.dry_run)
        )

    async def resume_jobs(self, message: pb.ResumeJobsRequest) -> pb.BatchResponse:
        return _batch(await self._parts.batches.resume(caller(), _chosen(message), dry_run=message.dry_run))

    async def cancel_jobs(self, message: pb.CancelJobsRequest) -> pb.BatchResponse:
        return _batch(await self._parts.batches.cancel(caller(), _chosen(message), dry_run=message.dry_run))

    async def retry_jobs(self, message: pb.RetryJobsRequest) -> pb.BatchResponse:
        results = await self._parts.batches.retry(
            caller(), _chosen(message), node=message.node, engine=message.engine, options=dict(message.options),
            now=message.now, dry_run=message.dry_run,
        )  # fmt: skip
        return _batch(results)

    async def remove_jobs(self, message: pb.RemoveJobsRequest) -> pb.BatchResponse:
        results = await self._parts.batches.remove(
            caller(), _chosen(message), keep_data=message.keep_data, dry_run=message.dry_run
        )
        return _batch(results)

    async def set_jobs(self, message: pb.SetJobsRequest) -> pb.BatchResponse:
        return _batch(
            await self._parts.batches.set(caller(), _chosen(message), message.changes, dry_run=message.dry_run)
        )

    def watch(self, message: pb.WatchRequest) -> AsyncIterator[pb.WatchResponse]:
        return watch(self._parts, self._gate.ending, caller(), message)

    async def list_files(self, message: pb.ListFilesRequest) -> pb.ListFilesResponse:
        page = await self._parts.job_files.files(caller(), message.job, offset=message.offset, limit=message.limit)
        return pb.ListFilesResponse(files=[wire.file_message(file) for file in page.rows], total=page.total)

    async def select_files(self, message: pb.SelectFilesRequest) -> pb.ListFilesResponse:
        page = await self._parts.job_files.select(caller(), message.job, message.selection)
        return pb.ListFilesResponse(files=[wire.file_message(file) for file in page.rows], total=page.total)

    async def create_links(self, message: pb.CreateLinksRequest) -> pb.CreateLinksResponse:
        try:
            kind = wire.link_kind(message.kind)
        except ValueError as error:
            problem = f"{message.kind[:40]!r} is no kind of link"
            raise InvalidArgument(problem, field="kind", hint="file, zip or m3u") from error
        made = await self._parts.links.create(
            caller(), message.job, files=message.files, ttl=Seconds(message.ttl_s) if message.ttl_s else None,
            inline=message.inline, kind=kind, folder=message.folder, max_uses=message.max_uses or None,
            address=message.address,
        )  # fmt: skip
        return pb.CreateLinksResponse(links=[wire.link_message(view) for view in made])

    async def list_links(self, message: pb.ListLinksRequest) -> pb.ListLinksResponse:
        try:
            state = wire.link_state(message.state)
        except ValueError as error:
            problem = f"{message.state[:40]!r} is no state of a link"
            raise InvalidArgument(problem, field="state", hint=", ".join(LinkState)) from error
        page = await self._parts.links.page(
            caller(), id=message.job or None, offset=message.offset, limit=message.limit or 100, state=state
        )
        return pb.ListLinksResponse(links=[wire.link_message(view) for view in page.rows], total=page.total)

    async def revoke_links(self, message: pb.RevokeLinksRequest) -> pb.RevokeLinksResponse:
        done = await self._parts.links.revoke(caller(), message.ids, job=message.job or None)
        away = [pb.NodeNotReached(node=node, until=until) for node, until in done.not_reached.items()]
        return pb.RevokeLinksResponse(revoked=done.count, not_reached=away)

    def events(self, message: pb.EventsRequest) -> AsyncIterator[pb.EventsResponse]:
        return streams.events(self._parts, self._gate.ending, caller(), message)

    def logs(self, message: pb.LogsRequest) -> AsyncIterator[pb.LogsResponse]:
        return streams.logs(self._parts, self._gate.ending, caller(), message)

    async def list_engines(self, message: pb.ListEnginesRequest) -> pb.ListEnginesResponse:
        return pb.ListEnginesResponse(
            engines=[wire.engine_message(view) for view in await self._parts.status.engines(caller())]
        )

    async def test_engine(self, message: pb.TestEngineRequest) -> pb.TestEngineResponse:
        view = await self._parts.status.test_engine(caller(), message.name)
        return pb.TestEngineResponse(engine=wire.engine_message(view))

    async def list_cache(self, message: pb.ListCacheRequest) -> pb.ListCacheResponse:
        page = await self._parts.cache.page(
            caller(), filter=message.filter, sort=message.sort, offset=message.offset, limit=message.limit or 100,
            key=message.key,
        )  # fmt: skip
        return pb.ListCacheResponse(entries=[wire.cache_message(view) for view in page.rows], total=page.total)

    async def pin_cache(self, message: pb.PinCacheRequest) -> pb.ListCacheResponse:
        views = await self._parts.cache.pin(
            caller(), message.keys, pinned=not message.unpin, replicas=message.replicas
        )
        return pb.ListCacheResponse(entries=[wire.cache_message(view) for view in views], total=len(views))


class _Written(pb.ProbeResponse):
    """One that is bytes already."""

    written: bytes

    def __bytes__(self) -> bytes:
        return self.written


def _write(view: ProbeView, most: int) -> _Written:
    found = _Written()
    found.written = bytes(wire.probe_message(view, most=most))
    return found


class _Selecting(Protocol):
    @property
    def selector(self) -> pb.JobSelector | None: ...


def _chosen(message: _Selecting) -> Chosen:
    selector = message.selector or pb.JobSelector()
    return Chosen(ids=selector.ids, filter=selector.filter, all=selector.all)


def _batch(results: Sequence[Outcome]) -> pb.BatchResponse:
    return pb.BatchResponse(
        results=[
            pb.BatchResult(
                id=found.id, job=None if found.view is None else wire.job_message(found.view),
                error=None if found.error is None else _refusal(found.error), freed_bytes=found.freed,
            )
            for found in results
        ]
    )  # fmt: skip


def _refusal(error: Exception) -> common.Error:
    """One item's error; what is nobody's mistake is told to the log, by the id that the caller gets."""
    if mapped(error).grpc is Status.INTERNAL:
        log.error("item failed", extra={"action": "call_failed", "request": request_id()}, exc_info=error)
    return to_message(error, request_id())
