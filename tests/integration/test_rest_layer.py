"""The layer under every REST route: the envelope, models, credentials, scopes, limits, problems, the drain."""

from __future__ import annotations

import asyncio
import gzip
import json
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from enum import StrEnum

import pytest
from aiohttp import ClientConnectionError, ClientResponse, FormData, web
from pydantic import Field

from oddaemon.api.rest.models import File, Form, Model, Nothing, PageQuery
from oddaemon.api.rest.parts import Limiter
from oddaemon.api.rest.routes import PUBLIC, Answer, Call, Page, Routes
from oddaemon.domain.errors import NotFound
from oddaemon.domain.user import Scope
from oddaemon.services.request_rate import RequestLimiter
from oddaemon.testing.fakes import ManualClock
from tests.support.rest import Known, Rest, serving, somebody
from tests.support.wait import until

route = Routes("things")


class Colour(StrEnum):
    RED = "red"
    BLUE = "blue"


class Thing(Model):
    name: str
    size: int = Field(ge=0, le=1000)
    colour: Colour = Colour.RED


class ThingPath(Model):
    id: int = Field(ge=1)


class Filter(PageQuery):
    colour: list[Colour] = Field(default_factory=list)


@route("GET", "/things", needs=Scope.READ, summary="All things")
async def list_things(call: Call[Nothing, Filter, Nothing]) -> Page[Thing]:
    rows = [Thing(name=f"{call.who.username} {colour}", size=1, colour=colour) for colour in call.query.colour]
    return Page(rows=rows, total=len(rows), query=call.query)


@route("POST", "/things", needs=Scope.JOBS, summary="A new thing", status=201, max_body=3000)
async def add_thing(call: Call[Nothing, Nothing, Thing]) -> Answer[Thing]:
    return Answer(data=call.body, headers={"Location": f"/api/v1/things/{call.body.size}"})


@route("GET", "/things/{id}", needs=Scope.READ, summary="One thing", errors=[NotFound])
async def show_thing(call: Call[ThingPath, Nothing, Nothing]) -> Answer[Thing]:
    if call.path.id == 404:
        raise NotFound("there is no such thing")
    return Answer(data=Thing(name="x", size=call.path.id), etag=f"v{call.path.id}")


@route("DELETE", "/things/{id}", needs=Scope.JOBS, summary="Remove it")
async def remove_thing(call: Call[ThingPath, Nothing, Nothing]) -> None:
    return None


class ThingForm(Form):
    name: str
    picture: File
    colour: list[Colour] = Field(default_factory=list)


@route("PUT", "/things", needs=Scope.JOBS, summary="With a picture", max_body=3000)
async def put_thing(call: Call[Nothing, Nothing, Thing | ThingForm]) -> Thing:
    if isinstance(call.body, Thing):
        return call.body
    told = f"{call.body.name} {call.body.picture.name} {','.join(call.body.colour)}"
    return Thing(name=told, size=len(call.body.picture.data))


@route("GET", "/broken", needs=PUBLIC, summary="A bug")
async def broken(call: Call[Nothing, Nothing, Nothing]) -> Thing:
    raise RuntimeError("password=hunter2")


@route("GET", "/slow", needs=PUBLIC, summary="Takes its time")
async def slow(call: Call[Nothing, Nothing, Nothing]) -> Thing:
    await call.parts.ending.wait()
    return Thing(name="at last", size=0)


@route("GET", "/stuck", needs=PUBLIC, summary="Never ends")
async def stuck(call: Call[Nothing, Nothing, Nothing]) -> Thing:
    await asyncio.Event().wait()
    raise AssertionError


@route("GET", "/stream", needs=PUBLIC, summary="A stream", produces="text/plain")
async def stream(call: Call[Nothing, Nothing, Nothing]) -> web.StreamResponse:
    return web.Response(text=f"for {call.address}")


ME = somebody("maya")
MEDIA = "UNSUPPORTED_MEDIA_TYPE"
AS_ME = {"Authorization": "Bearer odk_maya"}
WHO = Known(
    keys={"odk_maya": ME, "odk_reader": somebody("ro", scopes=frozenset({Scope.READ}))}, tokens={"a.b.c": ME}
)  # fmt: skip


