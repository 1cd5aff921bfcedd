"""The one middleware, around every request: an id, whom it is for, who may ask, the headers of every answer, problems
in the envelope, a line in the log, the drain."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from secrets import token_hex

import structlog
from aiohttp import web

from oddaemon.api.rest.endpoint import ADDRESS, DRESS, REQUEST_ID
from oddaemon.api.rest.envelope import HttpCode, HttpProblem, HungUp, failure
from oddaemon.api.rest.origin import EdgePolicy, Sent, same_origin, sent
from oddaemon.api.rest.parts import RestParts
from oddaemon.domain.errors import Draining, NotFound

log = logging.getLogger(__name__)

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
SENT: web.RequestKey[Sent] = web.RequestKey("sent", Sent)

HEADERS: Mapping[str, str] = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "Server": "oddaemon",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}
"""Of every answer that does not say otherwise. No Strict-Transport-Security: it would hold for the whole host, and so
for the links of a file server without TLS."""
LOOKING = ("GET", "HEAD", "OPTIONS")
"""Methods that change nothing. Of all others the log says who used them."""
REQUEST_HEADERS = (
    "Authorization, Content-Type, Idempotency-Key, If-Match, If-None-Match, Last-Event-ID, X-API-Key"
)  # fmt: skip
ANSWER_HEADERS = (
    "ETag, Location, RateLimit-Limit, RateLimit-Remaining, RateLimit-Reset, Retry-After, X-Request-Id"
)  # fmt: skip
PREFLIGHT_SECONDS = 600
HUNG_UP = 499
"""The status, for figures and the log, of a request that nobody was there to be answered."""


@dataclass(slots=True)
class Edge:
    """Requests in flight, too: `quiet` waits until there is none."""

    parts: RestParts
    policy: Callable[[], EdgePolicy]
    arrived: Callable[[asyncio.BaseProtocol], None] = lambda protocol: None
    """Told of every request's connection."""
    _running: set[asyncio.Task[object]] = field(default_factory=set)
    _idle: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self._idle.set()

    @property
    def running(self) -> int:
        return len(self._running)

    async def quiet(self, patience: float) -> bool:
        """Whether no request is in flight any more, waiting so many seconds for it."""
        try:
            async with asyncio.timeout(max(patience, 0)):
                await self._idle.wait()
        except TimeoutError:
            return not self._running
        return True

    async def handle(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """What aiohttp calls for every request, also for one that no route takes."""
        task = asyncio.current_task()
        assert task is not None
        self.arrived(request.protocol)
        self._running.add(task)
        self._idle.clear()
        began = time.perf_counter()
        request[REQUEST_ID] = token_hex(6)
        structlog.contextvars.clear_contextvars()
        structlog.contextvars.bind_contextvars(request=request[REQUEST_ID])
        status, quiet = HUNG_UP, request.method in LOOKING
        try:
            response = await self._answered(request, handler)
            status = response.status
            quiet = quiet or status == HUNG_UP  # before anything was done
            return response
        finally:
            self._running.discard(task)
            if not self._running:
                self._idle.set()
            self._note(request, status, time.perf_counter() - began, quiet=quiet)

    async def _answered(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        policy = self.policy()
        origin = request.headers.get("Origin", "")
        try:
            found = _sent(policy, request)
            request[ADDRESS], request[SENT] = found.address, found
            request[DRESS] = dict(headers_of(policy, request))
            if self.parts.ending.is_set():
                raise Draining("the daemon is shutting down", hint="try again in a moment")
            foreign = _check(policy, found, origin)
            preflight = foreign and request.method == "OPTIONS" and "Access-Control-Request-Method" in request.headers
            response = _preflight(request) if preflight else await handler(request)
        except web.HTTPException as error:
            response = failure(_problem(error), request[REQUEST_ID])
        except HungUp:
            response = web.Response(status=HUNG_UP)
        except Exception as error:
            response = failure(error, request[REQUEST_ID])
            if response.status == 500:
                log.error(
                    "request failed", extra={"action": "request_failed", "route": route_of(request)}, exc_info=error
                )
        if not response.prepared:
            self._dress(policy, request, response, origin)
        return response

    def _dress(self, policy: EdgePolicy, request: web.Request, response: web.StreamResponse, origin: str) -> None:
        """Headers, where the handler did not set its own. A stream calls `headers_of` itself."""
        for name, value in headers_of(policy, request).items():
            response.headers.setdefault(name, value)
        if self.parts.ending.is_set():
            response.force_close()

    def _note(self, request: web.Request, status: int, seconds: float, *, quiet: bool) -> None:
        route = route_of(request)
        self.parts.observe(route, request.method, status, seconds)
        level = logging.DEBUG if quiet else logging.INFO
        if not log.isEnabledFor(level):
            return
        # nothing that somebody unknown sent: the route is ours, and what is bound of the caller was proved
        log.log(
            level, "request",
            extra={
                "action": "request", "method": _known_method(request), "route": route, "status": status,
                "ms": round(seconds * 1000, 1), "address": request.get(ADDRESS, ""),
            },
        )  # fmt: skip


def headers_of(policy: EdgePolicy, request: web.Request) -> Mapping[str, str]:
    """What every answer to this request carries."""
    headers = {**HEADERS, "X-Request-Id": request[REQUEST_ID]}
    origin = request.headers.get("Origin", "")
    if policy.cors_origins:
        headers["Vary"] = "Origin"
        if origin and policy.may_ask(origin):
            headers["Access-Control-Allow-Origin"] = origin
            headers["Access-Control-Expose-Headers"] = ANSWER_HEADERS
            headers["Cross-Origin-Resource-Policy"] = "cross-origin"
    return headers


def route_of(request: web.Request) -> str:
    """The route's own path, with its parameters' names; empty for one that there is not."""
    resource = request.match_info.route.resource
    return "" if resource is None else resource.canonical


def _sent(policy: EdgePolicy, request: web.Request) -> Sent:
    peer = request.transport.get_extra_info("peername") if request.transport is not None else None
    address = str(peer[0]) if isinstance(peer, tuple) else ""
    return sent(policy, address, request.scheme, request.headers, lambda name: request.headers.getall(name, []))


def _check(policy: EdgePolicy, found: Sent, origin: str) -> bool:
    """Whether the request comes from a page of another origin, one that may ask. Raises HttpProblem."""
    if not policy.is_ours(found.host):
        raise HttpProblem(
            403, HttpCode.FOREIGN_HOST, "this server does not go by that name",
            hint="server.allowed_hosts names the hosts by which it is reached",
        )  # fmt: skip
    if not origin or same_origin(origin, found.host):
        return False
    if not policy.may_ask(origin):
        raise HttpProblem(
            403, HttpCode.FOREIGN_ORIGIN, "pages of this origin may not use the API",
            hint="server.cors_origins names the origins that may",
        )  # fmt: skip
    return True


def _preflight(request: web.Request) -> web.Response:
    allowed = request.match_info.http_exception
    if isinstance(allowed, web.HTTPMethodNotAllowed):
        methods = sorted(allowed.allowed_methods)
    elif allowed is not None:
        raise NotFound("there is no such path")
    else:
        methods = [request.method]
    return web.Response(
        status=204,
        headers={
            "Access-Control-Allow-Methods": ", ".join(methods),
            "Access-Control-Allow-Headers": REQUEST_HEADERS,
            "Access-Control-Max-Age": str(PREFLIGHT_SECONDS),
        },
    )


def _problem(error: web.HTTPException) -> Exception:
    """aiohttp's own: for a path or a method that there is not, and for a request that it cannot read."""
    if isinstance(error, web.HTTPMethodNotAllowed):
        allowed = ", ".join(sorted(error.allowed_methods))
        return HttpProblem(
            405, HttpCode.METHOD_NOT_ALLOWED, f"this path takes {allowed}", headers={"Allow": allowed}
        )  # fmt: skip
    if error.status == 404:
        return NotFound("there is no such path", hint="/api/v1/docs shows them all; for programs: /api/v1/openapi.json")
    if error.status == 413:
        return HttpProblem(413, HttpCode.TOO_LARGE, "the request's body is too large")
    return HttpProblem(error.status, HttpCode.MALFORMED, "the request cannot be read")


def _known_method(request: web.Request) -> str:
    return request.method if request.method.isalpha() and len(request.method) < 20 else "?"
