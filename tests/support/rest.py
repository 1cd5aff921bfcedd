"""The REST API in the test's own process: with routes of the test's own and no services, or a composed controller's."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

from aiohttp import ClientResponse, ClientSession, CookieJar
from uuid_utils.compat import uuid7

from oddaemon.api.rest.app import build_app
from oddaemon.api.rest.edge import Edge
from oddaemon.api.rest.origin import EdgePolicy
from oddaemon.api.rest.parts import Authenticator, Limiter, RestParts, Unlimited
from oddaemon.api.rest.routes import Route
from oddaemon.api.rest.server import RestServer
from oddaemon.app.system_clock import SystemClock
from oddaemon.domain.errors import Unauthenticated
from oddaemon.domain.types import UserId
from oddaemon.domain.user import ALL_SCOPES, Principal, Proof, Role, Scope
from tests.support.wait import until


def somebody(name: str = "maya", role: Role = Role.USER, scopes: frozenset[Scope] = ALL_SCOPES) -> Principal:
    return Principal(user_id=UserId(uuid7()), username=name, role=role, proof=Proof.API_KEY, scopes=scopes)


@dataclass(slots=True)
class Known(Authenticator):
    """Who is known by which key or token."""

    keys: Mapping[str, Principal] = field(default_factory=dict)
    tokens: Mapping[str, Principal] = field(default_factory=dict)

    async def by_api_key(self, secret: str) -> Principal:
        return self._found(self.keys, secret)

    async def by_access_token(self, token: str) -> Principal:
        return self._found(self.tokens, token)

    def _found(self, known: Mapping[str, Principal], proof: str) -> Principal:
        if proof not in known:
            raise Unauthenticated("no such proof, and this tells too much")
        return known[proof]


@dataclass(slots=True)
class Rest:
    """A server and a client of it."""

    url: str
    session: ClientSession
    edge: Edge
    server: RestServer
    observed: list[tuple[str, str, int]]

    async def raw(self, data: bytes) -> bytes:
        """What a new connection is answered until it is closed."""
        host, port = self.url.removeprefix("http://").rsplit(":", 1)
        reader, writer = await asyncio.open_connection(host, int(port))
        try:
            writer.write(data)
            return await reader.read()
        finally:
            writer.close()

    async def hang_up(self, data: bytes, when: Callable[[], bool]) -> None:
        """Sends this on a new connection, and goes away as soon as that is so."""
        host, port = self.url.removeprefix("http://").rsplit(":", 1)
        _, writer = await asyncio.open_connection(host, int(port))
        writer.write(data)
        await until(when, what="the moment to hang up")
        writer.transport.abort()

    async def call(self, method: str, path: str, **more: Any) -> tuple[ClientResponse, Any]:
        """The answer and its envelope (None without a body)."""
        async with self.session.request(method, self.url + path, **more) as response:
            return response, await response.json() if await response.read() else None

    async def get(self, path: str, **more: Any) -> tuple[ClientResponse, Any]:
        return await self.call("GET", path, **more)


@contextlib.asynccontextmanager
async def serving(
    routes: Sequence[Route], *, authenticator: Authenticator | None = None, policy: EdgePolicy | None = None,
    limiter: Limiter | None = None, **server: Any,
) -> AsyncIterator[Rest]:  # fmt: skip
    nothing = cast(Any, None)
    observed: list[tuple[str, str, int]] = []
    parts = RestParts(
        authenticator=authenticator or Known(), accounts=nothing, quotas=nothing, downloads=nothing, jobs=nothing,
        job_files=nothing, prober=nothing, batches=nothing, links=nothing, link_serving=nothing, cache=nothing,
        settings=nothing, status=nothing, nodes=nothing, availability=nothing, keyed_adds=nothing, feed=nothing,
        live_feed=nothing, clock=SystemClock(), version="1.2.3",
        limiter=limiter or Unlimited(), readiness=nothing, metrics=nothing, metrics_public=lambda: True,
        observe=lambda route, method, status, seconds: observed.append((route, method, status)),
    )  # fmt: skip
    app, edge = build_app(parts, lambda: policy or EdgePolicy(), routes)
    running = RestServer(app, edge, **server)
    listener = socket.create_server(("127.0.0.1", 0))
    listener.setblocking(False)
    await running.serve(listener)
    try:
        async with ClientSession(cookie_jar=CookieJar()) as session:
            yield Rest(f"http://127.0.0.1:{listener.getsockname()[1]}", session, edge, running, observed)
    finally:
        await running.drain(2)
        listener.close()
