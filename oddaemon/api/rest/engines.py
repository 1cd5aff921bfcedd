"""`/api/v1/engines`, and `/api/v1/{engine}/…`: the same routes for every engine, also for one that comes later."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from oddaemon.api.rest.adding import (
    EXAMPLES,
    MAX_ADD,
    MAX_SOURCE,
    AddRequest,
    KeyHeader,
    Options,
    TorrentForm,
    one_added,
    order_of,
    torrent_order,
)
from oddaemon.api.rest.downloads import (
    ADD_ERRORS,
    DeleteQuery,
    JobPath,
    ListQuery,
    RemovedDownload,
    added,
)
from oddaemon.api.rest.jobs import Download, File, download, file_of, shown_file, tagged
from oddaemon.api.rest.models import File as FilePart
from oddaemon.api.rest.models import Form, Model, Nothing, PageQuery
from oddaemon.api.rest.routes import Answer, Call, Page, Routes
from oddaemon.domain.errors import (
    Conflict,
    DeadlineExceeded,
    EngineFailed,
    EngineUnavailable,
    NodeUnavailable,
    NotFound,
    Unavailable,
    Unsupported,
)
from oddaemon.domain.types import NodeId, Seconds
from oddaemon.domain.user import Scope
from oddaemon.services.views import EngineView, ProbeView
from oddaemon.wire.messages import engine_message, probe_message

route = Routes("engines")

MAX_PROBE_SECONDS = 600.0
EngineName = Annotated[
    str, Field(min_length=1, max_length=64, pattern=r"^[a-z0-9_-]+$", description="`GET /engines` lists them.")
]


class EnginePath(Model):
    engine: EngineName


class EngineJobPath(JobPath):
    engine: EngineName


class EngineOption(Model):
    name: str
    type: str
    description: str
    choices: list[str]
    changes_content: bool = Field(description="With another value it is another content.")
    secret: bool


class Engine(Model):
    name: str
    version: str | None
    ok: bool
    active: int
    limit: int = Field(description="Downloads at the same time.")
    message: str
    capabilities: dict[str, bool]
    schemes: list[str]
    options: list[EngineOption]


class InfoRequest(Model):
    source: str = Field(min_length=1, max_length=MAX_SOURCE, examples=EXAMPLES)
    options: Options = Field(default_factory=dict)
    node: str = Field(default="", max_length=1000, description="As this one sees it.")
    timeout_s: float = Field(default=60, gt=0, le=MAX_PROBE_SECONDS)


class InfoForm(Form):
    torrent: FilePart = Field(description="A .torrent file.")


class Format(Model):
    id: str
    extension: str
    description: str
    size: int | None
    video_codec: str | None
    audio_codec: str | None
    width: int | None
    height: int | None
    bitrate_kbps: float | None


class Info(Model):
    """What a source would yield."""

    engine: str
    name: str
    size: int | None
    files: list[File]
    formats: list[Format]
    cache_key: str | None
    cache_hit: bool | None = Field(description="null: not known.")
    would_run_on: str | None = Field(description="null: nowhere now.")
    placement: str = Field(description="Why there, or why nowhere.")


def engine_of(view: EngineView) -> Engine:
    message = engine_message(view)
    return Engine(
        name=message.name, version=message.version or None, ok=message.ok, active=message.active, limit=message.limit,
        message=message.message, capabilities=message.capabilities, schemes=message.schemes,
        options=[
            EngineOption(
                name=option.name, type=option.type, description=option.description, choices=option.choices,
                changes_content=option.changes_content, secret=option.secret,
            )
            for option in message.options
        ],
    )  # fmt: skip


def _info(view: ProbeView) -> Info:
    message = probe_message(view)
    return Info(
        engine=message.engine, name=message.name, size=message.size, files=[file_of(file) for file in message.files],
        formats=[
            Format(
                id=found.id, extension=found.extension, description=found.description, size=found.size,
                video_codec=found.video_codec or None, audio_codec=found.audio_codec or None, width=found.width,
                height=found.height, bitrate_kbps=found.bitrate_kbps,
            )
            for found in message.formats
        ],
        cache_key=message.cache_key or None, cache_hit=message.cache_hit, would_run_on=message.would_run_on or None,
        placement=message.placement,
    )  # fmt: skip


@route("GET", "/engines", needs=Scope.READ, summary="The engines, and what they take")
async def list_engines(call: Call[Nothing, Nothing, Nothing]) -> list[Engine]:
    return [engine_of(view) for view in await call.parts.status.engines(call.who)]


@route(
    "POST", "/{engine}/add", needs=Scope.JOBS, summary="Add a download to an engine", status=201,
    errors=[NotFound, Conflict, *ADD_ERRORS], max_body=MAX_ADD, headers=KeyHeader, other_statuses=[200],
)  # fmt: skip
async def add_to_engine(call: Call[EnginePath, Nothing, AddRequest | TorrentForm]) -> Answer[Download]:
    """As `POST /downloads`; the engine is the path's, whatever the body says."""
    body = call.body
    engine = call.parts.jobs.engine(call.path.engine)
    order = torrent_order(body, body.torrent, engine) if isinstance(body, TorrentForm) else order_of(body, engine)
    return added(await one_added(call, order, dry_run=body.dry_run), dry_run=body.dry_run)


