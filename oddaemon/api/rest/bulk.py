"""`/api/v1/bulk`: one wish for many downloads, each with its own answer."""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import Field, TypeAdapter

from oddaemon.api.rest.adding import MAX_ADD, AddManyRequest, KeyHeader, TorrentsForm, once, order_of, torrent_order
from oddaemon.api.rest.downloads import Changes, RetryRequest
from oddaemon.api.rest.jobs import Result, download, planned, result
from oddaemon.api.rest.models import Model, Nothing
from oddaemon.api.rest.routes import Answer, Call, Routes
from oddaemon.domain.errors import Conflict, StoreError, Unavailable
from oddaemon.domain.types import JobId, Seconds
from oddaemon.domain.user import Scope
from oddaemon.services.batches import MAX_PAUSE_SECONDS, Chosen, Outcome
from oddaemon.services.keyed_adds import Answered

route = Routes("bulk", prefix="/api/v1/bulk")


class Selector(Model):
    """Which downloads: by ids, by a filter, or all of one's own. A filter means those that the wish is for: jobs in
    another state are left out."""

    ids: list[str] = Field(default_factory=list, max_length=1000, description="Numbers, 128-131, UUIDs, hashes, @last.")
    filter: str = Field(default="", max_length=10_000)
    all: bool = False
    dry_run: bool = Field(default=False, description="Only say what would come of it.")

    def chosen(self) -> Chosen:
        return Chosen(ids=self.ids, filter=self.filter, all=self.all)


class PauseSelector(Selector):
    for_s: float | None = Field(default=None, gt=0, le=MAX_PAUSE_SECONDS, description="By default until resumed.")


class RetrySelector(Selector, RetryRequest):
    pass


class DeleteSelector(Selector):
    keep_data: bool = Field(default=False, description="Keep the files of finished downloads until clean-up.")


class SetSelector(Selector):
    changes: Changes


_RESULTS = TypeAdapter(list[Result])


def _results(found: Sequence[Outcome], request_id: str) -> list[Result]:
    return [result(one, request_id) for one in found]


@route(
    "POST", "/add", needs=Scope.JOBS, summary="Add several downloads", max_body=MAX_ADD, headers=KeyHeader,
    errors=[Conflict],
)  # fmt: skip
async def add_downloads(call: Call[Nothing, Nothing, AddManyRequest | TorrentsForm]) -> Answer[list[Result]]:
    """In the order of the items."""
    body = call.body
    if isinstance(body, TorrentsForm):
        orders = [torrent_order(body, file) for file in body.torrent]
    else:
        orders = [order_of(item) for item in body.items]

    async def carry_out(ids: Sequence[JobId]) -> Answered:
        found = await call.parts.batches.add(call.who, orders, dry_run=body.dry_run, ids=ids)
        show = planned if body.dry_run else download
        told = _RESULTS.dump_json([result(one, call.request_id, show) for one in found]).decode()
        return Answered(told, final=not any(isinstance(one.error, StoreError | Unavailable) for one in found))

    return Answer(encoded=await once(call, "bulk add", orders, carry_out, dry_run=body.dry_run))


@route("POST", "/pause", needs=Scope.JOBS, summary="Pause downloads")
async def pause_downloads(call: Call[Nothing, Nothing, PauseSelector]) -> list[Result]:
    body = call.body
    duration = None if body.for_s is None else Seconds(body.for_s)
    found = await call.parts.batches.pause(
        call.who, body.chosen(), duration=duration, dry_run=body.dry_run
    )
    return _results(found, call.request_id)


@route("POST", "/resume", needs=Scope.JOBS, summary="Resume downloads")
async def resume_downloads(call: Call[Nothing, Nothing, Selector]) -> list[Result]:
    found = await call.parts.batches.resume(call.who, call.body.chosen(), dry_run=call.body.dry_run)
    return _results(found, call.request_id)


@route("POST", "/cancel", needs=Scope.JOBS, summary="Cancel downloads")
async def cancel_downloads(call: Call[Nothing, Nothing, Selector]) -> list[Result]:
    found = await call.parts.batches.cancel(call.who, call.body.chosen(), dry_run=call.body.dry_run)
    return _results(found, call.request_id)


@route("POST", "/retry", needs=Scope.JOBS, summary="Try downloads again")
async def retry_downloads(call: Call[Nothing, Nothing, RetrySelector]) -> list[Result]:
    body = call.body
    found = await call.parts.batches.retry(
        call.who, body.chosen(), node=body.node, engine=body.engine, options=body.options, now=body.now,
        dry_run=body.dry_run,
    )  # fmt: skip
    return _results(found, call.request_id)


@route("POST", "/delete", needs=Scope.JOBS, summary="Remove downloads")
async def delete_downloads(call: Call[Nothing, Nothing, DeleteSelector]) -> list[Result]:
    body = call.body
    found = await call.parts.batches.remove(
        call.who, body.chosen(), keep_data=body.keep_data, dry_run=body.dry_run
    )
    return _results(found, call.request_id)


@route("POST", "/set", needs=Scope.JOBS, summary="Change name, priority, tags or speed limits of downloads")
async def set_downloads(call: Call[Nothing, Nothing, SetSelector]) -> list[Result]:
    body = call.body
    found = await call.parts.batches.set(
        call.who, body.chosen(), body.changes.lines(), dry_run=body.dry_run
    )
    return _results(found, call.request_id)
