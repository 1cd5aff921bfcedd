"""What a user uses, beside what the user may use."""

from __future__ import annotations

from datetime import datetime

from pydantic import Field

from oddaemon.api.rest.jobs import tagged
from oddaemon.api.rest.models import Model, Nothing
from oddaemon.api.rest.routes import Answer, Call, Routes
from oddaemon.api.rest.users import UserPath
from oddaemon.domain.errors import NotFound
from oddaemon.domain.user import Role, Scope
from oddaemon.services.views import UsageView
from oddaemon.wire.values import clean

route = Routes("usage")


class LimitsInForce(Model):
    """The user's own limits, and those of the settings where there is none. null: no limit."""

    running: int | None
    jobs: int | None
    storage: int | None
    served_per_day: int | None
    requests_per_minute: int | None


class Usage(Model):
    user: str
    running: int = Field(description="Downloads that run.")
    jobs: int = Field(description="Unfinished downloads.")
    stored: int = Field(description="Bytes that are charged to the user.")
    served_today: int = Field(description="Bytes that the user's links gave since midnight UTC.")
    day_ends_at: datetime = Field(description="When `served_today` starts again.")
    requests: int = Field(description="Of the last minute; counted only where there is a limit.")
    limits: LimitsInForce


def _shown(found: UsageView) -> Usage:
    may = found.allowance
    return Usage(
        user=clean(found.username), running=found.running, jobs=found.jobs, stored=found.stored,
        served_today=found.served_today, day_ends_at=found.day_ends_at, requests=found.requests,
        limits=LimitsInForce(
            running=may.running or None, jobs=may.jobs or None, storage=may.storage or None,
            served_per_day=may.served_per_day or None, requests_per_minute=may.requests_per_minute or None,
        ),
    )  # fmt: skip


@route("GET", "/auth/usage", needs=Scope.READ, summary="What one uses and may use")
async def get_my_usage(call: Call[Nothing, Nothing, Nothing]) -> Answer[Usage]:
    return tagged(_shown(await call.parts.quotas.usage(call.who)))


@route("GET", "/admin/users/{user}/usage", needs=Role.ADMIN, summary="What a user uses and may use", errors=[NotFound])
async def get_usage(call: Call[UserPath, Nothing, Nothing]) -> Answer[Usage]:
    return tagged(_shown(await call.parts.quotas.usage(call.who, call.path.user)))
