"""`/api/v1/files`: browsing, links of every kind, what bounds them, and their end."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

from tests.integration.test_rest_downloads import SLOW, add, ended
from tests.support.http import fetch
from tests.support.rest_house import rest_house

DATABASES = ("sqlite", "postgresql")


async def test_links_of_every_kind_work_until_they_are_revoked(tmp_path: Path) -> None:
    async with rest_house(tmp_path) as house:
        maya = await house.user("maya")
        job = await ended(maya, await add(maya, options={"files": "3", "size": "3000"}))
        path = f"/files/jobs/{job['id']}"
        files = await maya.data("GET", f"/downloads/{job['id']}/files")
        assert [(file["index"], file["size"], file["ready"]) for file in files] == [(n, 1000, True) for n in (1, 2, 3)]
        [folder] = await maya.data("GET", f"{path}/browse")
        assert (folder["kind"], folder["files"], folder["size"], folder["file"]) == ("folder", 3, 3000, None)
        inside = f"{path}/browse?path={folder['path']}"
        items = await maya.data("GET", inside)
        assert [item["file"] for item in items] == files
        assert await maya.data("GET", f"{inside}&per_page=1&page=2") == items[1:2]
        await maya.refused("GET", f"{path}/browse?path=nowhere", 404, "NOT_FOUND")
        made = await maya.data("POST", f"{path}/link", status=201, json={})
        assert [link["index"] for link in made] == [1, 2, 3]
        [one] = await maya.data("POST", f"{path}/link", status=201, json={"path": files[1]["path"], "ttl_s": 60})
        assert len((await fetch(one["url"])).body) == 1000
        # the seed's path leads to where it is served
        token = one["url"].split("/d/")[1].split("/")[0]
        response, _ = await house.nobody.call("GET", f"/files/d/{token}", allow_redirects=False)
        assert (response.status, response.headers["Location"]) == (307, one["url"])
        await house.nobody.refused("GET", f"/files/d/{token[:-1]}{'B' if token[-1] == 'A' else 'A'}", 404, "NOT_FOUND")
        [archive] = await maya.data("POST", f"{path}/link", status=201, json={"kind": "zip"})
        assert len(zipfile.ZipFile(io.BytesIO((await fetch(archive["url"])).body)).namelist()) == 3
        [playlist] = await maya.data("POST", f"{path}/link", status=201, json={"kind": "m3u", "files": ["1-2"]})
        assert (await fetch(playlist["url"])).body.count(b"http://") == 2
        [once] = await maya.data("POST", f"{path}/link", status=201, json={"files": ["1"], "max_uses": 1})
        assert [(await fetch(once["url"])).status for _ in range(2)] == [200, 410]
        [bound] = await maya.data("POST", f"{path}/link", status=201, json={"files": ["1"], "address": "192.0.2.7"})
        assert ((await fetch(bound["url"])).status, bound["address"]) == (403, "192.0.2.7")

        listed = await maya.data("GET", f"/files/links?job={job['id']}")
        assert {link["id"] for link in [*made, one, archive, playlist, once, bound]} == {link["id"] for link in listed}
        assert {link["url"] for link in listed} == {None}
        assert await maya.data("DELETE", f"/files/links/{one['id']}") == {"revoked": 1, "not_reached": []}
        assert (await fetch(one["url"])).status == 410
        for state, link in (("revoked", one), ("used_up", once)):
            assert [found["id"] for found in await maya.data("GET", f"/files/links?state={state}")] == [link["id"]]
            of_job = await maya.data("GET", f"/files/links?job={job['id']}&state={state}")
            assert [(found["id"], found["state"]) for found in of_job] == [(link["id"], state)]
        await maya.refused("GET", "/files/links?state=dead", 422, "INVALID_ARGUMENT")
        await house.nobody.refused("GET", f"/files/d/{token}", 404, "NOT_FOUND")
        assert (await maya.data("DELETE", f"/files/links?job={job['id']}"))["revoked"] == 7
        assert (await fetch(archive["url"])).status == 410


async def test_what_cannot_be_linked_says_why(tmp_path: Path) -> None:
    async with rest_house(tmp_path) as house:
        maya, bob = await house.user("maya"), await house.user("bob")
        job = await ended(maya, await add(maya))
        path = f"/files/jobs/{job['id']}"
        for wrong, status, code in [
            ({"path": "nowhere"}, 404, "NOT_FOUND"), ({"ttl_s": 1e9}, 422, "INVALID_ARGUMENT"),
            ({"kind": "tar"}, 422, "INVALID_ARGUMENT"), ({"max_uses": 0}, 422, "INVALID_ARGUMENT"),
            ({"address": "home"}, 422, "INVALID_ARGUMENT"), ({"kind": "zip", "folder": "no"}, 404, "NOT_FOUND"),
        ]:  # fmt: skip
            await maya.refused("POST", f"{path}/link", status, code, json=wrong)
        [link] = await maya.data("POST", f"{path}/link", status=201)
        # a stranger's link and job look like none
        await bob.refused("POST", f"{path}/link", 404, "NOT_FOUND")
        await bob.refused("GET", f"{path}/browse", 404, "NOT_FOUND")
        await bob.refused("DELETE", f"/files/links/{link['id']}", 404, "NOT_FOUND")
        await bob.refused("GET", f"/files/links?job={job['id']}", 404, "NOT_FOUND")
        assert await bob.data("GET", "/files/links") == []
        assert (await fetch(link["url"])).status == 200
        waiting = await add(maya, options=SLOW, paused=True)
        await maya.refused("POST", f"/files/jobs/{waiting['id']}/link", 409, "NOT_READY")
        # the links go with the job
        await maya.data("DELETE", f"/downloads/{job['id']}")
        assert (await fetch(link["url"])).status == 410


async def test_a_bound_link_behind_a_trusted_proxy_is_for_who_asks_the_proxy(tmp_path: Path) -> None:
    async with rest_house(tmp_path) as house:
        job = await ended(house.admin, await add(house.admin))
        path = f"/files/jobs/{job['id']}/link"
        [bound] = await house.admin.data("POST", path, status=201, json={"address": "192.0.2.7"})

        async def status(forwarded: str) -> int:
            return (await fetch(bound["url"], {"X-Forwarded-For": forwarded})).status

        assert await status("192.0.2.7") == 403  # of somebody whom nobody trusts
        await house.home.set(server__trusted_proxies="127.0.0.1")
        assert [await status(said) for said in ("192.0.2.7", "192.0.2.8", "192.0.2.7, 192.0.2.8", "")] == [
            200, 403, 403, 403,
        ]  # fmt: skip