def layer(limiter: Limiter | None = None) -> AbstractAsyncContextManager[Rest]:
    return serving(list(route), authenticator=WHO, limiter=limiter)


async def test_answers_come_in_the_envelope() -> None:
    async with layer() as rest:
        response, answer = await rest.get("/api/v1/things?colour=red&colour=blue&page=2", headers=AS_ME)
        assert response.status == 200
        for path, begins in (("things/1", b'{"success":true,'), ("things/0", b'{"success":false,')):
            async with rest.session.get(f"{rest.url}/api/v1/{path}", headers=AS_ME) as raw:
                text = await raw.read()
                assert (text.startswith(begins), text.count(b"\n"), text[-2:]) == (True, 1, b"}\n")
        assert response.content_type == "application/json"
        assert answer == {
            "success": True,
            "data": [
                {"name": "maya red", "size": 1, "colour": "red"}, {"name": "maya blue", "size": 1, "colour": "blue"}
            ],
            "error": None,
            "meta": {"page": 2, "per_page": 20, "total": 2},
        }  # fmt: skip
        response, answer = await rest.call("POST", "/api/v1/things", json={"name": "é", "size": 7}, headers=AS_ME)
        assert (response.status, response.headers["Location"]) == (201, "/api/v1/things/7")
        assert answer == {
            "success": True, "data": {"name": "é", "size": 7, "colour": "red"}, "error": None, "meta": None
        }  # fmt: skip
        response, answer = await rest.call("DELETE", "/api/v1/things/7", headers=AS_ME)
        assert (response.status, answer) == (204, None)
        async with rest.session.get(f"{rest.url}/api/v1/stream") as response:
            assert (response.content_type, await response.text()) == ("text/plain", "for 127.0.0.1")


@pytest.mark.parametrize(
    "headers",
    [{"Authorization": "Bearer odk_maya"}, {"authorization": "bearer  a.b.c"}, {"X-API-Key": "odk_maya"}],
    ids=["bearer key", "bearer token", "x-api-key"],
)
async def test_a_key_or_a_token_proves_who_is_calling(headers: dict[str, str]) -> None:
    async with layer() as rest:
        response, answer = await rest.get("/api/v1/things?colour=red", headers=headers)
        assert response.status == 200
        assert answer["data"][0]["name"] == "maya red"


@pytest.mark.parametrize(
    "headers",
    [
        {}, {"Authorization": ""}, {"Authorization": "Bearer"}, {"Authorization": "Bearer odk_wrong"},
        {"Authorization": "Bearer x.y.z"}, {"Authorization": "Basic b2RrX21heWE="}, {"Authorization": "odk_maya"},
        {"X-API-Key": "odk_wrong"}, {"X-API-Key": "a.b.c"}, {"Authorization": "Bearer wrong", "X-API-Key": "odk_maya"},
        {"Cookie": "token=a.b.c"}, {"Authorization": "", "X-API-Key": "odk_maya"},
    ],
)  # fmt: skip
async def test_whoever_is_not_known_learns_nothing(headers: dict[str, str]) -> None:
    async with layer() as rest:
        answers = []
        for method, path, body in [
            ("GET", "/api/v1/things", None), ("GET", "/api/v1/things/0", None), ("GET", "/api/v1/things/404", None),
            ("GET", "/api/v1/things?wrong=1", None), ("POST", "/api/v1/things", b"{"),
            ("POST", "/api/v1/things", b"x" * 999),
        ]:  # fmt: skip
            response, answer = await rest.call(method, path, data=body, headers=headers)
            assert response.status == 401
            assert response.headers["WWW-Authenticate"].startswith("Bearer")
            answers.append(answer)
        assert all(answer == answers[0] for answer in answers)
        assert (answers[0]["success"], answers[0]["error"]["code"]) == (False, "UNAUTHENTICATED")
        assert "too much" not in str(answers[0])


async def test_a_key_needs_the_scope() -> None:
    async with layer() as rest:
        key = {"X-API-Key": "odk_reader"}
        assert (await rest.get("/api/v1/things", headers=key))[0].status == 200
        response, answer = await rest.call("POST", "/api/v1/things", json={"name": "x", "size": 1}, headers=key)
        assert (response.status, answer["error"]["code"]) == (403, "NOT_ALLOWED")
        assert answer["error"]["details"] == {"scope": "jobs"}


