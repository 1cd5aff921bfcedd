"""What every request to a route goes through: who is calling, may they, how often; then its models, the handler and the
answer. In this order, so that whoever is not known learns nothing of a route."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import structlog
from aiohttp import web
from pydantic import TypeAdapter

from oddaemon.api.rest.envelope import TYPE, HttpCode, HttpProblem, rate_fields, success
from oddaemon.api.rest.models import Meta
from oddaemon.api.rest.parts import Authenticator, RestParts
from oddaemon.api.rest.reading import body_of, headers_of, only_header, path_of, query_of
from oddaemon.api.rest.routes import PUBLIC, Answer, Call, Page, Route, Shape
from oddaemon.domain.errors import NotAllowed, Unauthenticated
from oddaemon.domain.user import Principal, Role, require, require_admin

API_KEY_PREFIX = "odk_"
"""How an API key begins, and nothing else does."""

ADDRESS: web.RequestKey[str] = web.RequestKey("address", str)
DRESS: web.RequestKey[dict[str, str]] = web.RequestKey("dress", dict)
"""The headers that every answer to this request carries. A stream, which sends its own, has to send these."""
REQUEST_ID: web.RequestKey[str] = web.RequestKey("request_id", str)
CALLER: web.RequestKey[Principal] = web.RequestKey("caller", Principal)


@dataclass(slots=True)
class Endpoint:
    """The aiohttp handler of one route."""

    route: Route
    parts: RestParts
    _adapter: TypeAdapter[Any] | None = field(default=None, init=False)

    async def handle(self, request: web.Request) -> web.StreamResponse:
        route = self.route
        principal: Principal | None = None
        headers: Mapping[str, str] = {}
        if route.needs is not PUBLIC:
            principal = await authenticated(self.parts.authenticator, request)
            request[CALLER] = principal
            structlog.contextvars.bind_contextvars(user=principal.username)
            if isinstance(route.needs, Role):
                require_admin(principal)
            else:
                require(principal, route.needs)
            headers = self._limited(principal)
        path, query = path_of(request, route.path_model), query_of(request, route.query_model)
        given = headers_of(request, route.header_model)
        body = await body_of(request, route, self.parts.large)
        call = Call(
            parts=self.parts, path=path, query=query, body=body, principal=principal,
            address=request[ADDRESS], request_id=request[REQUEST_ID], request=request, headers=given,
        )  # fmt: skip
        async with self._if_matched(call):
            answer = await route.handler(call)
        response = self._response(request, answer)
        if not response.prepared:
            response.headers.update(headers)
        return response

    @contextlib.asynccontextmanager
    async def _if_matched(self, call: Call[Any, Any, Any]) -> AsyncIterator[None]:
        """Around a change: with If-Match it is made to nothing else than what the header names, which RFC 9110 section
        13.1.1 compares strongly. What there is not is not found, whatever the header says (section 13.2.1)."""
        look = self.route.shown_by
        if look is None or only_header(call.request, "If-Match") is None:
            yield
            return
        async with self.parts.conditional:
            etag = (await look(call)).etag
            if not any(not tag.is_weak and tag.value in (etag, "*") for tag in call.request.if_match or ()):
                raise HttpProblem(
                    412, HttpCode.PRECONDITION_FAILED, "it is no longer what If-Match names",
                    hint="get it again, and send its ETag", headers={"ETag": f'"{etag}"'},
                )  # fmt: skip
            yield

    def _limited(self, principal: Principal) -> Mapping[str, str]:
        rate = self.parts.limiter.admit(principal)
        return {} if rate is None else rate_fields(rate.limit, rate.remaining, rate.reset)

    def _response(self, request: web.Request, answer: Any) -> web.StreamResponse:
        route = self.route
        if route.shape is Shape.RAW:
            assert isinstance(answer, web.StreamResponse)
            return answer
        if route.shape is Shape.EMPTY:
            return web.Response(status=route.status)
        if isinstance(answer, Page):
            meta = Meta(page=answer.query.page, per_page=answer.query.per_page, total=answer.total)
            body = success(self._encoded(list(answer.rows)), meta.model_dump_json().encode())
            return web.Response(status=route.status, body=body, content_type=TYPE)
        if not isinstance(answer, Answer):
            return web.Response(status=route.status, body=success(self._encoded(answer)), content_type=TYPE)
        headers = dict(answer.headers)
        if answer.etag:
            headers |= {"ETag": f'"{answer.etag}"', "Cache-Control": "private, no-cache"}
            if request.method in ("GET", "HEAD") and _names(request, answer.etag):
                return web.Response(status=304, headers=headers)
        body = success(self._encoded(answer.data) if answer.encoded is None else answer.encoded)
        return web.Response(status=answer.status or route.status, body=body, content_type=TYPE, headers=headers)

    def _encoded(self, data: Any) -> bytes:
        if self._adapter is None:
            # at the first answer: the daemon starts sooner
            rows = self.route.shape is Shape.PAGE
            self._adapter = TypeAdapter(Sequence[self.route.data] if rows else self.route.data)  # type: ignore[name-defined]
        return self._adapter.dump_json(data)


def _names(request: web.Request, etag: str) -> bool:
    """RFC 9110 section 13.1.2: the weak comparison."""
    return any(given.value in (etag, "*") for given in request.if_none_match or ())


async def authenticated(authenticator: Authenticator, request: web.Request) -> Principal:
    """Whoever sent the access token or API key. Whatever is wrong with it, the answer is the same. Raises HttpProblem
    for two of a kind."""
    authorization, api_key = only_header(request, "Authorization"), only_header(request, "X-API-Key")
    try:
        if (given := authorization) is not None:
            scheme, _, token = given.partition(" ")
            if scheme.lower() != "bearer":
                raise Unauthenticated
            token = token.strip()
            if token.startswith(API_KEY_PREFIX):
                return await authenticator.by_api_key(token)
            return await authenticator.by_access_token(token)
        if key := (api_key or "").strip():
            return await authenticator.by_api_key(key)
    except (Unauthenticated, NotAllowed):
        pass
    raise Unauthenticated(
        "who is calling is not known",
        hint="send Authorization: Bearer with an access token or an API key, or X-API-Key with an API key",
    )
