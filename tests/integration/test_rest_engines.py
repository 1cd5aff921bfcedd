"""The generic `/api/v1/{engine}/…`: a new engine needs no route."""

from __future__ import annotations

from pathlib import Path
from uuid import uuid4

from tests.integration.test_rest_downloads import SLOW, item
from tests.support.rest_house import rest_house

DATABASES = ("sqlite", "postgresql")


async def test_an_engine_s_own_routes(tmp_path: Path) -> None:
    async with rest_house(tmp_path) as house:
        maya, bob = await house.user("maya"), await house.user("bob")
        [engine] = await maya.data("GET", "/engines")
        assert (engine["name"], engine["ok"]) == ("simulated", True)
        assert "size" in [option["name"] for option in engine["options"]]
        source = f"http://origin.example/{uuid4()}"
        info = await maya.data("POST", "/simulated/info", json={"source": source, "options": {"files": "2"}})
        assert (info["engine"], info["size"], len(info["files"]), info["cache_hit"]) == ("simulated", 1 << 20, 2, False)
        # the path's engine counts, whatever the body says
        asked = {**item(options={**SLOW, "files": "2"}), "engine": "gopher"}
        response, answer = await maya.call("POST", "/simulated/add", json=asked)
        job = answer["data"]
        assert (response.status, job["engine"]) == (201, "simulated")
        assert response.headers["Location"] == f"/api/v1/downloads/{job['id']}"
        path = f"/simulated/jobs/{job['id']}"
        assert [found["id"] for found in await maya.data("GET", "/simulated/jobs?filter=state%3Dqueued,active")] == [
            job["id"]
        ]
        assert (await maya.data("GET", path))["uuid"] == job["uuid"]
        assert isinstance(await maya.data("GET", f"{path}/files"), list)
        for method, asked_path in [("GET", path), ("GET", f"{path}/files"), ("DELETE", path)]:
            await bob.refused(method, asked_path, 404, "NOT_FOUND")
        assert await bob.data("GET", "/simulated/jobs") == []
        assert (await maya.data("DELETE", path))["download"]["id"] == job["id"]
        await maya.refused("GET", path, 404, "NOT_FOUND")


async def test_an_engine_that_does_not_exist_is_not_found(tmp_path: Path) -> None:
    async with rest_house(tmp_path) as house:
        for method, path, body in [
            ("POST", "add", item()), ("POST", "info", {"source": "http://x/"}), ("GET", "jobs", None),
            ("GET", "jobs/1", None), ("GET", "jobs/1/files", None), ("DELETE", "jobs/1", None),
        ]:  # fmt: skip
            await house.admin.refused(method, f"/gopher/{path}", 404, "NOT_FOUND", json=body)
            await house.nobody.refused(method, f"/gopher/{path}", 401, "UNAUTHENTICATED", json=body)
