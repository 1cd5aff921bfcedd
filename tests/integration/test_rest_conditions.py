"""Changes that are made only to what the caller has seen: If-Match."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import get_origin, get_type_hints

import pytest

from oddaemon.api.rest import app
from oddaemon.api.rest.models import Model, Nothing
from oddaemon.api.rest.routes import Answer, Call, Routes
from oddaemon.domain.errors import NotFound
from oddaemon.domain.user import Scope
from tests.support.rest import Known, Rest, serving, somebody
from tests.support.wait import until

route = Routes("thing")
THING, NONE = "/api/v1/thing/here", "/api/v1/thing/nowhere"
KEY = {"X-API-Key": "odk_maya"}
WHO = Known(keys={"odk_maya": somebody("maya")})


@dataclass
class State:
    changes: int = 0
    callers: int = 1
    """So many have to be there before a change is made."""
    rest: Rest | None = None


state = State()


class Path(Model):
    name: str


class Thing(Model):
    changes: int


@route("GET", "/thing/{name}", needs=Scope.READ, summary="The thing", errors=[NotFound])
async def get_thing(call: Call[Path, Nothing, Nothing]) -> Answer[Thing]:
    if call.path.name != "here":
        raise NotFound("there is no such thing")
    return Answer(data=Thing(changes=state.changes), etag=f"v{state.changes}")


@route("PATCH", "/thing/{name}", needs=Scope.JOBS, summary="Change it", errors=[NotFound], shown_by=get_thing)
async def change_thing(call: Call[Path, Nothing, Nothing]) -> Thing:
    await get_thing(call)
    rest = state.rest
    assert rest is not None
    await until(lambda: rest.edge.running >= state.callers, every=0.01, what="the other callers")
    state.callers = 1
    state.changes += 1
    return Thing(changes=state.changes)


@pytest.fixture
async def rest() -> AsyncIterator[Rest]:
    state.changes, state.callers = 3, 1
    async with serving(list(route), authenticator=WHO) as state.rest:
        yield state.rest


@pytest.mark.parametrize(
    ("given", "status"),
    [
        ('"v3"', 200), ('"x", "v3"', 200), ("*", 200), ('"v2"', 412), ('W/"v3"', 412), ("v3", 412), ("", 412)
    ],
)  # fmt: skip
async def test_only_what_if_match_names_is_changed(rest: Rest, given: str, status: int) -> None:
    response, answer = await rest.call("PATCH", THING, headers={**KEY, "If-Match": given})
    assert (response.status, state.changes) == (status, 4 if status == 200 else 3)
    if status == 412:
        assert (answer["error"]["code"], response.headers["ETag"]) == ("PRECONDITION_FAILED", '"v3"')


async def test_what_there_is_not_is_not_found(rest: Rest) -> None:
    for given in ("*", '"v3"'):
        response, _ = await rest.call("PATCH", NONE, headers={**KEY, "If-Match": given})
        assert response.status == 404


async def test_of_two_changes_of_the_same_one_is_made(rest: Rest) -> None:
    state.callers = 2
    both = [rest.call("PATCH", THING, headers={**KEY, "If-Match": '"v3"'}) for _ in range(2)]
    found = [response.status for response, _ in await asyncio.gather(*both)]
    assert (sorted(found), state.changes) == ([200, 412], 4)


def test_every_change_of_what_has_an_etag_takes_if_match() -> None:
    shown = {
        route.path: route.handler
        for route in app.ROUTES
        if route.method == "GET" and get_origin(get_type_hints(route.handler)["return"]) is Answer
    }
    changes = [route for route in app.ROUTES if route.method in ("PATCH", "PUT", "DELETE") and route.path in shown]
    assert len(changes) >= 7
    assert [route.name for route in changes if route.shown_by is not shown[route.path]] == []
