"""Real daemons over PostgreSQL: the move to it, kill -9, a second daemon, backups, and a server that goes away."""

from __future__ import annotations

import asyncio
import os
import random
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.request import urlopen

import pytest

from oddaemon.store.migrate import open_store
from tests.support.daemons import Answer, Daemon
from tests.support.forked import ROOT
from tests.support.origin_server import Origin
from tests.support.postgres import Server, running_server
from tests.support.proxy import proxy_to
from tests.support.wait import until

pytestmark = pytest.mark.timeout(180)


class OnServer(Daemon):
    """A daemon whose store is where `url` says; empty: in its data folder."""

    url = ""

    @property
    def environment(self) -> dict[str, str]:
        return super().environment | ({"DATABASE_URL": self.url} if self.url else {})

    async def command(self, *arguments: str) -> Answer:
        """One run of the daemon's program, with this daemon's settings."""
        child = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "oddaemon", *arguments, env=self.environment, cwd=ROOT,
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        async with asyncio.timeout(60):
            out, err = await child.communicate()
        return Answer(child.returncode or 0, out.decode(), err.decode())

    async def progress(self, number: int) -> float:
        return float((await self.job(number))["progress"] or 0)

    async def content_of(self, number: int) -> bytes:
        (link,) = (await self.odctl("link", str(number), "--json")).ok().json
        return await asyncio.to_thread(lambda: bytes(urlopen(link["url"], timeout=20).read()))


def body(size: int) -> bytes:
    return random.Random(size).randbytes(size)


async def test_an_installation_moves_to_postgresql_and_survives_kill_9(tmp_path: Path, empty_postgres: str) -> None:
    daemon = OnServer(tmp_path / "od")
    async with Origin() as origin, daemon:
        small, big = body(1000), body(1_200_000)
        origin.page("/small.bin", small)
        page = origin.page("/big.bin", big, etag='"1"', rate=200_000)
        first = await daemon.add(origin.url("/small.bin"), "-e", "aria2")
        await daemon.until_state(first, "completed")
        file = f"sqlite:///{daemon.folder / 'data' / 'opendebrid.db'}"
        refused = await daemon.command("store", "copy", "--from", file, "--to", empty_postgres)
        assert refused.code == 69, refused.err
        await daemon.stop()
        moved = (await daemon.command("store", "copy", "--from", file, "--to", empty_postgres)).ok()
        assert any(line.split() == ["jobs", "1"] for line in moved.out.splitlines())

        daemon.url = empty_postgres
        await daemon.start()
        assert (await daemon.job(first))["state"] == "completed"
        assert await daemon.content_of(first) == small
        number = await daemon.add(origin.url("/big.bin"), "-e", "aria2")
        assert number == first + 1

        other = OnServer(tmp_path / "other")
        other.folder.mkdir()
        other.url = empty_postgres
        second = await other.command("--set", "database.max_connections=4")
        assert daemon.process is not None
        assert second.code == 69, second.err
        assert f"in use by the daemon with pid {daemon.process.pid}" in second.err
        (await daemon.command("backup", str(tmp_path / "backup.db"))).ok()
        assert (await daemon.command("restore", str(tmp_path / "backup.db"))).code == 69

        async def far_enough() -> bool:
            return await daemon.progress(number) > 0.4

        await until(far_enough, what="two fifths")
        await daemon.kill()
        await daemon.start()
        page.rate = None
        job = await daemon.until_state(number, "completed", "failed")
        assert job["state"] == "completed", job["error"]
        assert await daemon.content_of(number) == big
        assert page.sent < 1.8 * len(big)
        assert len((await daemon.odctl("ls", "-a", "--json")).ok().json) == 2
        checks = {check["check"]: check for check in (await daemon.odctl("doctor", "--json")).json}
        assert checks["store"]["status"] == "ok"
        assert checks["store"]["detail"].startswith("postgresql")


@pytest.fixture
def own_server() -> Iterator[Server]:
    with running_server() as server:
        yield server


async def test_a_daemon_lives_on_without_its_database(tmp_path: Path, own_server: Server) -> None:
    daemon = OnServer(tmp_path / "od")
    daemon.url = own_server.url()
    async with Origin() as origin, daemon:
        content = body(600_000)
        origin.page("/big.bin", content, rate=150_000)
        number = await daemon.add(origin.url("/big.bin"), "-e", "aria2")
        await daemon.until_state(number, "active")
        await asyncio.to_thread(own_server.stop, at_once=True)
        for words in (("ls",), ("add", origin.url("/other.bin")), ("rm", str(number))):
            answer = await daemon.odctl(*words, "--json")
            assert answer.code == 9, (words, answer)
            assert '"STORE_UNAVAILABLE"' in answer.err
        checks = {check["check"]: check for check in (await daemon.odctl("doctor", "--json")).json}
        assert checks["store"]["status"] == "fail"

        def fetched() -> bool:
            files = [path for path in daemon.downloads.rglob("*") if path.is_file() and path.suffix != ".aria2"]
            return any(path.read_bytes() == content for path in files)

        await until(fetched, what="the download to go on", timeout=30)
        await asyncio.to_thread(own_server.start)
        job = await daemon.until_state(number, "completed", "failed")
        assert (job["state"], job["error"]) == ("completed", None)
        assert daemon.process is not None
        assert daemon.process.returncode is None
        assert await daemon.content_of(number) == content
        (await daemon.odctl("add", origin.url("/big.bin"), "--wait")).ok()


async def test_a_daemon_that_was_replaced_ends(tmp_path: Path, postgres: str) -> None:
    """Its connection is lost, and before it has another one somebody else has the store."""
    daemon = OnServer(tmp_path / "od")
    with proxy_to(postgres) as proxy:
        daemon.url = proxy.url
        async with daemon:
            await asyncio.to_thread(proxy.refuse)
            other = await open_store(postgres)
            try:
                await asyncio.to_thread(proxy.serve)
                assert daemon.process is not None
                async with asyncio.timeout(60):
                    assert await daemon.process.wait() == 69
            finally:
                await other.close()
        assert f"in use by the daemon with pid {os.getpid()}" in daemon.log
