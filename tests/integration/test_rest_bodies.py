"""Bodies that are large or odd: whoever sends one waits for its answer, and nobody else does."""

from __future__ import annotations

import asyncio
import logging
import threading
from typing import Any

import pytest
from aiohttp import FormData
from pydantic import field_validator

from oddaemon.api.rest.models import File, Form, Model, Nothing
from oddaemon.api.rest.reading import LARGE, MAX_MISTAKES, MAX_NAME, MAX_PARTS, MAX_TOLD, MAX_VALUES
from oddaemon.api.rest.routes import MAX_PUBLIC_BODY, PUBLIC, Call, Routes
from oddaemon.domain.user import Scope
from tests.support.rest import Known, Rest, serving, somebody
from tests.support.wait import until

DATABASES = ("sqlite", "postgresql")

route = Routes("bodies")
PATH = "/api/v1/bodies"
KEY = {"X-API-Key": "odk_maya"}
JSON = {**KEY, "Content-Type": "application/json"}
WHO = Known(keys={"odk_maya": somebody("maya")})
reading, asked_meanwhile = threading.Event(), threading.Event()


class Body(Model):
    name: str = ""
    size: int = 0
    wait: bool = False

    @field_validator("wait")
    @classmethod
    def until_another_was_answered(cls, wait: bool) -> bool:
        reading.set()
        if wait and not asked_meanwhile.wait(10):
            raise ValueError("nobody was answered meanwhile")
        return wait


class Files(Form):
    file: list[File]


@route("POST", "/bodies", needs=Scope.JOBS, summary="A body", max_body=16 << 20)
async def post_body(call: Call[Nothing, Nothing, Body | Files]) -> None:
    return None


@route("POST", "/public", needs=PUBLIC, summary="Of anybody")
async def post_public(call: Call[Nothing, Nothing, Body]) -> None:
    return None


@route("GET", "/bodies", needs=PUBLIC, summary="Another caller")
async def get_body(call: Call[Nothing, Nothing, Nothing]) -> None:
    asked_meanwhile.set()


async def refused(rest: Rest, data: Any, status: int, code: str, path: str = PATH, headers: Any = JSON) -> Any:
    response, answer = await rest.call("POST", path, data=data, headers=headers)
    assert (response.status, answer["error"]["code"]) == (status, code), answer
    return answer["error"]


def unknown(count: int) -> str:
    return "{" + ",".join(f'"{number:x}":1' for number in range(count)) + "}"


async def test_another_caller_is_answered_while_a_large_body_is_read() -> None:
    reading.clear()
    asked_meanwhile.clear()
    async with serving(list(route), authenticator=WHO) as rest, asyncio.TaskGroup() as group:
        large = group.create_task(rest.call("POST", PATH, json={"wait": True, "name": "x" * LARGE}, headers=KEY))
        await until(lambda: reading.is_set(), what="the large body to be read")
        response, _ = await rest.get(PATH)
        assert response.status == 204
        response, answer = await large
        assert response.status == 204, answer


@pytest.mark.parametrize(
    "data",
    [unknown(MAX_VALUES + 1), '{"name":[' + "[]," * MAX_VALUES, "[" * MAX_VALUES * 2, '{"a":' * MAX_VALUES * 2],
    ids=["members", "items", "nested lists", "nested objects"],
)
async def test_a_body_of_too_many_values_is_refused_unread(data: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async with serving(list(route), authenticator=WHO) as rest:
        monkeypatch.setattr(Body, "model_validate_json", None)
        await refused(rest, data, 413, "TOO_LARGE")


async def test_too_many_mistakes_are_counted_and_not_told() -> None:
    async with serving(list(route), authenticator=WHO) as rest:
        problem = await refused(rest, unknown(MAX_MISTAKES), 422, "INVALID_ARGUMENT")
        assert (problem["field"], len(problem["details"]["errors"])) == ("0", MAX_TOLD)
        problem = await refused(rest, unknown(MAX_MISTAKES + 1), 422, "INVALID_ARGUMENT")
        assert (problem["field"], "errors" in problem["details"]) == (None, False)
        assert f"{MAX_MISTAKES + 1} mistakes" in problem["message"]


async def test_a_long_name_is_told_in_short() -> None:
    async with serving(list(route), authenticator=WHO) as rest:
        problem = await refused(rest, '{"' + "x" * 100_000 + '":1}', 422, "INVALID_ARGUMENT")
        assert problem["field"] == "x" * MAX_NAME


async def test_a_number_that_no_reader_takes_is_malformed() -> None:
    async with serving(list(route), authenticator=WHO) as rest:
        await refused(rest, '{"size":5.0,"name":' + "9" * 5000 + "}", 400, "MALFORMED")


async def test_anybody_may_send_little() -> None:
    public = "/api/v1/public"
    async with serving(list(route)) as rest:
        await refused(rest, "x" * (MAX_PUBLIC_BODY + 1), 413, "TOO_LARGE", path=public)
        response, _ = await rest.call("POST", public, json={"name": "x" * (MAX_PUBLIC_BODY - 100)})
        assert response.status == 204


async def test_a_form_has_only_so_many_parts() -> None:
    async with serving(list(route), authenticator=WHO) as rest:
        for count, status in ((MAX_PARTS, 204), (MAX_PARTS + 1, 413)):
            form = FormData()
            for number in range(count):
                form.add_field("file", b"x", filename=f"{number}")
            response, _ = await rest.call("POST", PATH, data=form, headers=KEY)
            assert response.status == status


@pytest.mark.parametrize("kind", ["application/json", "multipart/form-data; boundary=x"])
async def test_whoever_hangs_up_within_the_body_is_no_failure(kind: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    async with serving(list(route), authenticator=WHO) as rest:
        head = f"POST {PATH} HTTP/1.1\r\nHost: localhost\r\nX-API-Key: odk_maya\r\nContent-Type: {kind}\r\n"
        await rest.hang_up(f"{head}Content-Length: 1000\r\n\r\n--x\r\n".encode(), lambda: rest.edge.running == 1)
        await until(lambda: bool(rest.observed), what="the request to end")
        assert rest.observed == [(PATH, "POST", 499)]
    assert [record.message for record in caplog.records if record.name.startswith("oddaemon.api.rest")] == []
