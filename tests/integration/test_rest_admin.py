"""`/api/v1/admin`: nodes, settings, cache, clean-up. And what would be there at once."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from oddaemon.domain.cache import hash_key
from oddaemon.domain.types import EngineName
from tests.integration.test_rest_downloads import add, ended
from tests.support.rest_house import rest_house
from tests.support.wait import until

DATABASES = ("sqlite", "postgresql")

HASH = "0123456789abcdef0123456789abcdef01234567"


async def test_nodes_and_settings(tmp_path: Path) -> None:
    async with rest_house(tmp_path) as house:
        admin, maya = house.admin, await house.user("maya")

        async def known() -> bool:
            return bool(await admin.data("GET", "/admin/nodes"))

        await until(known)
        [node] = await admin.data("GET", "/admin/nodes")
        assert (node["id"], node["role"], node["state"]) == ("here", "controller", "online")
        assert (await admin.data("GET", "/admin/nodes/here"))["disk_total"] == node["disk_total"]
        await admin.refused("GET", "/admin/nodes/there", 404, "NOT_FOUND")
        assert "own node" in (await admin.refused("DELETE", "/admin/nodes/here", 409, "CONFLICT"))["message"]

        account = "/admin/users/admin"
        for single in ("/admin/nodes/here", account, f"{account}/usage", "/auth/me", "/auth/usage"):
            assert (await admin.call("GET", single))[0].headers["ETag"]
        key = "/admin/settings/limits.jobs_per_user"
        response, answer = await admin.call("GET", key)
        assert answer["data"]["value"] == 0
        unchanged = await admin.call("GET", key, headers={"If-None-Match": response.headers["ETag"]})
        assert unchanged[0].status == 304
        for value, stored in [(7, 7), ("9", 9)]:
            assert (await admin.data("PATCH", key, json={"value": value}))["value"] == stored
        assert (await admin.data("PATCH", key, json={"value": 8, "dry_run": True}))["value"] == 8
        assert (await admin.data("GET", key))["value"] == 9
        listed = {setting["key"]: setting for setting in await admin.data("GET", "/admin/settings")}
        assert listed["limits.jobs_per_user"]["source"] == "stored"
        limits = await admin.data("GET", "/admin/limits")
        assert {setting["key"].partition(".")[0] for setting in limits} == {"limits"}
        assert (await admin.data("DELETE", key))["value"] == 0
        expiry = await admin.data("PATCH", "/admin/settings/limits.link_expiry", json={"value": "2h", "dry_run": True})
        assert (repr(expiry["value"]), repr(expiry["default"])) == ("7200", "3600")
        for wrong in (-1, "many", None, [1]):
            await admin.refused("PATCH", key, 422, "INVALID_ARGUMENT", json={"value": wrong})
        await admin.refused("PATCH", "/admin/settings/limits.nothing", 404, "NOT_FOUND", json={"value": 1})
        await admin.refused("PATCH", "/admin/settings/server.port", 409, "PINNED", json={"value": 1})
        for method, path in [
            ("GET", "/admin/nodes"), ("DELETE", "/admin/nodes/here"), ("GET", "/admin/settings"), ("PATCH", key),
            ("DELETE", key), ("GET", "/admin/limits"), ("GET", "/admin/cache"), ("POST", "/admin/cleanup"),
        ]:  # fmt: skip
            await maya.refused(method, path, 403, "NOT_ALLOWED", json={"value": 1})


async def test_nodes_are_drained_marked_and_let_in(tmp_path: Path) -> None:
    async with rest_house(tmp_path) as house:
        admin, here = house.admin, "/admin/nodes/here"
        await until(lambda: "here" in house.home.controller.core.board.nodes)
        assert (await admin.data("POST", f"{here}/drain"))["state"] == "draining"
        assert (await admin.data("POST", f"{here}/undrain"))["state"] == "online"
        wanted = {"set_labels": {"room": "attic", "tier": "slow"}, "limits": {"running": 3, "weight": 0.5}}
        changed = await admin.data("PATCH", here, json=wanted)
        assert (changed["labels"], changed["running_limit"]) == ({"room": "attic", "tier": "slow"}, 3)
        changed = await admin.data("PATCH", here, json={"unset_labels": ["tier"], "limits": {"running": None}})
        assert (changed["set_labels"], changed["limits"]["running"], changed["limits"]["weight"]) == (
            {"room": "attic"}, None, 0.5
        )  # fmt: skip
        await admin.refused("PATCH", here, 422, "INVALID_ARGUMENT", json={"limits": {"weight": -1}})
        await admin.refused("PATCH", here, 422, "INVALID_ARGUMENT", json={"set_labels": {"a=b": "c"}})

        made = await admin.data("POST", "/admin/node-tokens", json={"ttl_s": 60, "name": "attic"}, status=201)
        assert made["token"] in made["command"]
        [listed] = await admin.data("GET", "/admin/node-tokens")
        assert (listed["id"], listed["state"], listed["created_by"]) == (made["id"], "good", "admin")
        assert made["token"].split(".")[2] not in str(listed)
        assert (await admin.call("DELETE", f"/admin/node-tokens/{made['id']}"))[0].status == 204
        await admin.refused("DELETE", f"/admin/node-tokens/{made['id']}", 404, "NOT_FOUND")
        both = {"name": "attic", "reusable": True}
        await admin.refused("POST", "/admin/node-tokens", 422, "INVALID_ARGUMENT", json=both)


async def test_the_cache_is_listed_pinned_removed_and_cleaned_up(tmp_path: Path) -> None:
    async with rest_house(tmp_path) as house:
        admin = house.admin
        job = await ended(admin, await add(admin))
        [entry] = await admin.data("GET", "/admin/cache")
        assert (entry["jobs"], entry["users"], entry["size"]) == ([job["id"]], ["admin"], 1 << 20)
        keys = {"keys": [entry["key"]]}
        assert (await admin.data("GET", f"/admin/cache?key={entry['key']}"))[0]["replicas"][0]["node"] == "here"
        kept = await admin.data("POST", "/admin/cache/remove", json=keys)
        assert (kept["freed_bytes"], kept["items"][0]["error"] is None) == (0, False)
        assert (await admin.data("POST", "/admin/cache/pin", json=keys))[0]["pinned"] is True
        await admin.data("DELETE", f"/downloads/{job['id']}")
        assert (await admin.data("POST", "/admin/cleanup", json={}))["items"] == []
        await admin.data("POST", "/admin/cache/pin", json={**keys, "pinned": False})
        tried = await admin.data("POST", "/admin/cleanup", json={"dry_run": True})
        assert (tried["applied"], len(tried["items"])) == (False, 1)
        done = await admin.data("POST", "/admin/cleanup", json={})
        assert (done["applied"], done["freed_bytes"]) == (True, tried["freed_bytes"])
        await admin.refused("POST", "/admin/cache/remove", 404, "NOT_FOUND", json=keys)


async def test_what_would_be_there_at_once_is_told_to_whom_it_may_be(tmp_path: Path) -> None:
    async with rest_house(tmp_path) as house:
        maya, bob = await house.user("maya"), await house.user("bob")
        job = await ended(maya, await add(maya, name="Film", options={"files": "2"}))
        [entry] = await house.admin.data("GET", "/admin/cache")
        key = hash_key(EngineName("aria2"), HASH).full

        def as_torrent(tx: object) -> None:
            found = tx.cache.generations(entry["key"])[0]  # type: ignore[attr-defined]
            tx.cache.update_entry(replace(found, key=key))  # type: ignore[attr-defined]

        await house.home.store.write(as_torrent)
        sources = [HASH, f"magnet:?xt=urn:btih:{HASH.upper()}", "f" * 40, "http://origin.example/x", "no source"]
        told = await maya.data("POST", "/availability", json={"sources": sources})
        assert [found["available"] for found in told] == [True, True, False, None, False]
        assert (told[0]["key"], told[0]["size"], len(told[0]["files"])) == (key, 1 << 20, 2)
        assert told[4]["error"]["code"] == "INVALID_SOURCE"
        # bob learns of what maya has only if the setting says so
        [hers] = await bob.data("POST", "/availability", json={"sources": [HASH]})
        assert (hers["available"], hers["files"], hers["size"]) == (False, [], None)
        await house.home.set(auth__tell_availability="true")
        [hers] = await bob.data("POST", "/availability", json={"sources": [HASH]})
        assert (hers["available"], len(hers["files"])) == (True, 2)
        # a file that is gone is not there
        for folder in house.home.storage.base.iterdir():
            for file in folder.rglob("*") if folder.is_dir() and not folder.name.startswith(".") else ():
                file.unlink()
        [gone] = await maya.data("POST", "/availability", json={"sources": [HASH]})
        assert gone["available"] is False
        assert job["state"] == "completed"
        await maya.refused("POST", "/availability", 422, "INVALID_ARGUMENT", json={"sources": []})
