"""A crawler walks the table of routes: whoever is not known gets 401 everywhere but at what is public on purpose, and
learns nothing, whatever the headers say."""

from __future__ import annotations

import re

import pytest

from oddaemon.api.rest.app import ROUTES
from oddaemon.api.rest.origin import EdgePolicy
from oddaemon.api.rest.routes import PUBLIC, Route
from oddaemon.domain.user import Role, Scope
from tests.support.rest import serving

ON_PURPOSE = {
    "get_version", "get_openapi", "get_docs", "get_docs_script", "get_docs_style", "get_health", "get_readiness",
    "get_metrics",
    # by which one comes to be known
    "register", "login", "refresh",
    # leads whoever has a link's token to where it is served
    "follow_link",
}  # fmt: skip
"""Handlers that answer whoever asks. A new one needs a reason, and a line here."""
CLOSED = [route for route in ROUTES if route.needs is not PUBLIC]
DISGUISES: list[dict[str, str]] = [
    {},
    {"Host": "localhost"},
    {"Host": "nas.example.org", "X-Forwarded-Host": "localhost", "X-Forwarded-For": "127.0.0.1"},
    {"X-Forwarded-For": "127.0.0.1, ::1", "X-Forwarded-Proto": "https", "X-Real-IP": "127.0.0.1"},
    {"Forwarded": "for=127.0.0.1;host=localhost", "X-Forwarded-User": "admin", "X-Remote-User": "admin"},
    {"X-Original-URL": "/api/v1/version", "X-Rewrite-URL": "/api/v1/version", "X-HTTP-Method-Override": "OPTIONS"},
    {"Authorization": "Bearer null", "Cookie": "session=admin; token=admin"},
    {"Authorization": "Basic YWRtaW46YWRtaW4="},
    {"X-API-Key": "admin"},
]
UNKNOWN = [
    "/register", "/setup", "/debug", "/admin", "/login", "/api", "/api/", "/api/v1", "/api/v1/setup",
    "/api/v1/register", "/api/v1/debug", "/api/v2/version", "/.env", "/metrics/../api/v1/auth/me",
    "/api/v1/docs/../../../etc/passwd",
    "/api/v1/docs/page.py", "//api/v1/version", "/api/v1/version/", "/%2e%2e/etc/passwd", "/d/x/y",
]  # fmt: skip


def test_what_is_public_is_so_on_purpose() -> None:
    assert {route.name for route in ROUTES if route.needs is PUBLIC} == ON_PURPOSE
    assert all(isinstance(route.needs, Scope | Role) for route in CLOSED)


def filled(route: Route, value: str = "1") -> str:
    return re.sub(r"\{[^}]*\}", value, route.path)


@pytest.mark.parametrize("headers", DISGUISES, ids=lambda headers: ",".join(headers) or "plain")
async def test_nobody_gets_anything_but_401(headers: dict[str, str]) -> None:
    policy = EdgePolicy(allowed_hosts=["nas.example.org"], trusted_proxies=["127.0.0.1"])
    async with serving(ROUTES, policy=policy) as rest:
        told = set()
        for route in CLOSED:
            for path in (filled(route), filled(route, "..%2f1"), filled(route) + "?admin=1"):
                for body in (b"{}",) if headers else (None, b"{", b"{}"):
                    response, answer = await rest.call(route.method, path, data=body, headers=headers)
                    assert response.status == 401, (route.method, path)
                    assert (answer["success"], answer["error"]["code"]) == (False, "UNAUTHENTICATED")
                    told.add(str(answer))
        assert len(told) <= 1


async def test_what_there_is_not_is_not_found() -> None:
    async with serving(ROUTES) as rest:
        for path in UNKNOWN:
            response, answer = await rest.get(path)
            # a name where an engine's would stand is a route, and closed
            assert response.status in (401, 404, 405), path
            assert answer["success"] is False