@route(
    "POST", "/{engine}/info", needs=Scope.JOBS, summary="Look at a source without downloading it", max_body=MAX_ADD,
    errors=[NotFound, EngineFailed, DeadlineExceeded, Unavailable, EngineUnavailable, NodeUnavailable, Unsupported],
)  # fmt: skip
async def get_info(call: Call[EnginePath, Nothing, InfoRequest | InfoForm]) -> Info:
    """Name, files and formats, as the engine finds them at the origin."""
    body = call.body
    engine = call.parts.jobs.engine(call.path.engine)
    if isinstance(body, InfoForm):
        asked = InfoRequest.model_construct(source="")
        torrent: bytes | None = body.torrent.data
    else:
        asked, torrent = body, None
    view = await call.parts.prober.probe(
        call.who, asked.source, torrent=torrent, engine=engine, options=asked.options,
        deadline=Seconds(asked.timeout_s), on=NodeId(asked.node) if asked.node else None,
    )  # fmt: skip
    return _info(view)


@route("GET", "/{engine}/jobs", needs=Scope.READ, summary="Downloads of an engine", errors=[NotFound])
async def list_engine_jobs(call: Call[EnginePath, ListQuery, Nothing]) -> Page[Download]:
    """As `GET /downloads`, of those that are known to be this engine's."""
    query, jobs = call.query, call.parts.jobs
    only = f"engine={jobs.engine(call.path.engine)}"
    page = await jobs.page(
        call.who, filter=f"{query.filter} {only}" if query.filter else only, sort=query.sort, offset=query.offset,
        limit=query.per_page, include_old=query.all,
    )  # fmt: skip
    return Page(rows=[download(view) for view in page.rows], total=page.total, query=query)


@route("GET", "/{engine}/jobs/{id}", needs=Scope.READ, summary="One download of an engine", errors=[NotFound])
async def get_engine_job(call: Call[EngineJobPath, Nothing, Nothing]) -> Answer[Download]:
    view = await call.parts.jobs.get(call.who, call.path.id, engine=call.path.engine)
    return tagged(download(view))


@route(
    "GET", "/{engine}/jobs/{id}/files", needs=Scope.READ, summary="Files of a download of an engine", errors=[NotFound]
)
async def list_engine_job_files(call: Call[EngineJobPath, PageQuery, Nothing]) -> Page[File]:
    query, parts = call.query, call.parts
    view = await parts.jobs.get(call.who, call.path.id, engine=call.path.engine)
    page = await parts.job_files.files(call.who, str(view.job.number), offset=query.offset, limit=query.per_page)
    return Page(rows=[shown_file(file) for file in page.rows], total=page.total, query=query)


@route(
    "DELETE", "/{engine}/jobs/{id}", needs=Scope.JOBS, summary="Remove a download of an engine", errors=[NotFound],
    shown_by=get_engine_job,
)  # fmt: skip
async def delete_engine_job(call: Call[EngineJobPath, DeleteQuery, Nothing]) -> RemovedDownload:
    """As `DELETE /downloads/{id}`."""
    parts, who, query = call.parts, call.who, call.query
    job = (await parts.jobs.get(who, call.path.id, engine=call.path.engine)).job
    removed = await parts.downloads.remove(who, job.id, keep_data=query.keep_data, dry_run=query.dry_run)
    return RemovedDownload(download=download(removed.view), freed_bytes=removed.freed)
