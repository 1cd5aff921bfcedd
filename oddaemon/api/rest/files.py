"""`/api/v1/files`: what a job holds, and links to it."""

from __future__ import annotations

from datetime import datetime
from typing import Literal
from uuid import UUID

from pydantic import Field

from oddaemon.api.rest.downloads import JobPath
from oddaemon.api.rest.jobs import File, shown_file
from oddaemon.api.rest.models import Model, Nothing, PageQuery
from oddaemon.api.rest.routes import PUBLIC, Answer, Call, Page, Routes
from oddaemon.domain.errors import LimitExceeded, NodeUnavailable, NotFound, NotReady, StorageMissing
from oddaemon.domain.link import LONGEST_LINK, LinkKind, LinkState
from oddaemon.domain.types import Seconds
from oddaemon.domain.user import Scope
from oddaemon.services.links import MOST_USES, Revoked
from oddaemon.services.views import LinkView
from oddaemon.wire.messages import link_message

route = Routes("files", prefix="/api/v1/files")


class LinkRequest(Model):
    """Links to ready files of a download."""

    path: str | None = Field(default=None, max_length=10_000, description="One file, by its path, index or a glob.")
    files: list[str] = Field(
        default_factory=list, max_length=10_000,
        description="Several, the same way. Neither: every ready file that is selected.",
    )  # fmt: skip
    kind: LinkKind = Field(default=LinkKind.FILE, description="`zip`: a folder; `m3u`: a playlist of files.")
    folder: str = Field(default="", max_length=10_000, description="Of a `zip`; empty: everything.")
    ttl_s: float | None = Field(default=None, ge=1, le=LONGEST_LINK, description="For so many seconds it works.")
    inline: bool = Field(default=False, description="Shown by browsers instead of saved.")
    max_uses: int | None = Field(default=None, ge=1, le=MOST_USES, description="So many downloads.")
    address: str = Field(default="", max_length=64, description="It works from this address or network alone.")


class Link(Model):
    id: UUID
    state: LinkState
    job: int | None = Field(description="null: the job is gone.")
    index: int = Field(description="Of the file; 0 for a folder or playlist.")
    path: str
    kind: LinkKind
    url: str | None = Field(description="Shown once, when the link is made.")
    node: str
    size: int | None
    content_type: str | None
    created_at: datetime
    expires_at: datetime
    revoked_at: datetime | None
    access_count: int
    bytes_served: int
    max_uses: int | None
    uses_left: int | None
    address: str | None = Field(description="From where alone it works.")


class BrowseQuery(PageQuery):
    path: str = Field(default="", max_length=10_000, description="Of a folder; empty: the top.")


class Item(Model):
    """A folder, or a file."""

    name: str
    path: str = Field(description="From the top: what `path` takes for a folder.")
    kind: Literal["folder", "file"]
    size: int | None = Field(description="Of a folder: of all that is in it, as soon as all of it is known.")
    files: int = Field(description="How many are in the folder; 1 of a file.")
    file: File | None = Field(description="null: of a folder.")


class LinkPath(Model):
    id: UUID


class TokenPath(Model):
    token: str = Field(min_length=1, max_length=200)


class LinksQuery(PageQuery):
    job: str = Field(default="", max_length=80, description="Of this download alone.")
    state: LinkState | None = Field(default=None, description="Those alone that are in it now.")


class RevokeQuery(Model):
    job: str = Field(min_length=1, max_length=80, description="All links of this download.")


class NotReached(Model):
    node: str
    until: datetime = Field(description="They work there no more then, at the latest.")


class RevokedLinks(Model):
    revoked: int = Field(description="How many worked until now.")
    not_reached: list[NotReached] = Field(description="Nodes that serve some of them and could not be told.")


def _revoked(done: Revoked) -> RevokedLinks:
    away = [NotReached(node=node, until=until) for node, until in done.not_reached.items()]
    return RevokedLinks(revoked=done.count, not_reached=away)