async def test_a_whole_number_may_be_written_with_a_point() -> None:
    async with layer() as rest:
        for size, status in ((5.0, 201), (5.5, 422), (True, 422), (1e400, 422), (None, 422)):
            body = {"name": "5.0", "size": size}
            response, answer = await rest.call("POST", "/api/v1/things", json=body, headers=AS_ME)
            assert response.status == status, size
            assert answer["data"] is None or answer["data"] == {"name": "5.0", "size": 5, "colour": "red"}


@pytest.mark.parametrize(
    ("body", "field", "words"),
    [
        ({"name": "x"}, "size", "is missing"), ({"name": "x", "size": "5"}, "size", "integer"),
        ({"name": "x", "size": 5, "extra": 1}, "extra", "no such field"), ({"name": 7, "size": 5}, "name", "string"),
        ({"name": "x", "size": 5, "colour": "pink"}, "colour", "'red' or 'blue'"),
        ({"name": "x", "size": 1001}, "size", "1000"), ([], "", "object"), (None, "", "object"),
    ],
)  # fmt: skip
async def test_a_wrong_field_is_named(body: object, field: str, words: str) -> None:
    async with layer() as rest:
        response, answer = await rest.call("POST", "/api/v1/things", data=json.dumps(body).encode(), headers={
            **AS_ME, "Content-Type": "application/json"
        })  # fmt: skip
        assert response.status == 422
        error = answer["error"]
        assert (error["code"], error["field"] or "") == ("INVALID_ARGUMENT", field)
        assert words in error["message"]
        assert error["details"]["errors"][0]["field"] == field


async def test_every_mistake_is_told_at_once_and_no_value_is_repeated() -> None:
    async with layer() as rest:
        body = {"name": ["hunter2"], "size": -1, "password": "hunter2"}
        _, answer = await rest.call("POST", "/api/v1/things", json=body, headers=AS_ME)
        assert [item["field"] for item in answer["error"]["details"]["errors"]] == ["name", "size", "password"]
        assert "hunter2" not in json.dumps(answer)


@pytest.mark.parametrize(
    "query", ["page=0", "page=x", "per_page=501", "wrong=1", "page=1&page=2", "colour=pink", "page=", "page=1e3"]
)
async def test_a_wrong_parameter_is_refused(query: str) -> None:
    async with layer() as rest:
        response, answer = await rest.get(f"/api/v1/things?{query}", headers=AS_ME)
        assert (response.status, answer["error"]["code"]) == (422, "INVALID_ARGUMENT")
        assert answer["error"]["field"].partition(".")[0] in query
        response, answer = await rest.get("/api/v1/things/1?x=1", headers=AS_ME)
        assert (response.status, answer["error"]["field"]) == (422, "x")


async def test_what_http_has_to_say_is_in_the_envelope_too() -> None:
    async with layer() as rest:
        json_type = {**AS_ME, "Content-Type": "application/json"}
        cases = [
            ("GET", "/", b"", {}, 404, "NOT_FOUND"),
            ("GET", "/api/v1/nowhere", b"", {}, 404, "NOT_FOUND"),
            ("PATCH", "/api/v1/things", b"", {}, 405, "METHOD_NOT_ALLOWED"),
            ("POST", "/api/v1/things", b"{}", AS_ME, 415, MEDIA),
            ("POST", "/api/v1/things", b"{}", {**AS_ME, "Content-Type": "text/plain"}, 415, MEDIA),
            ("POST", "/api/v1/things", b"{", json_type, 400, "MALFORMED"),
            ("POST", "/api/v1/things", gzip.compress(b"{}"), {**json_type, "Content-Encoding": "gzip"}, 415, MEDIA),
            ("POST", "/api/v1/things", b"\xff", json_type, 400, "MALFORMED"),
            ("POST", "/api/v1/things", b'"' + b"x" * 3000 + b'"', json_type, 413, "TOO_LARGE"),
            ("GET", "/api/v1/things/0", b"", AS_ME, 422, "INVALID_ARGUMENT"),
            ("GET", "/api/v1/things/404", b"", AS_ME, 404, "NOT_FOUND"),
        ]
        for method, path, data, headers, status, code in cases:
            response, answer = await rest.call(method, path, data=data, headers=headers)
            assert (response.status, answer["error"]["code"]) == (status, code), (method, path, data)
            assert (answer["success"], answer["data"], answer["meta"]) == (False, None, None)
            assert response.headers["X-Content-Type-Options"] == "nosniff"
        _, answer = await rest.get("/")
        assert "/api/v1/docs" in answer["error"]["hint"]
        _, answer = await rest.call("POST", "/api/v1/things", data=b"{", headers=json_type)
        assert answer["error"]["message"].startswith("the body is no JSON: EOF")
        response, _ = await rest.call("PATCH", "/api/v1/things")
        assert response.headers["Allow"] == "GET, HEAD, POST, PUT"
        response, _ = await rest.call("HEAD", "/api/v1/things", headers=AS_ME)
        assert response.status == 200


