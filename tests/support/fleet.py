"""A controller and its workers on hosts of their own, with real engines, and what has to hold whatever was done to
them."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import random
import signal
import urllib.request
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.support.daemons import Daemon
from tests.support.hosts import Host, Lan, lan
from tests.support.origin_server import Origin, Page
from tests.support.processes import command
from tests.support.wait import until

NODES_PORT = 9090
"""Of every controller: it has an address of its own."""
START_SECONDS = 90.0
CALM_SECONDS = 180.0
LIVELY = {
    "LIMITS_PER_USER_CONCURRENT": "50", "LIMITS_PER_NODE_CONCURRENT": "20",
    "ENGINES_ARIA2_MAX_CONCURRENT": "20",
}  # fmt: skip


@dataclass(slots=True)
class Member(Daemon):
    """A daemon on a host of its own."""

    host: Host | None = None
    mode: str = "controller"
    extra: Mapping[str, str] = field(default_factory=dict)
    """Variables as they are."""

    @property
    def name(self) -> str:
        assert self.host is not None
        return self.host.name

    @property
    def environment(self) -> dict[str, str]:
        assert self.host is not None
        own = dict(Daemon.environment.fget(self))  # type: ignore[attr-defined]
        own |= {
            "OD_NODE_ID": self.name, "OD_NODE_FILE_SERVER_HOST": self.host.address, "OD_SERVER_HOST": "127.0.0.1",
            "PYTHONPYCACHEPREFIX": os.environ.get("PYTHONPYCACHEPREFIX", ""),
        }  # fmt: skip
        if self.mode == "worker":
            own.pop("DATABASE_URL", None)
        return {key: value for key, value in (own | dict(self.extra)).items() if value}

    async def start(self) -> None:
        """Returns when it runs; a controller answers then."""
        assert self.host is not None
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / "daemon.log").open("ab") as log:
            self.process = await self.host.start(  # type: ignore[assignment]
                "-m", "oddaemon", self.mode, environment=self.environment, output=log
            )
        if self.mode == "controller":
            await until(self._answers, timeout=START_SECONDS, what=f"{self.name} to answer")

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid


@dataclass(frozen=True, slots=True)
class Wanted:
    """A file of the origin, and the job that fetches it."""

    number: int
    page: Page
    path: str
    digest: str


@dataclass(slots=True)
class Fleet:
    lan: Lan
    origin: Origin
    folder: Path
    controller: Member
    workers: dict[str, Member] = field(default_factory=dict)
    jobs: list[Wanted] = field(default_factory=list)
    grace: float = 6.0
    _random: random.Random = field(default_factory=lambda: random.Random(5))

    async def token(self, *options: str) -> str:
        found = (await self.controller.odctl("nodes", "token", "create", "--json", *options)).ok().json
        return str(found["token"])

    async def worker(
        self, name: str, token: str | None = None, *, settings: Mapping[str, str] | None = None,
        host: Host | None = None, extra: Mapping[str, str] | None = None,
    ) -> Member:  # fmt: skip
        """A new one that has been started with a join token; whether it gets in is for the caller to see."""
        host = host or await self.lan.host(name)
        assert self.controller.host is not None
        made = Member(
            folder=self.folder / f"{name}-{len(self.workers)}", settings={**LIVELY, **(settings or {})}, host=host,
            mode="worker",
            extra={
                "CONTROLLER_URL": await host.way_to(self.controller.host, NODES_PORT),
                "CONTROLLER_TOKEN": token or await self.token(), **(extra or {}),
            },
        )  # fmt: skip
        self.workers[made.folder.name] = made
        await made.start()
        return made

    async def join(self, name: str, **options: Any) -> Member:
        made = await self.worker(name, **options)
        await self.until_node(name, "online")
        return made

    async def nodes(self) -> dict[str, dict[str, Any]]:
        async with self.controller.client() as client:
            return {node["id"]: node for node in (await client.status())["nodes"]}

    async def until_node(self, name: str, state: str, timeout: float = 60) -> None:
        async def look() -> bool:
            found = (await self.nodes()).get(name)
            return found is not None and found["state"] == state

        try:
            await until(look, timeout=timeout, every=0.2, what=f"node {name} to be {state}")
        except AssertionError as error:
            raise AssertionError(f"{error}\n{await self.nodes()}\n{self.logs()}") from None

    async def add(self, size: int, *options: str, rate: float | None = None) -> Wanted:
        """A file of random bytes at the origin, which sends it at `rate` bytes a second; the job that wants it."""
        path = f"/{len(self.jobs)}-{self._random.randrange(1 << 30)}.bin"
        body = self._random.randbytes(size)
        page = self.origin.page(path, body, etag=f'"{path}"', rate=rate)
        number = await self.controller.add(self.origin.url(path), "--engine", "aria2", "-O", "split=1", *options)
        found = Wanted(number, page, path, hashlib.sha256(body).hexdigest())
        self.jobs.append(found)
        return found

    async def until_running(self, wanted: Sequence[Wanted], at_least: int = 1) -> None:
        """Each has got some bytes."""
        await until(
            lambda: all(one.page.sent >= at_least for one in wanted), timeout=60, what="the downloads to have begun"
        )

    async def node_of(self, wanted: Wanted) -> str:
        return str((await self.controller.job(wanted.number))["node"])

    async def settle(self, timeout: float = CALM_SECONDS) -> None:
        """Every job ends well."""
        for one in self.jobs:
            job = await self.controller.until_state(one.number, "completed", "failed", "cancelled", timeout=timeout)
            assert job["state"] == "completed", (job, self.logs())

    async def check(self, *, fetched_twice: Sequence[Wanted] = ()) -> None:
        """What has to hold when all is over: hashes, nothing fetched twice (but after a grace), nothing left over."""
        for one in self.jobs:
            (link, *_) = (await self.controller.odctl("link", str(one.number), "--json")).ok().json
            body = await asyncio.to_thread(_fetch, link["url"])
            assert hashlib.sha256(body).hexdigest() == one.digest, one
            most = 2.1 if one in fetched_twice else 1.3
            # a connection that breaks loses what was on its way; a second download would be all of it again
            assert one.page.sent <= most * len(one.page.version.body) + 600_000, (one.path, one.page.sent, self.logs())
        numbers = [str(one.number) for one in self.jobs]
        (await self.controller.odctl("rm", "-y", *numbers)).ok()
        await until(self._empty, timeout=60, every=0.2, what=f"all disks to be empty: {self._left()}")
        nodes = await self.nodes()
        assert all(node["jobs_active"] == 0 for node in nodes.values()), nodes

    def _left(self) -> list[str]:
        """Files and folders of downloads on any node."""
        found: list[str] = []
        for member in (self.controller, *self.workers.values()):
            with contextlib.suppress(FileNotFoundError):
                found += [f"{member.name}/{name}" for name in os.listdir(member.downloads) if name != ".opendebrid"]
        return found

    def _empty(self) -> bool:
        return not self._left()

    def logs(self) -> str:
        return "\n".join(
            f"--- {member.folder.name}\n{member.log[-4000:]}" for member in (self.controller, *self.workers.values())
        )

    async def end(self) -> None:
        """Ends all of them as a service manager does; no process of theirs stays."""
        members = [self.controller, *self.workers.values()]
        running = [member for member in members if member.process is not None and member.process.returncode is None]
        for member in running:
            assert member.host is not None
            await member.host.mend()
            with contextlib.suppress(ProcessLookupError):
                os.kill(member.pid, signal.SIGCONT)
        await asyncio.gather(*(member.stop() for member in running))
        left = [line for member in members for line in _processes_of(member)]
        assert not left, left


def _processes_of(member: Member) -> list[str]:
    """Processes that name its folder: engines that outlived their daemon."""
    pids = [int(name) for name in os.listdir("/proc") if name.isdigit()]
    return [line for pid in pids if str(member.folder) in (line := command(pid))]


def _fetch(url: str) -> bytes:
    with urllib.request.urlopen(url, timeout=60) as answer:
        body: bytes = answer.read()
    return body


@contextlib.asynccontextmanager
async def fleet(folder: Path, *names: str, grace: float = 6.0) -> AsyncIterator[Fleet]:
    """A controller, and workers of these names that have joined. Ends them all."""
    async with lan(folder) as wires, Origin(host=wires.here) as origin:
        host = await wires.host("controller")
        controller = Member(
            folder=folder / "controller", host=host,
            settings={
                **LIVELY, "NODES_HEARTBEAT_EVERY": "1s", "NODES_HOST": host.address, "NODES_PORT": str(NODES_PORT),
                "NODES_ADDRESS": f"{host.address}:{NODES_PORT}", "NODES_GRACE": f"{grace}s",
            },
        )  # fmt: skip
        made = Fleet(wires, origin, folder, controller, grace=grace)
        try:
            await controller.start()
            for name in names:
                await made.worker(name)
            for name in names:
                await made.until_node(name, "online")
            yield made
        finally:
            await made.end()