def _link(view: LinkView) -> Link:
    message = link_message(view)
    link = view.link
    return Link(
        id=link.id, state=view.state, job=message.job or None, index=message.index, path=message.path, kind=link.kind,
        url=message.url or None, node=message.node, size=message.size, content_type=message.content_type or None,
        created_at=link.created_at, expires_at=link.expires_at, revoked_at=link.revoked_at,
        access_count=message.access_count, bytes_served=message.bytes_served, max_uses=message.max_uses,
        uses_left=message.uses_left, address=message.address or None,
    )  # fmt: skip


@route("GET", "/jobs/{id}/browse", needs=Scope.READ, summary="One folder of a download", errors=[NotFound])
async def browse(call: Call[JobPath, BrowseQuery, Nothing]) -> Page[Item]:
    """Folders first, each by name. All files at once: `GET /downloads/{id}/files`."""
    query = call.query
    page = await call.parts.job_files.browse(
        call.who, call.path.id, query.path, offset=query.offset, limit=query.per_page
    )
    rows = [
        Item(
            name=item.name, path=item.path, kind="folder" if view is None else "file", size=item.size,
            files=item.files, file=None if view is None else shown_file(view),
        )
        for item, view in page.rows
    ]  # fmt: skip
    return Page(rows=rows, total=page.total, query=query)


@route(
    "POST", "/jobs/{id}/link", needs=Scope.JOBS, summary="Make links", status=201,
    errors=[NotFound, NotReady, NodeUnavailable, StorageMissing, LimitExceeded],
)  # fmt: skip
async def make_links(call: Call[JobPath, Nothing, LinkRequest]) -> list[Link]:
    """One for each file, or one for a folder as a ZIP or for a playlist. They lead to the file server of the node that
    holds the files, need no other credential, and end when they expire, are revoked, or the job is removed."""
    body = call.body
    made = await call.parts.links.create(
        call.who, call.path.id, files=[*body.files, *([] if body.path is None else [body.path])],
        ttl=None if body.ttl_s is None else Seconds(body.ttl_s), inline=body.inline, kind=body.kind,
        folder=body.folder, max_uses=body.max_uses, address=body.address,
    )  # fmt: skip
    return [_link(view) for view in made]


@route("GET", "/links", needs=Scope.READ, summary="One's own links", errors=[NotFound])
async def list_links(call: Call[Nothing, LinksQuery, Nothing]) -> Page[Link]:
    """Newest first; those of one download oldest first. Without their URLs."""
    query = call.query
    page = await call.parts.links.page(
        call.who, id=query.job or None, offset=query.offset, limit=query.per_page, state=query.state
    )
    return Page(rows=[_link(view) for view in page.rows], total=page.total, query=query)


@route("DELETE", "/links", needs=Scope.JOBS, summary="Revoke all links of a download", errors=[NotFound])
async def revoke_links(call: Call[Nothing, RevokeQuery, Nothing]) -> RevokedLinks:
    """None of them works any more when this is answered, but on nodes that were not reached."""
    return _revoked(await call.parts.links.revoke(call.who, (), job=call.query.job))


@route("DELETE", "/links/{id}", needs=Scope.JOBS, summary="Revoke a link", errors=[NotFound])
async def revoke_link(call: Call[LinkPath, Nothing, Nothing]) -> RevokedLinks:
    """It does not work any more when this is answered, but on a node that was not reached."""
    return _revoked(await call.parts.links.revoke(call.who, [str(call.path.id)]))


@route("GET", "/d/{token}", needs=PUBLIC, summary="To where a link leads", status=307, errors=[NotFound])
async def follow_link(call: Call[TokenPath, Nothing, Nothing]) -> Answer[None]:
    """To the file server, which is where files are served: links point there from the start."""
    return Answer(data=None, headers={"Location": await call.parts.link_serving.place(call.path.token)})
