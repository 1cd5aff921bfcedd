"""`/api/v1/availability`: what would be there at once."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from oddaemon.api.rest.adding import EXAMPLES, MAX_SOURCE
from oddaemon.api.rest.jobs import problem
from oddaemon.api.rest.models import Model, Nothing, Problem
from oddaemon.api.rest.routes import Call, Routes
from oddaemon.domain.user import Scope
from oddaemon.services.availability import MOST_SOURCES, Availability
from oddaemon.wire.values import clean

route = Routes("availability")

MAX_BODY = 4 << 20


class AvailabilityRequest(Model):
    sources: list[Annotated[str, Field(max_length=MAX_SOURCE)]] = Field(
        min_length=1,
        max_length=MOST_SOURCES,
        description="Info-hashes, magnets or URLs.",
        examples=[EXAMPLES],
    )


class AvailableFile(Model):
    index: int
    path: str
    size: int | None


class Available(Model):
    source: str = Field(description="As it was given, credentials masked.")
    available: bool | None = Field(
        description="true: it would be there at once, its files were looked at just now. null: only the place that it "
        "points to can say."
    )
    key: str | None
    name: str | None
    size: int | None
    files: list[AvailableFile]
    error: Problem | None = Field(description="It is no source.")


def _shown(found: Availability, request_id: str) -> Available:
    return Available(
        source=clean(found.source), available=found.available, key=clean(found.key) or None,
        name=clean(found.name) or None, size=found.size,
        files=[AvailableFile(index=file.index, path=clean(file.path), size=file.size) for file in found.files],
        error=None if found.error is None else problem(found.error, request_id),
    )  # fmt: skip


@route("POST", "/availability", needs=Scope.READ, summary="What would be there at once", max_body=MAX_BODY)
async def check_availability(call: Call[Nothing, Nothing, AvailabilityRequest]) -> list[Available]:
    """In the order of the sources; nothing outside is asked. What only others have counts only if the setting
    `auth.tell_availability` allows it."""
    found = await call.parts.availability.check(call.who, call.body.sources)
    return [_shown(one, call.request_id) for one in found]
