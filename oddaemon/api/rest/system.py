"""`/api/v1/version`: what is running here."""

from __future__ import annotations

from pydantic import Field

from oddaemon.api.rest.models import Model, Nothing
from oddaemon.api.rest.routes import PUBLIC, Call, Routes

route = Routes("system")


class Version(Model):
    version: str = Field(description="Of the daemon.")
    api: str = Field(description="Of this API: additions do not change it.")


@route("GET", "/version", needs=PUBLIC, summary="Version of the daemon and of this API")
async def get_version(call: Call[Nothing, Nothing, Nothing]) -> Version:
    return Version(version=call.parts.version, api="v1")
