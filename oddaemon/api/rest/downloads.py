"""`/api/v1/downloads`: every job of every engine, one at a time."""

from __future__ import annotations

import json
from typing import Annotated

from pydantic import Field

from oddaemon.api.rest.adding import MAX_ADD, AddRequest, KeyHeader, TorrentForm, one_added, order_of, torrent_order
from oddaemon.api.rest.jobs import Download, File, download, shown_file, tagged
from oddaemon.api.rest.models import Model, Nothing, PageQuery
from oddaemon.api.rest.routes import Answer, Call, Page, Routes
from oddaemon.domain.errors import (
    Conflict,
    EngineUnavailable,
    LimitExceeded,
    NoSpace,
    NotFound,
    Unsupported,
    WrongState,
)
from oddaemon.domain.types import Seconds
from oddaemon.domain.user import Scope
from oddaemon.services.batches import MAX_PAUSE_SECONDS

route = Routes("downloads")

MOST_RATE = 2**53
Tag = Annotated[str, Field(pattern=r"^[^\s,=]{1,64}$")]
ADD_ERRORS = (LimitExceeded, NoSpace, EngineUnavailable, Unsupported)


class JobPath(Model):
    id: str = Field(
        min_length=1,
        max_length=80,
        pattern=r"^[^,\s]+$",
        description="A number, UUID, info-hash, or @last.",
        examples=["1", "@last"],
    )


FILTER = "As in `state=active size>1G | name~linux !tag=keep`: see docs/reference/filters.md."


class ListQuery(PageQuery):
    filter: str = Field(default="", max_length=2000, description=FILTER)
    sort: str = Field(default="", max_length=2000, description="As in `!size,name`; `!`: downwards.")
    all: bool = Field(default=False, description="Also what finished more than seven days ago.")


class DryRun(Model):
    dry_run: bool = Field(default=False, description="Only say what would come of it.")


class PauseQuery(DryRun):
    for_s: float | None = Field(
        default=None, gt=0, le=MAX_PAUSE_SECONDS, description="For so many seconds; by default until it is resumed."
    )


class RetryRequest(Model):
    node: str = Field(default="", max_length=1000)
    engine: str = Field(default="", max_length=1000)
    options: dict[str, str] = Field(default_factory=dict, max_length=100, description="Credentials that were erased.")
    now: bool = Field(default=False, description="Also a job that waits for its next try: it comes at once.")
    dry_run: bool = False


class Changes(Model):
    """What is left out stays."""

    name: str | None = Field(default=None, max_length=1000, description="Empty: what the engine calls it.")
    priority: int | None = Field(default=None, ge=-1000, le=1000)
    to_the_top: bool = Field(default=False, description="Before every other job that waits.")
    tags: list[Tag] | None = Field(default=None, max_length=50)
    max_rate_down: int | None = Field(default=None, ge=0, le=MOST_RATE, description="0: no limit.")
    max_rate_up: int | None = Field(default=None, ge=0, le=MOST_RATE, description="0: no limit.")
    seed_ratio: float | None = Field(default=None, ge=0, le=1000, description="0: no seeding.")

    def lines(self) -> list[str]:
        """As the service takes them."""
        tags = None if self.tags is None else ",".join(self.tags)
        given = {
            "name": self.name, "priority": self.priority, "position": "top" if self.to_the_top else None,
            "tags": tags, "rate_down": self.max_rate_down, "rate_up": self.max_rate_up, "seed_ratio": self.seed_ratio,
        }  # fmt: skip
        return [f"{key}={value}" for key, value in given.items() if value is not None]


class Selection(Model):
    selection: str = Field(max_length=10_000, description="As in 1-3,*.mkv; `+4` and `-2` add and take away.")


class DeleteQuery(DryRun):
    keep_data: bool = Field(default=False, description="Keep the files of a finished download until clean-up.")


class RemovedDownload(Model):
    download: Download = Field(description="As it was.")
    freed_bytes: int = Field(description="0 while somebody else claims the content, or it is kept.")


def added(made: bytes, *, dry_run: bool) -> Answer[Download]:
    """The answer to an add, of a download that is JSON already."""
    if dry_run:
        return Answer(encoded=made, status=200)
    return Answer(encoded=made, headers={"Location": f"/api/v1/downloads/{json.loads(made)['id']}"})


@route("GET", "/downloads", needs=Scope.READ, summary="Downloads")
async def list_downloads(call: Call[Nothing, ListQuery, Nothing]) -> Page[Download]:
    """One's own; admins see everybody's."""
    query = call.query
    page = await call.parts.jobs.page(
        call.who, filter=query.filter, sort=query.sort, offset=query.offset, limit=query.per_page,
        include_old=query.all,
    )  # fmt: skip
    return Page(rows=[download(view) for view in page.rows], total=page.total, query=query)