@pytest.mark.parametrize("name", ["Authorization", "X-API-Key"])
async def test_a_proof_that_is_sent_twice_is_refused(name: str) -> None:
    """One of them may be of somebody between, who let the other one pass."""
    async with layer() as rest:
        twice = [(name, "Bearer odk_maya"), (name, "Bearer odk_bob")]
        response, answer = await rest.get("/api/v1/things", headers=twice)
        assert (response.status, answer["error"]["code"], answer["error"]["field"]) == (400, "MALFORMED", name)


@pytest.mark.parametrize("body", ['{"name": "x", "size": 1, "size": 2}', '{"name": "a", "n\\u0061me": "b", "size": 1}'])
async def test_a_name_that_is_given_twice_is_refused(body: str) -> None:
    async with layer() as rest:
        headers = {**AS_ME, "Content-Type": "application/json"}
        response, answer = await rest.call("POST", "/api/v1/things", data=body, headers=headers)
        assert (response.status, answer["error"]["code"]) == (422, "INVALID_ARGUMENT")
        assert answer["error"]["field"] in ("size", "name")


async def test_a_body_without_an_announced_length_is_limited_too() -> None:
    async def endless() -> AsyncIterator[bytes]:
        for _ in range(100_000):
            yield b"x" * 1000

    async with layer() as rest:
        headers = {**AS_ME, "Content-Type": "application/json"}
        response, answer = await rest.call("POST", "/api/v1/things", data=endless(), headers=headers)
        assert (response.status, answer["error"]["code"]) == (413, "TOO_LARGE")


def form(*fields: tuple[str, bytes | str, str | None]) -> FormData:
    made = FormData(default_to_multipart=True)
    for name, value, filename in fields:
        made.add_field(name, value, filename=filename)
    return made


NAME, PICTURE = ("name", "x", None), ("picture", b"\0\xff\r\n" * 10, "a.png")


async def test_a_route_takes_json_or_a_form_with_files() -> None:
    async with layer() as rest:
        response, answer = await rest.call("PUT", "/api/v1/things", json={"name": "x", "size": 1}, headers=AS_ME)
        assert (response.status, answer["data"]["size"]) == (200, 1)
        good = form(NAME, PICTURE, ("colour", "red", None), ("colour", "blue", None))
        response, answer = await rest.call("PUT", "/api/v1/things", data=good, headers=AS_ME)
        assert (response.status, answer["data"]) == (200, {"name": "x a.png red,blue", "size": 40, "colour": "red"})


@pytest.mark.parametrize(
    ("fields", "status", "field"),
    [
        ([NAME], 422, "picture"), ([NAME, ("picture", "text", None)], 422, "picture"),
        ([NAME, NAME, PICTURE], 422, "name"), ([NAME, PICTURE, ("wrong", "1", None)], 422, "wrong"),
        ([("name", b"x", "a file"), PICTURE], 422, "name"),
        ([NAME, PICTURE, ("colour", "pink", None)], 422, "colour.0"),
        ([NAME, ("picture", b"x" * 3000, "big")], 413, None),
        ([("x", "", None)] * 50, 413, None),
    ],
)  # fmt: skip
async def test_a_wrong_form_is_refused(
    fields: list[tuple[str, bytes | str, str | None]], status: int, field: str | None
) -> None:
    async with layer() as rest:
        response, answer = await rest.call("PUT", "/api/v1/things", data=form(*fields), headers=AS_ME)
        assert (response.status, answer["error"]["field"]) == (status, field), answer


