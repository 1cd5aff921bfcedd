"""The edge of the REST API: hosts and origins that may ask, headers of every answer, what the log says."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest
from aiohttp import ClientConnectionError

from oddaemon.api.rest import app
from oddaemon.api.rest.models import Model, Nothing
from oddaemon.api.rest.origin import EdgePolicy
from oddaemon.api.rest.routes import Call, Routes
from oddaemon.domain.user import Principal, Scope
from tests.support.rest import Known, serving, somebody
from tests.support.wait import until

DATABASES = ("sqlite", "postgresql")

APP = "https://app.example.org"
VERSION, ME = "/api/v1/version", "/api/v1/who"
KEY = {"X-API-Key": "odk_maya"}
WHO = Known(keys={"odk_maya": somebody("maya")})
route = Routes("test")


class Who(Model):
    username: str


@route("GET", "/who", needs=Scope.READ, summary="A closed route that needs no service")
async def get_who(call: Call[Nothing, Nothing, Nothing]) -> Who:
    return Who(username=call.who.username)


ROUTES = (*app.ROUTES, *route)


@pytest.mark.parametrize("path", [VERSION, ME, "/nowhere", "/"])
@pytest.mark.parametrize(
    ("headers", "code"),
    [
        ({"Host": "evil.example"}, "FOREIGN_HOST"), ({"Host": "evil.example:8080", "Origin": "null"}, "FOREIGN_HOST"),
        ({"Host": "evil.example", "X-Forwarded-Host": "localhost"}, "FOREIGN_HOST"),
        ({"Origin": "http://evil.example"}, "FOREIGN_ORIGIN"), ({"Origin": "null"}, "FOREIGN_ORIGIN"),
        ({"Origin": "http://localhost:1"}, "FOREIGN_ORIGIN"),
    ],
)  # fmt: skip
async def test_a_page_of_elsewhere_gets_nothing_from_a_default_installation(
    path: str, headers: dict[str, str], code: str
) -> None:
    async with serving(ROUTES, authenticator=WHO) as rest:
        for method in ("GET", "POST", "OPTIONS"):
            asked = {**KEY, **headers, "Access-Control-Request-Method": "POST"}
            response, answer = await rest.call(method, path, headers=asked)
            assert (response.status, answer["error"]["code"]) == (403, code)
            assert not [name for name in response.headers if name.lower().startswith("access-control")]


async def test_our_own_page_may_ask() -> None:
    async with serving(ROUTES, authenticator=WHO) as rest:
        response, answer = await rest.get(ME, headers={**KEY, "Origin": rest.url})
        assert (response.status, answer["data"]["username"]) == (200, "maya")


@pytest.mark.parametrize("origins", [(APP,), ("*",)])
async def test_an_origin_of_the_setting_may_ask(origins: tuple[str, ...]) -> None:
    async with serving(ROUTES, authenticator=WHO, policy=EdgePolicy(cors_origins=origins)) as rest:
        response, _ = await rest.get(ME, headers={**KEY, "Origin": APP})
        assert (response.status, response.headers["Access-Control-Allow-Origin"]) == (200, APP)
        assert "Origin" in response.headers["Vary"]
        assert "ETag" in response.headers["Access-Control-Expose-Headers"]
        assert "Access-Control-Allow-Credentials" not in response.headers
        response, _ = await rest.get(ME, headers={"Origin": APP})
        assert (response.status, response.headers["Access-Control-Allow-Origin"]) == (401, APP)
        asking = {"Origin": APP, "Access-Control-Request-Method": "GET"}
        response, answer = await rest.call("OPTIONS", ME, headers=asking)
        assert (response.status, answer) == (204, None)
        assert response.headers["Access-Control-Allow-Methods"] == "GET, HEAD"
        assert "Authorization" in response.headers["Access-Control-Allow-Headers"]
        assert (await rest.call("OPTIONS", "/nowhere", headers=asking))[0].status == 404
        assert (await rest.call("OPTIONS", ME))[0].status == 405
    async with serving(ROUTES, authenticator=WHO, policy=EdgePolicy(cors_origins=(APP,))) as rest:
        assert (await rest.get(ME, headers={**KEY, "Origin": "https://evil.example"}))[0].status == 403


async def test_a_proxy_s_word_counts_only_when_it_is_trusted() -> None:
    forwarded = {"Host": "127.0.0.1", "X-Forwarded-Host": "od.example.org", "Origin": "https://od.example.org"}
    policy = EdgePolicy(allowed_hosts=("od.example.org",), trusted_proxies=("127.0.0.0/8",))
    async with serving(ROUTES, policy=policy) as rest:
        assert (await rest.get(VERSION, headers=forwarded))[0].status == 200
        assert (await rest.get(VERSION, headers={**forwarded, "X-Forwarded-Host": "evil.example"}))[0].status == 403
    async with serving(ROUTES, policy=EdgePolicy(allowed_hosts=("od.example.org",))) as rest:
        assert (await rest.get(VERSION, headers=forwarded))[0].status == 403


async def test_every_answer_has_the_headers_that_keep_browsers_in_check() -> None:
    async with serving(ROUTES, authenticator=WHO) as rest:
        for path, status in [(VERSION, 200), (ME, 401), ("/nowhere", 404)]:
            response, _ = await rest.get(path)
            assert response.status == status
            assert response.headers["Cache-Control"] == "no-store"
            assert "default-src 'none'" in response.headers["Content-Security-Policy"]
            assert response.headers["X-Content-Type-Options"] == "nosniff"
            assert response.headers["X-Frame-Options"] == "DENY"
            assert response.headers["Referrer-Policy"] == "no-referrer"
            assert response.headers["Server"] == "oddaemon"
            assert response.headers["X-Request-Id"]
            assert "Set-Cookie" not in response.headers


async def test_the_log_has_no_secret_and_nothing_of_strangers(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    async with serving(ROUTES, authenticator=WHO) as rest:
        await rest.get(f"{ME}?token=hunter2", headers={"Authorization": "Bearer hunter2"})
        await rest.call("POST", "/hunter2%0Aforged", headers={"User-Agent": "hunter2", "Host": "hunter2"})
        await rest.get(ME, headers=KEY)
    lines = [record for record in caplog.records if record.name.startswith("oddaemon.api.rest")]
    assert [(record.route, record.status) for record in lines] == [  # type: ignore[attr-defined]
        (ME, 401), ("", 403), (ME, 200)
    ]  # fmt: skip
    assert "hunter2" not in str([vars(record) for record in lines])
    assert "odk_maya" not in str([vars(record) for record in lines])


@pytest.mark.parametrize(
    "data",
    [
        b"hunter2 garbage\r\n\r\n", b"GET /hunter2 nonsense\r\n\r\n", b"\x16\x03\x01\x02\x00\x01hunter2\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer hunter2\x00\r\n\r\n",
        b"GET / HTTP/1.1\r\nX-API-Key: hunter2\r\n\r\n",
        b"GET /" + b"hunter2" * 2000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nHost: hunter2\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\nhunter2",
    ],
    ids=range(8),
)  # fmt: skip
async def test_what_is_no_request_is_neither_repeated_nor_logged(data: bytes, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    async with serving(ROUTES) as rest:
        answer = await rest.raw(data)
    assert answer.startswith(b"HTTP/1.0 400 ")
    assert b'"code":"MALFORMED"' in answer
    assert b"hunter2" not in answer
    assert b"aiohttp" not in answer
    assert "hunter2" not in caplog.text
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


async def test_a_connection_that_says_nothing_is_closed() -> None:
    async with serving(ROUTES, first_seconds=0.2) as rest:
        async with asyncio.timeout(20):
            assert await rest.raw(b"") == b""
            assert await rest.raw(b"GET / HTTP/1.1\r\nHost: local") == b""
        # one that has said something stays
        assert (await rest.get(VERSION))[0].status == 200


async def test_too_many_connections_are_turned_away() -> None:
    async with serving(ROUTES, most=2) as rest:
        host, port = rest.url.removeprefix("http://").rsplit(":", 1)
        held = [await asyncio.open_connection(host, int(port)) for _ in range(2)]
        await until(lambda: rest.server.connections == 2, what="two connections")
        with pytest.raises(ClientConnectionError):
            await rest.get(VERSION)
        for _, writer in held:
            writer.close()
        await until(lambda: rest.server.connections == 0, what="no connection")
        assert (await rest.get(VERSION))[0].status == 200


async def test_the_api_describes_itself_and_its_page_loads_nothing_from_elsewhere() -> None:
    async with serving(ROUTES) as rest:
        response, document = await rest.get("/api/v1/openapi.json")
        assert response.status == 200
        assert document["openapi"].startswith("3.1")
        assert ME in document["paths"]
        for path, kind in [("", "text/html"), ("/page.js", "text/javascript"), ("/page.css", "text/css")]:
            async with rest.session.get(f"{rest.url}/api/v1/docs{path}") as served:
                text = await served.text()
                assert (served.status, served.content_type) == (200, kind)
                policy = served.headers["Content-Security-Policy"]
                assert "default-src 'none'" in policy
                assert "unsafe" not in policy
                assert "http" not in policy
                assert "://" not in text
                assert "//" not in text.replace("// ", "")
                assert "innerHTML" not in text
                assert "style=" not in text
                assert "onclick" not in text


async def test_whoever_hangs_up_before_a_stream_begins_is_no_failure(caplog: pytest.LogCaptureFixture) -> None:
    gone = asyncio.Event()

    class Slow(Known):
        async def by_api_key(self, secret: str) -> Principal:
            await gone.wait()
            return await Known.by_api_key(self, secret)

    async with serving(ROUTES, authenticator=Slow(WHO.keys)) as rest:
        head = b"GET /api/v1/events HTTP/1.1\r\nHost: localhost\r\nX-API-Key: odk_maya\r\n\r\n"
        seen: list[Any] = []
        rest.edge.arrived = seen.append
        await rest.hang_up(head, lambda: bool(seen))
        await until(lambda: seen[0].transport is None, what="the server to notice")
        gone.set()
        await until(lambda: bool(rest.observed), what="the request to end")
        assert rest.observed == [("/api/v1/events", "GET", 499)]
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]
