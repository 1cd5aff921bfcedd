"""The aiohttp application: every route, once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import chain

from aiohttp import web

from oddaemon.api.rest import (
    accounts,
    admin,
    availability,
    bulk,
    downloads,
    engines,
    events,
    files,
    health,
    nodes,
    reference,
    system,
    usage,
    users,
)
from oddaemon.api.rest.edge import Edge
from oddaemon.api.rest.endpoint import Endpoint
from oddaemon.api.rest.origin import EdgePolicy
from oddaemon.api.rest.parts import RestParts
from oddaemon.api.rest.routes import ALL_ROUTES, Route

MODULES = (
    health, system, reference, accounts, downloads, bulk, files, availability, events, admin, nodes, usage, users,
    # last: where an engine's name would stand, others come first
    engines,
)  # fmt: skip
ROUTES: Sequence[Route] = tuple(chain.from_iterable(module.route for module in MODULES))


def build_app(
    parts: RestParts, policy: Callable[[], EdgePolicy], routes: Sequence[Route] = ROUTES
) -> tuple[web.Application, Edge]:
    """The application, and the edge that knows what is in flight."""
    edge = Edge(parts, policy)

    @web.middleware
    async def around(request: web.Request, handler: Callable[..., object]) -> web.StreamResponse:
        return await edge.handle(request, handler)  # type: ignore[arg-type]

    app = web.Application(middlewares=[around])
    app[ALL_ROUTES] = routes
    for route in routes:
        endpoint = Endpoint(route, parts)
        resource = app.router.add_resource(route.path)
        resource.add_route(route.method, endpoint.handle)
        if route.method == "GET":
            resource.add_route("HEAD", endpoint.handle)
    return app, edge