@pytest.mark.parametrize(
    "body",
    [
        b"", b"--x", b"--x\r\nContent-Disposition: form-data\r\n\r\n1\r\n--x--", b"\r\n" * 99,
        b'--x\r\nContent-Disposition: form-data; name="name"\r\n\r\n\xff\r\n--x--',
        b"--x\r\nContent-Type: multipart/mixed; boundary=y\r\n\r\n--y\r\n\r\n1\r\n--y--\r\n--x--",
        b"--x\r\n" + b"a" * 2900,
    ],
)  # fmt: skip
async def test_what_is_no_form_is_refused(body: bytes) -> None:
    async with layer() as rest:
        for kind in ("multipart/form-data; boundary=x", "multipart/form-data"):
            headers = {**AS_ME, "Content-Type": kind}
            response, answer = await rest.call("PUT", "/api/v1/things", data=body, headers=headers)
            assert response.status in (400, 422), (kind, answer)


async def test_a_bug_tells_nothing_but_an_id(caplog: pytest.LogCaptureFixture) -> None:
    async with layer() as rest:
        response, answer = await rest.get("/api/v1/broken")
        assert (response.status, answer["error"]["code"]) == (500, "INTERNAL")
        assert "hunter2" not in json.dumps(answer)
        assert response.headers["X-Request-Id"] in answer["error"]["message"]
        assert [record.message for record in caplog.records if record.exc_info] == ["request failed"]


async def test_an_etag_saves_the_answer() -> None:
    async with layer() as rest:
        response, _ = await rest.get("/api/v1/things/3", headers=AS_ME)
        assert response.headers["ETag"] == '"v3"'
        for given, status in [('"v3"', 304), ('W/"v3"', 304), ('"x", "v3"', 304), ('"v4"', 200), ("*", 304)]:
            response, answer = await rest.get("/api/v1/things/3", headers={**AS_ME, "If-None-Match": given})
            assert response.status == status, given
            assert (answer is None) == (status == 304)


def rate_told(response: ClientResponse) -> tuple[str, ...]:
    return tuple(response.headers[f"RateLimit-{name}"] for name in ("Limit", "Remaining", "Reset"))


async def test_a_user_asks_only_so_often() -> None:
    clock = ManualClock()
    async with layer(RequestLimiter(clock=clock, most=lambda _: 3)) as rest:
        for left, reset in (("2", "60"), ("1", "43"), ("0", "25")):
            response, _ = await rest.get("/api/v1/things", headers=AS_ME)
            assert rate_told(response) == ("3", left, reset)
            await clock.advance(17.5)
        response, answer = await rest.get("/api/v1/things", headers=AS_ME)
        assert (response.status, response.headers["Retry-After"]) == (429, "8")
        assert rate_told(response) == ("3", "0", "8")
        assert answer["error"]["code"] == "TOO_MANY_REQUESTS"
        assert (await rest.get("/api/v1/things"))[0].status == 401
        await clock.advance(8)
        assert (await rest.get("/api/v1/things", headers=AS_ME))[0].status == 200


async def _asked(rest: Rest, count: int) -> None:
    await until(lambda: rest.edge.running == count, what="the requests to be in flight")


async def test_a_drain_lets_requests_end_and_refuses_new_ones() -> None:
    async with layer() as rest:
        last = asyncio.create_task(rest.get("/api/v1/slow"))
        await _asked(rest, 1)
        await rest.server.drain(5)
        response, answer = await last
        assert (response.status, answer["data"]["name"]) == (200, "at last")
        with pytest.raises(ClientConnectionError):
            await rest.get("/api/v1/slow")


async def test_a_drain_does_not_wait_for_ever() -> None:
    async with layer() as rest:
        last = asyncio.create_task(rest.get("/api/v1/stuck"))
        await _asked(rest, 1)
        async with asyncio.timeout(10):
            await rest.server.drain(0.2)
        with pytest.raises(ClientConnectionError):
            await last


async def test_requests_are_observed_by_their_route() -> None:
    async with layer() as rest:
        await rest.get("/api/v1/things/3", headers=AS_ME)
        await rest.get("/nowhere?token=hunter2")
        await until(lambda: len(rest.observed) == 2)
        assert rest.observed == [("/api/v1/things/{id}", "GET", 200), ("", "GET", 404)]
