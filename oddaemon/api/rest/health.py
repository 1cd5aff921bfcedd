"""`/healthz`, `/readyz`, `/metrics`: for those who watch over the daemon. They tell no names."""

from __future__ import annotations

from aiohttp import web

from oddaemon.api.rest.endpoint import authenticated
from oddaemon.api.rest.exposition import TYPE, exposition
from oddaemon.api.rest.models import Model, Nothing
from oddaemon.api.rest.routes import PUBLIC, Call, Routes
from oddaemon.domain.errors import Unavailable
from oddaemon.domain.user import require_admin

route = Routes("health", prefix="")

Get = Call[Nothing, Nothing, Nothing]


class Alive(Model):
    alive: bool


class Ready(Model):
    ready: bool


@route("GET", "/healthz", needs=PUBLIC, summary="Whether the daemon is alive")
async def get_health(call: Get) -> Alive:
    """It answers: that is all it says. For whoever restarts what hangs."""
    return Alive(alive=True)


@route("GET", "/readyz", needs=PUBLIC, summary="Whether the daemon can do its work", errors=[Unavailable])
async def get_readiness(call: Get) -> Ready:
    """503 when something is missing; `details.missing` says what: the store, the reconciler, engines, the disk, file
    processes."""
    missing = await call.parts.readiness.missing()
    if missing:
        raise Unavailable(
            "not ready: " + "; ".join(f"{item.part}: {item.message}" for item in missing),
            hint="odctl doctor", missing=[{"part": item.part, "message": item.message} for item in missing],
        )  # fmt: skip
    return Ready(ready=True)


@route("GET", "/metrics", needs=PUBLIC, summary="Figures for Prometheus", produces=TYPE)
async def get_metrics(call: Get) -> web.Response:
    """The text format 0.0.4. `server.metrics_public` says whether it takes an admin's key."""
    if not call.parts.metrics_public():
        require_admin(await authenticated(call.parts.authenticator, call.request))
    text = exposition(await call.parts.metrics.collect())
    return web.Response(body=text.encode(), headers={"Content-Type": f"{TYPE}; version=0.0.4; charset=utf-8"})
