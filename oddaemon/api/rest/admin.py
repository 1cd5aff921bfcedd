"""`/api/v1/admin/*`, for admins: settings, the cache and its clean-up."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from pydantic import Field, JsonValue

from oddaemon.api.rest.jobs import problem, tagged
from oddaemon.api.rest.models import Model, Nothing, PageQuery, Problem
from oddaemon.api.rest.routes import Answer, Call, Page, Routes
from oddaemon.domain.errors import Conflict, NotFound, Pinned, Unsupported
from oddaemon.domain.types import Bytes, Seconds
from oddaemon.domain.user import Role
from oddaemon.services.cache import MOST_REPLICAS
from oddaemon.services.views import CacheView, CleanupResult, SettingView
from oddaemon.wire.messages import cache_message

route = Routes("admin", prefix="/api/v1/admin")

MAX_KEYS = 1000
MOST = 2**62


class Setting(Model):
    key: str
    value: JsonValue
    default: JsonValue
    source: str = Field(description="default, stored, file, env or flag.")
    type: str
    description: str
    editable: bool = Field(description="Can be changed here, and takes effect at once.")
    restart_required: bool


class SettingPath(Model):
    key: str = Field(min_length=1, max_length=128, pattern=r"^[a-z0-9_.]+$", examples=["limits.per_user"])


class SettingChange(Model):
    value: JsonValue = Field(description="As a person would write it (`1GB`, `2h`), or as JSON has it.")
    dry_run: bool = False


class Replica(Model):
    id: UUID
    node: str
    state: str
    size: int = Field(description="Bytes on its disk.")
    wanted: int | None = Field(description="Bytes that it is to have, when that is known.")
    reason: str = Field(description="Why a copy does not go on.")


class CacheEntry(Model):
    key: str
    name: str
    engine: str
    size: int | None
    files: int
    hits: int
    pinned: bool
    wished: int = Field(description="On how many nodes it is to lie while it is pinned.")
    private: bool = Field(description="Fetched with somebody's credentials: nobody else gets it.")
    generation: int
    current: bool = Field(description="The one that an add of the key joins.")
    created_at: datetime | None
    last_used_at: datetime | None
    jobs: list[int]
    users: list[str]
    replicas: list[Replica]


class CacheQuery(PageQuery):
    filter: str = Field(default="", max_length=2000, description="As in `engine=aria2 pinned=true`.")
    sort: str = Field(default="", max_length=2000, description="As in `!size`; by default `!last_used`.")
    key: str = Field(default="", max_length=1000, description="Every generation of this key.")


class PinRequest(Model):
    keys: list[str] = Field(min_length=1, max_length=MAX_KEYS)
    pinned: bool = True
    replicas: int | None = Field(
        default=None, ge=1, le=MOST_REPLICAS, description="To lie on so many nodes while it is pinned; null: as before."
    )


class CopyRequest(Model):
    key: str = Field(min_length=1, max_length=2000)
    node: str = Field(min_length=1, max_length=64, description="The name or id of the node that gets a copy.")


class RemoveRequest(Model):
    keys: list[str] = Field(min_length=1, max_length=MAX_KEYS)
    dry_run: bool = Field(default=False, description="Only say what would go.")


class UnsetQuery(Model):
    dry_run: bool = Field(default=False, description="Only show what would count then.")


class CleanupEntry(Model):
    key: str = Field(max_length=2000)
    generation: int = Field(ge=1, le=MOST)


class CleanupRequest(Model):
    """What no job claims and nobody pinned goes, least recently used first."""

    older_s: float | None = Field(default=None, ge=0, le=1e10, description="Unused for so long; null: any time.")
    until_free: int | None = Field(default=None, ge=0, le=MOST, description="Until so many bytes are free on a node.")
    node: str = Field(default="", max_length=64, description="On this node alone.")
    verify: bool = Field(default=False, description="Look at every file on disk first.")
    dry_run: bool = Field(default=False, description="Only say what would go.")
    only: list[CleanupEntry] | None = Field(
        default=None, max_length=10_000, description="Nothing but what a dry run named; null: whatever fits."
    )


class CleanupItem(Model):
    entry: CacheEntry
    freed_bytes: int
    error: Problem | None = Field(description="Why it stays.")


class Cleanup(Model):
    items: list[CleanupItem]
    freed_bytes: int
    applied: bool


def _setting(view: SettingView) -> Setting:
    return Setting(
        key=view.key, value=view.value, default=view.default, source=view.source, type=view.type,
        description=view.description, editable=view.editable, restart_required=view.restart_required,
    )  # fmt: skip


def _entry(view: CacheView) -> CacheEntry:
    message = cache_message(view)
    return CacheEntry(
        key=message.key, name=message.name, engine=message.engine, size=message.size, files=message.files,
        hits=message.hits, pinned=message.pinned, wished=message.wished, private=message.private,
        generation=message.generation, current=message.current,
        created_at=message.created_at, last_used_at=message.last_used_at, jobs=message.jobs,
        users=message.users,
        replicas=[
            Replica(
                id=UUID(found.id), node=found.node, state=found.state, size=found.size, wanted=found.wanted,
                reason=found.reason,
            )
            for found in message.replicas
        ],
    )  # fmt: skip


def _cleanup(result: CleanupResult, request_id: str) -> Cleanup:
    return Cleanup(
        items=[
            CleanupItem(
                entry=_entry(item.view), freed_bytes=item.freed,
                error=None if item.error is None else problem(item.error, request_id),
            )
            for item in result.items
        ],
        freed_bytes=result.freed, applied=result.applied,
    )  # fmt: skip


# settings


@route("GET", "/settings", needs=Role.ADMIN, summary="All settings")
async def list_settings(call: Call[Nothing, Nothing, Nothing]) -> list[Setting]:
    """With where each value comes from. Secrets are masked."""
    return [_setting(view) for view in await call.parts.settings.list(call.who)]


@route("GET", "/limits", needs=Role.ADMIN, summary="The limits of everybody")
async def list_limits(call: Call[Nothing, Nothing, Nothing]) -> list[Setting]:
    """Settings, changed as any other. Those of one user: `PATCH /admin/users/{user}`."""
    return [_setting(view) for view in await call.parts.settings.list(call.who, ["limits"])]


@route("GET", "/settings/{key}", needs=Role.ADMIN, summary="One setting", errors=[NotFound])
async def get_setting(call: Call[SettingPath, Nothing, Nothing]) -> Answer[Setting]:
    return tagged(_setting(await call.parts.settings.one(call.who, call.path.key)))


@route(
    "PATCH", "/settings/{key}", needs=Role.ADMIN, summary="Change a setting",
    errors=[NotFound, Pinned, Unsupported], shown_by=get_setting,
)  # fmt: skip
async def change_setting(call: Call[SettingPath, Nothing, SettingChange]) -> Setting:
    """In effect when this is answered, and kept."""
    body = call.body
    [view] = await call.parts.settings.set(call.who, {call.path.key: body.value}, dry_run=body.dry_run)
    return _setting(view)


@route(
    "DELETE", "/settings/{key}", needs=Role.ADMIN, summary="Put a setting back to its default",
    errors=[NotFound, Pinned, Unsupported], shown_by=get_setting,
)  # fmt: skip
async def unset_setting(call: Call[SettingPath, UnsetQuery, Nothing]) -> Setting:
    [view] = await call.parts.settings.unset(call.who, [call.path.key], dry_run=call.query.dry_run)
    return _setting(view)


# cache


@route("GET", "/cache", needs=Role.ADMIN, summary="What is cached", errors=[NotFound])
async def list_cache(call: Call[Nothing, CacheQuery, Nothing]) -> Page[CacheEntry]:
    query = call.query
    page = await call.parts.cache.page(
        call.who, filter=query.filter, sort=query.sort, offset=query.offset, limit=query.per_page, key=query.key
    )
    return Page(rows=[_entry(view) for view in page.rows], total=page.total, query=query)


@route("POST", "/cache/pin", needs=Role.ADMIN, summary="Pin content, or unpin it", errors=[NotFound])
async def pin_cache(call: Call[Nothing, Nothing, PinRequest]) -> list[CacheEntry]:
    """Clean-up leaves what is pinned alone."""
    body = call.body
    views = await call.parts.cache.pin(call.who, body.keys, pinned=body.pinned, replicas=body.replicas)
    return [_entry(view) for view in views]


@route("POST", "/cache/copy", needs=Role.ADMIN, summary="Copy content to one more node",
       errors=[NotFound, Conflict])
async def copy_cache(call: Call[Nothing, Nothing, CopyRequest]) -> CacheEntry:
    """Goes on in the background: the entry's replicas tell how far it is."""
    return _entry(await call.parts.cache.copy(call.who, call.body.key, call.body.node))


@route("POST", "/cache/remove", needs=Role.ADMIN, summary="Remove content", errors=[NotFound])
async def remove_cache(call: Call[Nothing, Nothing, RemoveRequest]) -> Cleanup:
    """What is claimed, pinned or out of reach stays, each with its reason."""
    result = await call.parts.cache.remove(call.who, call.body.keys, dry_run=call.body.dry_run)
    return _cleanup(result, call.request_id)


@route("POST", "/cleanup", needs=Role.ADMIN, summary="Clean up the cache", errors=[NotFound])
async def clean_up(call: Call[Nothing, Nothing, CleanupRequest]) -> Cleanup:
    body = call.body
    result = await call.parts.cache.cleanup(
        call.who, older=None if body.older_s is None else Seconds(body.older_s),
        until_free=None if body.until_free is None else Bytes(body.until_free), node=body.node, dry_run=body.dry_run,
        verify=body.verify,
        named=None if body.only is None else [(entry.key, entry.generation) for entry in body.only],
    )  # fmt: skip
    return _cleanup(result, call.request_id)