@route(
    "POST", "/downloads", needs=Scope.JOBS, summary="Add a download", status=201, errors=[Conflict, *ADD_ERRORS],
    max_body=MAX_ADD, headers=KeyHeader, other_statuses=[200],
)  # fmt: skip
async def add_download(call: Call[Nothing, Nothing, AddRequest | TorrentForm]) -> Answer[Download]:
    """Stored when it is answered. `cache_hit` says whether it was there already. Several at once: `/bulk/add`. A dry
    run answers 200."""
    body = call.body
    order = torrent_order(body, body.torrent) if isinstance(body, TorrentForm) else order_of(body)
    return added(await one_added(call, order, dry_run=body.dry_run), dry_run=body.dry_run)


@route("GET", "/downloads/{id}", needs=Scope.READ, summary="One download", errors=[NotFound])
async def get_download(call: Call[JobPath, Nothing, Nothing]) -> Answer[Download]:
    return tagged(download(await call.parts.jobs.get(call.who, call.path.id)))


@route(
    "PATCH", "/downloads/{id}", needs=Scope.JOBS, summary="Change name, priority, tags or speed limits",
    errors=[NotFound, WrongState], shown_by=get_download,
)  # fmt: skip
async def change_download(call: Call[JobPath, DryRun, Changes]) -> Download:
    downloads, who = call.parts.downloads, call.who
    job = (await call.parts.jobs.get(who, call.path.id)).job
    return download(await downloads.set(who, job.id, call.body.lines(), dry_run=call.query.dry_run))


@route(
    "DELETE", "/downloads/{id}", needs=Scope.JOBS, summary="Remove a download", errors=[NotFound],
    shown_by=get_download,
)  # fmt: skip
async def delete_download(call: Call[JobPath, DeleteQuery, Nothing]) -> RemovedDownload:
    """Its links are dead; its files go when nobody else claims them."""
    downloads, who = call.parts.downloads, call.who
    job = (await call.parts.jobs.get(who, call.path.id)).job
    removed = await downloads.remove(who, job.id, keep_data=call.query.keep_data, dry_run=call.query.dry_run)
    return RemovedDownload(download=download(removed.view), freed_bytes=removed.freed)


@route("GET", "/downloads/{id}/files", needs=Scope.READ, summary="Files of a download", errors=[NotFound])
async def list_download_files(call: Call[JobPath, PageQuery, Nothing]) -> Page[File]:
    """As far as they are known."""
    query = call.query
    page = await call.parts.job_files.files(call.who, call.path.id, offset=query.offset, limit=query.per_page)
    return Page(rows=[shown_file(file) for file in page.rows], total=page.total, query=query)


@route(
    "PUT", "/downloads/{id}/selection", needs=Scope.JOBS, summary="Choose files", errors=[NotFound, WrongState]
)  # fmt: skip
async def select_files(call: Call[JobPath, Nothing, Selection]) -> Page[File]:
    """Before the files are known the selection is kept, and applied then. The answer has the first of them."""
    page = await call.parts.job_files.select(call.who, call.path.id, call.body.selection)
    query = PageQuery()
    return Page(rows=[shown_file(file) for file in page.rows[: query.per_page]], total=page.total, query=query)


@route("POST", "/downloads/{id}/pause", needs=Scope.JOBS, summary="Pause", errors=[NotFound, WrongState])
async def pause_download(call: Call[JobPath, PauseQuery, Nothing]) -> Download:
    downloads, who = call.parts.downloads, call.who
    job = (await call.parts.jobs.get(who, call.path.id)).job
    duration = None if call.query.for_s is None else Seconds(call.query.for_s)
    return download(await downloads.pause(who, job.id, duration=duration, dry_run=call.query.dry_run))


@route("POST", "/downloads/{id}/resume", needs=Scope.JOBS, summary="Resume", errors=[NotFound, WrongState])
async def resume_download(call: Call[JobPath, DryRun, Nothing]) -> Download:
    """Undoes a pause, and lets a job that waits between two tries try now."""
    downloads, who = call.parts.downloads, call.who
    job = (await call.parts.jobs.get(who, call.path.id)).job
    return download(await downloads.resume(who, job.id, dry_run=call.query.dry_run))


@route("POST", "/downloads/{id}/cancel", needs=Scope.JOBS, summary="Cancel", errors=[NotFound, WrongState])
async def cancel_download(call: Call[JobPath, DryRun, Nothing]) -> Download:
    """Gives the claim up; the job stays in the list."""
    downloads, who = call.parts.downloads, call.who
    job = (await call.parts.jobs.get(who, call.path.id)).job
    return download(await downloads.cancel(who, job.id, dry_run=call.query.dry_run))


@route(
    "POST", "/downloads/{id}/retry", needs=Scope.JOBS, summary="Try again",
    errors=[NotFound, WrongState, Unsupported, LimitExceeded],
)  # fmt: skip
async def retry_download(call: Call[JobPath, Nothing, RetryRequest]) -> Download:
    """A failed or cancelled job is queued again."""
    downloads, who, body = call.parts.downloads, call.who, call.body
    job = (await call.parts.jobs.get(who, call.path.id)).job
    view = await downloads.retry(
        who, job.id, node=body.node, engine=body.engine, options=body.options, now=body.now, dry_run=body.dry_run
    )
    return download(view)
