"""Who gets in: tokens, names, a thief of the controller's certificate. On hosts of their own."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.support.fleet import LIVELY, NODES_PORT, Fleet, Member, fleet
from tests.support.wait import until

pytestmark = pytest.mark.timeout(300)


async def refused(they: Fleet, name: str, token: str, why: str, **options: Any) -> None:
    """It ends, and says why and what to do."""
    worker = await they.worker(name, token, **options)
    process = worker.process
    assert process is not None
    await until(lambda: process.returncode is not None, what=f"{name} to give up")
    assert process.returncode not in (0, None)
    assert why in worker.log, worker.log
    assert "odctl nodes" in worker.log
    assert token not in worker.log


async def test_only_a_good_token_lets_a_worker_in(tmp_path: Path) -> None:
    async with fleet(tmp_path) as they:
        good = await they.token()
        kind, number, secret, fingerprint = good.split(".")
        await refused(they, "guesser", f"{kind}.{number}.{secret[::-1]}.{fingerprint}", "not good")
        await refused(they, "stranger", f"{kind}.{number[::-1]}.{secret}.{fingerprint}", "not good")
        await they.join("attic", token=good)
        await refused(they, "second", good, "not good")
        revoked = await they.token()
        (await they.controller.odctl("nodes", "token", "revoke", revoked.split(".")[1])).ok()
        await refused(they, "late", revoked, "not good")
        short = await they.token("--ttl", "1s")

        async def over() -> bool:
            listed = (await they.controller.odctl("nodes", "token", "ls", "--json")).ok().json
            return all(one["state"] == "expired" for one in listed if one["id"] == short.split(".")[1])

        await until(over, what="the token to expire")
        await refused(they, "later", short, "not good")
        assert set(await they.nodes()) == {"controller", "attic"}


async def test_two_of_one_name_and_a_name_that_changes(tmp_path: Path) -> None:
    async with fleet(tmp_path) as they:
        first = await they.join("attic")
        job = await they.add(3_000_000, "--node", "attic", rate=300_000.0)
        await they.until_running([job])
        # an accident of every second household
        await refused(
            they, "attic2", await they.token(), "has a node attic already", extra={"OD_NODE_ID": "attic"}
        )
        # the first one is called something else now
        await first.kill()
        first.extra = {**first.extra, "OD_NODE_ID": "renamed"}
        await first.start()
        await they.until_node("attic", "online")
        await they.settle()
        assert await they.node_of(job) == "attic"
        assert "renamed" not in await they.nodes()
        await they.check()


async def test_who_stole_the_controllers_certificate_gets_no_worker(tmp_path: Path) -> None:
    async with fleet(tmp_path, "attic") as they:
        attic = they.workers["attic-0"]
        job = await they.add(2_500_000, "--node", "attic", rate=250_000.0)
        await they.until_running([job])
        host = await they.lan.host("thief")
        thief = Member(
            folder=tmp_path / "thief", host=host,
            settings={**LIVELY, "NODES_HOST": host.address, "NODES_PORT": str(NODES_PORT)},
        )  # fmt: skip
        (thief.folder / "data").mkdir(parents=True, mode=0o700)
        shutil.copy(they.controller.folder / "data" / "nodes.pem", thief.folder / "data" / "nodes.pem")
        they.workers["thief"] = thief
        await thief.start()
        # its port opens with a token; the certificate, and so the fingerprint in it, is the stolen one
        stolen = (await thief.odctl("nodes", "token", "create", "--json")).ok().json["token"]
        assert stolen.split(".")[3] == (await they.token()).split(".")[3]
        assert attic.host is not None
        await attic.kill()
        right = dict(attic.extra)
        attic.extra = {"CONTROLLER_URL": await attic.host.way_to(host, NODES_PORT)}
        await attic.start()
        await until(lambda: "does not know this node" in attic.log, what="it to be refused")
        nodes = (await thief.odctl("nodes", "ls", "--json")).ok().json
        assert [node["id"] for node in nodes] == ["thief"] or [node["role"] for node in nodes] == ["controller"]
        await attic.kill()
        attic.extra = {"CONTROLLER_URL": right["CONTROLLER_URL"]}
        await attic.start()
        await they.until_node("attic", "online")
        await they.settle()
        await they.check()
