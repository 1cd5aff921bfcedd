"""`/api/v1/downloads` and `/api/v1/bulk`."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from aiohttp import FormData

from tests.support.rest_house import RestHouse, Visitor, rest_house
from tests.support.wait import until

DATABASES = ("sqlite", "postgresql")

SLOW = {"rate": "1"}


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[RestHouse]:
    async with rest_house(tmp_path) as built:
        yield built


def item(**more: Any) -> dict[str, Any]:
    """An add of something that nobody added before."""
    return {"source": f"http://origin.example/{uuid4()}", "engine": "simulated", **more}


async def add(who: Visitor, **more: Any) -> dict[str, Any]:
    made = await who.data("POST", "/downloads", status=201, json=item(**more))
    assert isinstance(made, dict)
    return made


async def ended(who: Visitor, job: dict[str, Any]) -> dict[str, Any]:
    """The job when it is over."""
    found: dict[str, Any] = {}

    async def over() -> bool:
        found.update(await who.data("GET", f"/downloads/{job['id']}"))
        return found["state"] in ("completed", "failed", "cancelled")

    await until(over, timeout=20, what=f"job {job['id']} to end")
    return found


async def test_an_add_is_stored_and_comes_to_an_end(house: RestHouse) -> None:
    maya = await house.user("maya")
    response, answer = await maya.call("POST", "/downloads", json=item(name="Film", tags=["tv"], priority=3))
    made = answer["data"]
    assert (response.status, response.headers["Location"]) == (201, f"/api/v1/downloads/{made['id']}")
    assert (made["name"], made["tags"], made["priority"], made["user"]) == ("Film", ["tv"], 3, "maya")
    assert (made["engine"], made["cache_key"], made["error"]) == ("simulated", None, None)
    done = await ended(maya, made)
    assert (done["state"], done["progress"], done["done"]) == ("completed", 1.0, 1 << 20)
    response, answer = await maya.call("GET", f"/downloads/{made['uuid']}/files")
    assert [(file["index"], file["ready"], file["selected"]) for file in answer["data"]] == [(1, True, True)]
    assert answer["meta"] == {"page": 1, "per_page": 20, "total": 1}


async def test_what_is_there_already_is_a_hit(house: RestHouse) -> None:
    maya, bob = await house.user("maya"), await house.user("bob")
    asked = item()
    await ended(maya, await maya.data("POST", "/downloads", status=201, json=asked))
    hit = await ended(bob, await bob.data("POST", "/downloads", status=201, json=asked))
    assert (hit["cache_hit"], hit["state"]) == (True, "completed")


WRONG: list[tuple[dict[str, Any], str, str | None]] = [
    ({"source": "no source"}, "INVALID_SOURCE", "source"), ({"engine": "gopher"}, "INVALID_ARGUMENT", "engine"),
    ({"options": {"hook": "x"}}, "INVALID_OPTION", None), ({"files": "none"}, "INVALID_SELECTION", None),
    ({"checksum": "crc=1"}, "INVALID_ARGUMENT", "checksum"), ({"priority": 5000}, "INVALID_ARGUMENT", "priority"),
    ({"tags": ["a b"]}, "INVALID_ARGUMENT", "tags"), ({"colour": "red"}, "INVALID_ARGUMENT", "colour"),
    ({"source": ""}, "INVALID_ARGUMENT", "source"),
]  # fmt: skip


async def test_a_wrong_add_stores_nothing_and_names_what_is_wrong(house: RestHouse) -> None:
    for more, code, field in WRONG:
        problem = await house.admin.refused("POST", "/downloads", 422, code, json=item(**more))
        assert field is None or problem["field"] == field
    assert await house.admin.data("GET", "/downloads") == []


async def test_a_dry_run_stores_nothing(house: RestHouse) -> None:
    response, answer = await house.admin.call("POST", "/downloads", json=item(dry_run=True))
    assert (response.status, "Location" in response.headers, answer["data"]["state"]) == (200, False, "queued")
    [first] = await house.admin.data("POST", "/bulk/add", json={"items": [item()], "dry_run": True})
    for planned in (answer["data"], first["download"]):
        assert (planned["id"], planned["uuid"]) == (None, None)
    assert await house.admin.data("GET", "/downloads") == []


async def test_a_torrent_is_uploaded(house: RestHouse) -> None:
    data = b"d4:infod6:lengthi3e4:name1:x12:piece lengthi16384e6:pieces20:aaaaaaaaaaaaaaaaaaaaee"

    def form(**fields: str) -> FormData:
        made = FormData(fields)
        made.add_field("torrent", data, filename="x.torrent", content_type="application/x-bittorrent")
        return made

    # no engine here takes torrents, and that is said: it was read
    await house.admin.refused("POST", "/downloads", 422, "INVALID_ARGUMENT", data=form(engine="simulated"))
    broken = FormData()
    broken.add_field("torrent", b"no torrent", filename="x.torrent")
    await house.admin.refused("POST", "/downloads", 422, "INVALID_SOURCE", data=broken)
    many = form(engine="simulated")
    many.add_field("torrent", b"no torrent", filename="y.torrent")
    results = await house.admin.data("POST", "/bulk/add", data=many)
    assert [found["error"]["code"] for found in results] == ["INVALID_ARGUMENT", "INVALID_SOURCE"]
    missing = FormData({"engine": "simulated", "file": "x"}, default_to_multipart=True)
    problem = await house.admin.refused("POST", "/downloads", 422, "INVALID_ARGUMENT", data=missing)
    assert {error["field"] for error in problem["details"]["errors"]} == {"torrent", "file"}


async def test_lists_are_filtered_sorted_and_in_pages(house: RestHouse) -> None:
    maya = await house.user("maya")
    for name in ("c", "a", "b"):
        await add(maya, name=name, tags=["tv"], paused=True)
    await add(maya, name="d", paused=True)
    await add(house.admin, name="e", paused=True)

    async def names(query: str, who: Visitor = maya) -> tuple[list[str], int]:
        _, answer = await who.call("GET", f"/downloads?{query}")
        return [job["name"] for job in answer["data"]], answer["meta"]["total"]

    assert await names("sort=name") == (["a", "b", "c", "d"], 4)
    assert await names("sort=!name&per_page=2&page=2") == (["b", "a"], 4)
    assert await names("filter=tag%3Dtv&sort=name") == (["a", "b", "c"], 3)
    assert await names("page=9") == ([], 4)
    assert await names("sort=name", house.admin) == (["a", "b", "c", "d", "e"], 5)
    assert await names("filter=(tag%3Dtv%20%7C%20a)%20!name~/[bc]/&sort=name") == (["a"], 1)
    problem = await maya.refused("GET", "/downloads?filter=colour%3Dred", 422, "INVALID_FILTER")
    assert (problem["field"], problem["details"]["position"]) == ("filter", 0)
    assert (await maya.refused("GET", "/downloads?sort=colour", 422, "INVALID_FILTER"))["field"] == "sort"
    named = await maya.refused("GET", "/downloads/film.mkv", 422, "INVALID_ARGUMENT")
    assert named["hint"] == "give a number, a UUID, a hash or @last"


async def test_a_job_is_held_changed_given_up_and_taken_up_again(house: RestHouse) -> None:
    maya = await house.user("maya")
    path = f"/downloads/{(await add(maya, options=SLOW))['id']}"
    held = await maya.data("POST", f"{path}/pause?for_s=3600")
    assert (held["state"], held["hold"], held["hold_until"] is not None) == ("queued", "user", True)
    assert (await maya.data("POST", f"{path}/resume?dry_run=true"))["hold"] == "none"
    assert (await maya.data("GET", path))["hold"] == "user"
    assert (await maya.data("POST", f"{path}/resume"))["hold"] == "none"
    changes = {"priority": 7, "name": "n", "tags": ["a", "b"], "max_rate_down": 1000}
    changed = await maya.data("PATCH", path, json=changes)
    assert {name: changed[name] for name in changes} == changes
    await maya.refused("PATCH", path, 422, "INVALID_ARGUMENT", json={})
    assert (await maya.data("PUT", f"{path}/selection", json={"selection": "1"})) is not None
    assert (await maya.data("POST", f"{path}/cancel"))["state"] == "cancelled"
    await maya.refused("POST", f"{path}/pause", 409, "WRONG_STATE")
    assert (await maya.data("POST", f"{path}/retry"))["state"] == "queued"
    assert (await maya.data("DELETE", f"{path}?dry_run=true"))["download"]["name"] == "n"
    await maya.data("DELETE", path)
    await maya.refused("GET", path, 404, "NOT_FOUND")


async def test_an_etag_saves_the_answer_until_something_changes_and_then_the_change(house: RestHouse) -> None:
    path = f"/downloads/{(await ended(house.admin, await add(house.admin)))['id']}"
    response, _ = await house.admin.call("GET", path)
    tag: dict[str, Any] = {"headers": {"If-None-Match": response.headers["ETag"]}}
    response, answer = await house.admin.call("GET", path, **tag)
    assert (response.status, answer) == (304, None)
    seen: dict[str, Any] = {"headers": {"If-Match": response.headers["ETag"]}}
    changed = await house.admin.data("PATCH", path, json={"name": "another"}, **seen)
    assert (await house.admin.data("GET", path, **tag))["name"] == "another"
    # whoever saw the other name changes and removes nothing
    for method, body in (("PATCH", {"json": {"name": "a third"}}), ("DELETE", {})):
        await house.admin.refused(method, path, 412, "PRECONDITION_FAILED", **body, **seen)
    response, answer = await house.admin.call("GET", path)
    assert answer["data"] == changed
    await house.admin.data("DELETE", path, headers={"If-Match": response.headers["ETag"]})


async def test_many_at_once_each_with_its_own_answer(house: RestHouse) -> None:
    maya, bob = await house.user("maya"), await house.user("bob")
    items = [item(paused=True, tags=["tv"]), {"source": "no source"}, item(paused=True)]
    results = await maya.data("POST", "/bulk/add", json={"items": items})
    assert [found["error"] and found["error"]["code"] for found in results] == [None, "INVALID_SOURCE", None]
    first, last = results[0]["download"]["id"], results[2]["download"]["id"]
    foreign = (await add(bob, paused=True))["id"]

    async def bulk(wish: str, **body: Any) -> list[tuple[str, str]]:
        found = await maya.data("POST", f"/bulk/{wish}", json=body)
        return [(one["id"], (one["error"] or {}).get("code") or one["download"]["state"]) for one in found]

    ids = [str(first), str(foreign), "999"]
    assert await bulk("resume", ids=ids, dry_run=True) == [
        (str(first), "queued"), (str(foreign), "NOT_FOUND"), ("999", "NOT_FOUND")
    ]  # fmt: skip
    assert await bulk("cancel", filter="tag=tv", dry_run=True) == [(str(first), "cancelled")]
    assert (await maya.data("GET", f"/downloads/{first}"))["hold"] == "user"
    assert await bulk("set", all=True, changes={"priority": 4}) == [(str(first), "queued"), (str(last), "queued")]
    assert await bulk("cancel", filter="tag=tv") == [(str(first), "cancelled")]
    assert await bulk("pause", all=True) == []
    assert await bulk("retry", filter="state=cancelled") == [(str(first), "queued")]
    assert [name for name, _ in await bulk("delete", all=True)] == [str(first), str(last)]
    assert (await bob.data("GET", f"/downloads/{foreign}"))["priority"] == 0
    await maya.refused("POST", "/bulk/delete", 422, "INVALID_ARGUMENT", json={})


async def test_a_stranger_s_job_is_one_that_does_not_exist(house: RestHouse) -> None:
    maya, bob = await house.user("maya"), await house.user("bob")
    mine = (await add(maya, paused=True))["id"]
    for method, path, body in [
        ("GET", "", None), ("PATCH", "", {"priority": 1}), ("DELETE", "", None), ("GET", "/files", None),
        ("PUT", "/selection", {"selection": "1"}), ("POST", "/pause", None), ("POST", "/resume", None),
        ("POST", "/cancel", None), ("POST", "/retry", {}),
    ]:  # fmt: skip
        told = []
        for number in (mine, 999):
            problem = await bob.refused(method, f"/downloads/{number}{path}", 404, "NOT_FOUND", json=body)
            told.append(re.sub(rf"\b{number}\b", "N", str(problem)))
        assert told[0] == told[1]
    assert (await maya.data("GET", f"/downloads/{mine}"))["priority"] == 0
