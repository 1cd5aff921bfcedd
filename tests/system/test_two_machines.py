"""A controller and a worker as processes of their own: joined by token, with real downloads that survive kill -9 of
either."""

from __future__ import annotations

import hashlib
import random
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.support.daemons import Daemon
from tests.support.http import Answer, fetch
from tests.support.origin_server import Origin
from tests.support.tcp_relay import TcpRelay, tcp_relay
from tests.support.wait import until


@dataclass(slots=True)
class Machines:
    controller: Daemon
    worker: Daemon
    line: TcpRelay
    """Between them: the controller's port may be another one after a restart."""

    async def token(self, *options: str) -> dict[str, Any]:
        """Of the controller as it runs now, whose port the line leads to from now on."""
        made: dict[str, Any] = (await self.controller.odctl("nodes", "token", "create", "--json", *options)).ok().json
        variables = dict(word.split("=", 1) for word in made["command"].split() if "=" in word)
        port = urlsplit(f"//{variables['CONTROLLER_URL']}").port
        assert port is not None
        self.line.to = port
        return made

    async def online(self) -> None:
        async def look() -> bool:
            nodes = (await self.controller.odctl("nodes", "ls", "--json")).ok().json
            return any(node["id"] == "attic" and node["state"] == "online" for node in nodes)

        try:
            await until(look, every=0.2, what="the worker to be online")
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.controller.log[-4000:]}\n{self.worker.log[-4000:]}") from None

    def file(self) -> Path:
        """The one on the worker's disk."""
        (found,) = self.worker.downloads.glob("*/*.bin")
        return found


@pytest.fixture
async def machines(tmp_path: Path) -> AsyncIterator[Machines]:
    async with AsyncExitStack() as stack:
        line = await stack.enter_async_context(tcp_relay(0))
        own = {"NODES_HOST": "127.0.0.1", "NODES_PORT": "0", "NODES_HEARTBEAT_EVERY": "1s"}
        controller = await stack.enter_async_context(Daemon(tmp_path / "controller", own))
        worker = Daemon(tmp_path / "worker", {"NODE_ID": "attic"}, mode="worker")
        found = Machines(controller, worker, line)
        made = await found.token()
        worker.others = {"CONTROLLER_URL": f"127.0.0.1:{line.port}", "CONTROLLER_TOKEN": made["token"]}
        await stack.enter_async_context(worker)
        await found.online()
        # from now on it knows by itself
        worker.others, worker.settings = {}, {"NODE_ID": "renamed"}
        yield found


async def test_a_download_goes_on_through_kill_9_of_its_worker_and_of_the_controller(machines: Machines) -> None:
    controller, worker = machines.controller, machines.worker
    content = random.Random(7).randbytes(1_500_000)
    async with Origin() as origin:
        page = origin.page("/big.bin", content, etag='"1"', rate=150_000)
        number = await controller.add(origin.url("/big.bin"), "-e", "aria2", "--node", "attic")

        async def further(than: float) -> bool:
            return bool((await controller.job(number))["progress"] > than)

        await until(lambda: further(0.2), what="a fifth of it")
        await worker.kill()
        have = machines.file().stat().st_blocks * 512
        assert have > 0
        before = len(origin.seen("/big.bin"))
        await worker.start()
        await machines.online()
        await until(lambda: len(origin.seen("/big.bin")) > before, what="it goes on")
        await until(lambda: further(0.4), what="two fifths of it")

        await controller.kill()
        await controller.start()
        await machines.token()
        await machines.online()
        page.rate = None
        job = await controller.until_state(number, "completed", "failed")
        assert job["state"] == "completed", job
        assert job["node"] == "attic"
        assert hashlib.sha256(machines.file().read_bytes()).digest() == hashlib.sha256(content).digest()
        sent = page.sent
        assert sent < 1.6 * len(content), "what was there was fetched again"
    assert not [*controller.downloads.glob("*/*")]
    assert await worker.stop() == 0


async def test_files_of_a_worker_come_through_its_controller(machines: Machines, tmp_path: Path) -> None:
    controller, worker = machines.controller, machines.worker
    content = random.Random(8).randbytes(12_000_000)
    async with Origin() as origin:
        origin.page("/big.bin", content, etag='"1"')
        number = await controller.add(origin.url("/big.bin"), "-e", "aria2", "--node", "attic")
        await controller.until_state(number, "completed")
        # a hit there serves everybody
        asked = len(origin.requests)
        again = await controller.add(origin.url("/big.bin"), "-e", "aria2")
        assert (await controller.until_state(again, "completed"))["cache_hit"] is True
        assert len(origin.requests) == asked
    got = (await controller.odctl("get", str(again), "--into", str(tmp_path / "home"), "--json")).ok().json
    assert [item["ok"] for item in got] == [True]
    assert (tmp_path / "home" / "big.bin").read_bytes() == content
    (link,) = (await controller.odctl("link", str(number), "--json")).ok().json
    assert link["node"] == "attic"
    # the link leads to the controller: it answers for a node that is away
    await worker.kill()
    away = await until(lambda: answered(link["url"], 503), what="the worker to be missed")
    assert away.fields["retry-after"] == "10"
    await worker.start()
    await machines.online()
    # a copy on the controller's own disk
    nodes = (await controller.odctl("nodes", "ls", "--json")).ok().json
    (here,) = [node["id"] for node in nodes if node["id"] != "attic"]
    (await controller.odctl("cache", "copy", str(number), "--to", here)).ok()

    async def copied() -> bool:
        shown = (await controller.odctl("cache", "show", str(number), "--json")).ok().json
        return {found["node"]: found["state"] for found in shown["replicas"]} == {"attic": "ready", here: "ready"}

    await until(copied, every=0.2, what="the copy")
    (copy,) = controller.downloads.glob("*/*.bin")
    assert copy.read_bytes() == content
    back = await until(lambda: answered(link["url"], 206), what="the file")
    assert back.body == content[5_000_000:]
    # what was counted before the restart counts on, and the link can be ended
    (await controller.odctl("links", "rm", link["id"])).ok()
    assert (await fetch(link["url"])).status == 410


async def answered(url: str, status: int) -> Answer | None:
    answer = await fetch(url, {"range": "bytes=5000000-"})
    return answer if answer.status == status else None
