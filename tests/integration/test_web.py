"""`odctl web`: nobody comes in without the token, nothing comes from elsewhere, and no process is left."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import signal
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pyte
import pytest
from yarl import URL

from odctl.web.access import Door, host_is_ours, origin_is_ours
from odctl.web.server import ASSETS, WebServer
from odctl.web.task import Task
from tests.support.control import Desk, desk
from tests.support.odctl_shell import Shell
from tests.support.processes import command, family
from tests.support.wait import until

SOURCE = "http://sim.invalid/file.bin"


@pytest.fixture
async def served(tmp_path: Path) -> AsyncIterator[Desk]:
    async with desk(tmp_path) as built:
        yield built


@pytest.fixture
async def server() -> AsyncIterator[WebServer]:
    """Of a daemon that is not there."""
    built = WebServer(Task(paths=("/nonexistent/c.sock",), source="flag"), print)
    await built.start(0)
    yield built
    await built.close()


@contextlib.asynccontextmanager
async def browser() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(cookie_jar=aiohttp.CookieJar(unsafe=True)) as session:
        yield session


async def enter(person: aiohttp.ClientSession, url: str) -> str:
    """As the first browser; the page's key."""
    async with person.get(url) as entered:
        found = re.search(r'data-key="([^"]+)"', await entered.text())
    assert found
    return found[1]


def socket_url(base: str, key: str, size: tuple[int, int] = (100, 30)) -> str:
    return str(URL(base).with_path(f"/ws/{key}").with_scheme("ws").with_query(width=size[0], height=size[1]))


def origin(base: str) -> str:
    return str(URL(base).origin())


class Screen:
    """What a browser would show."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse, size: tuple[int, int] = (100, 30)) -> None:
        self.socket = socket
        self._screen = pyte.Screen(*size)
        self._stream = pyte.ByteStream(self._screen)

    @property
    def text(self) -> str:
        return "\n".join(line.rstrip() for line in self._screen.display)

    async def until(self, wanted: str) -> None:
        try:
            async with asyncio.timeout(60):
                while wanted not in self.text:
                    message = await self.socket.receive()
                    assert message.type == aiohttp.WSMsgType.BINARY, f"{message}\n{self.text}"
                    self._stream.feed(message.data)
        except TimeoutError:
            raise AssertionError(f"no {wanted!r} in\n{self.text}") from None

    async def type(self, text: str) -> None:
        await self.socket.send_json(["stdin", text])


async def test_the_token_is_good_once_and_becomes_a_cookie_that_no_script_and_no_other_site_has(
    server: WebServer,
) -> None:
    async with browser() as person, browser() as thief:
        async with person.head(server.url) as looked:
            assert looked.status == 405, "a preview of the link must not use the token up"
        async with person.get(server.url) as entered:
            assert entered.status == 200
            (cookie,) = entered.headers.getall("Set-Cookie")
        assert "HttpOnly" in cookie
        assert "SameSite=Strict" in cookie
        assert server.door.token not in cookie
        async with thief.get(server.url) as again:
            assert again.status == 403
            assert "odctl web" in await again.text()
            assert "Set-Cookie" not in again.headers
        async with person.get(URL(server.url).with_path("/").with_query(None)) as page:
            assert page.status == 200


@pytest.mark.parametrize("path", ["/", "/ws/guess", "/assets/page.js", "/enter", "/enter?token=guess", "/none"])
async def test_without_the_cookie_there_is_nothing(server: WebServer, path: str) -> None:
    async with browser() as stranger:
        base = origin(server.url)
        for cookie in ("", "guess", server.door._session):  # not even the right one before somebody was let in
            headers = {"Cookie": f"odctl-web-{server.port}={cookie}", "Origin": base}
            async with stranger.get(base + path, headers=headers) as answer:
                assert answer.status in (401, 403)
                assert server.door.token not in await answer.text()


async def test_every_file_that_the_page_names_is_its_own_and_the_policy_allows_no_other(server: WebServer) -> None:
    async with browser() as person:
        async with person.get(server.url) as entered:
            page = await entered.text()
        base = origin(server.url)
        async with person.get(base + "/") as answer:
            policy, page = answer.headers["Content-Security-Policy"], page + await answer.text()
        assert "default-src 'none'" in policy
        assert "script-src 'self';" in policy
        assert set(re.findall(r"\w+://[^ ;]+", policy)) == {base.replace("http", "ws")}
        named = re.findall(r'(?:src|href)="([^"]+)"', page)
        assert sorted(set(named)) == sorted(f"/assets/{name}" for name in ASSETS)
        assert not re.search(r"<style|<script>|\son\w+=|style=", page), "nothing inline"
        for name in named:
            async with person.get(base + name) as answer:
                assert answer.status == 200, name
                assert answer.headers["X-Content-Type-Options"] == "nosniff"
                text = await answer.text()
            if name.endswith("css"):
                assert not re.search(r"url\(|@import", text), name
        async with person.get(f"{base}/assets/..%2fserver.py") as answer:
            assert answer.status == 404


async def test_other_hosts_and_origins_are_refused_with_the_right_cookie(server: WebServer) -> None:
    async with browser() as person:
        key = await enter(person, server.url)
        base = origin(server.url)
        async with person.get(base + "/", headers={"Host": "evil.test"}) as rebound:
            assert rebound.status == 403
        host = URL(base).authority
        for where in (None, "null", "http://evil.test", "http://127.0.0.1:1", f"https://{host}", f"http://{host}.evil"):
            headers = {"Origin": where} if where else {}
            with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
                await person.ws_connect(socket_url(base, key), headers=headers)
            assert refused.value.status == 403, where
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            await person.ws_connect(socket_url(base, key), headers={"Origin": "http://evil.test", "Host": "evil.test"})
        assert refused.value.status == 403


async def test_the_cookie_that_a_server_on_another_port_was_told_opens_no_dashboard(server: WebServer) -> None:
    """Cookies know no ports. What has it gets no key out of this server, either."""
    async with browser() as person, browser() as thief:
        key = await enter(person, server.url)
        base = origin(server.url)
        stolen = {"Cookie": f"odctl-web-{server.port}={server.door._session}", "Origin": base}
        for guess in ("guess", server.door.token, server.door._session, key[:-1]):
            with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
                await thief.ws_connect(socket_url(base, guess), headers=stolen)
            assert refused.value.status == 403
        for path in ("/", "/ws/", "/enter", *(f"/assets/{name}" for name in ASSETS)):
            async with thief.get(base + path, headers=stolen) as answer:
                assert key not in await answer.text()
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            await thief.ws_connect(socket_url(base, key), headers={"Origin": base})
        assert refused.value.status == 401, "nor the key without the cookie"


def test_names_of_this_machine() -> None:
    assert all(map(host_is_ours, ("127.0.0.1:80", "localhost", "LOCALHOST:9")))
    assert not any(map(host_is_ours, ("", "127.0.0.1.evil", "evil:80", "127.0.0.1:80:90", "[::1]:80", "127.0.0.1:x")))
    assert origin_is_ours("http://localhost:1", "localhost:1")
    assert not origin_is_ours("http://localhost:1", "127.0.0.1:1")
    assert "token" not in repr(Door(token="token"))


async def test_a_tab_is_a_dashboard_that_ends_with_it(served: Desk) -> None:
    await served.home.add(f"{SOURCE}one", paused=True)
    server = WebServer(Task(paths=(str(served.path),), source="flag", read_only=True), print)
    await server.start(0)
    try:
        async with browser() as person:
            key = await enter(person, server.url)
            base = origin(server.url)
            async with person.ws_connect(socket_url(base, key), headers={"Origin": base}) as socket:
                screen = Screen(socket)
                await screen.until("paused")
                assert "a Add" not in screen.text, "only looking was asked for"
                (pid,) = [pid for pid in family(os.getpid()) if "odctl.web.inside" in command(pid)]
                shown = command(pid)
                assert str(served.path) not in shown
                for broken in (
                    "", "x", "[]", '["resize"]', '["resize", {"width": "a"}]', "[1, 2]", '["stdin"]', "{}",
                    '["resize", {"width": 1e999, "height": 1e999}]', "[" * 100_000,
                ):
                    await socket.send_str(broken)
                await screen.type(" ")
                await screen.until("1 marked")
            await until(lambda: not command(pid), what="the dashboard to end with its tab")
            # one that is left by its own key closes the tab
            async with person.ws_connect(socket_url(base, key), headers={"Origin": base}) as socket:
                screen = Screen(socket)
                await screen.until("paused")
                await screen.type("q")
                async with asyncio.timeout(60):
                    while (await socket.receive()).type not in (aiohttp.WSMsgType.CLOSE, aiohttp.WSMsgType.CLOSED):
                        pass
    finally:
        await server.close()
    await until(lambda: not [pid for pid in family(os.getpid()) if "odctl." in command(pid)], what="all to end")


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
async def test_the_dashboards_end_with_the_server_however_it_ends(served: Desk, tmp_path: Path, how: int) -> None:
    shell = Shell(tmp_path, tmp_path)
    environment = {"ODCTL_HOST": f"unix://{served.path}"}
    child = await shell.start("web", "--print", host=False, **environment)
    try:
        url = (await asyncio.wait_for(child.stdout.readline(), 60)).decode().strip()
        async with browser() as person:
            key = await enter(person, url)
            async with person.ws_connect(socket_url(url, key), headers={"Origin": origin(url)}) as socket:
                await Screen(socket).until("Nothing downloading")
                below = list(family(child.pid))
                assert len(below) == 2, "the dashboard, and its own connection"
                child.send_signal(how)
                await until(lambda: not any(map(command, below)), what="the dashboards to end")
        await asyncio.wait_for(child.wait(), 60)
    finally:
        with contextlib.suppress(ProcessLookupError):
            child.kill()
        code = await child.wait()
    assert code == (0 if how == signal.SIGTERM else -9)
    assert await child.stderr.read() == b""


async def test_what_the_command_refuses(tmp_path: Path) -> None:
    shell = Shell(tmp_path, tmp_path)
    everywhere = await shell("web", "--bind", "0.0.0.0")
    assert everywhere.code == 2
    assert "127.0.0.1 alone" in everywhere.err
    assert "ssh -L" in everywhere.err
    assert (await shell("web", "--screen", "none")).code == 2
    other = await asyncio.start_server(lambda reader, writer: None, "127.0.0.1", 0)
    async with other:
        port = other.sockets[0].getsockname()[1]
        taken = await shell("web", "--print", "--port", str(port), "--json")
    assert taken.code == 1
    assert taken.out == ""
    assert "--port 0" in taken.errors[0]["hint"]


async def test_the_browser_is_sent_there_through_a_file_of_this_user_alone(tmp_path: Path) -> None:
    """In the list of processes stands the name of a file, not the token."""
    seen = tmp_path / "seen"
    program = tmp_path / "browser"
    program.write_text(f'#!/bin/sh\nprintf "%s\\n" "$1" > {seen}.new\ncat "${{1#file://}}" >> {seen}.new\n'
                       f'stat -c %a "${{1#file://}}" >> {seen}.new\nmv {seen}.new {seen}\n')  # fmt: skip
    program.chmod(0o755)
    child = await Shell(tmp_path, tmp_path).start("web", BROWSER=str(program))
    try:
        url = (await asyncio.wait_for(child.stdout.readline(), 60)).decode().strip()
        await until(seen.exists)
        argument, page, mode = seen.read_text().splitlines()
        assert argument.startswith("file://")
        assert url in page
        assert mode == "600"
    finally:
        child.terminate()
        _, told = await asyncio.wait_for(child.communicate(), 60)
    assert b"Ctrl-C" in told
    assert not Path(argument.removeprefix("file://")).exists()


def test_a_task_arrives_as_it_was_sent() -> None:
    task = Task(paths=("/a\nb", "/c"), source="env", timeout=1.5, pane="nodes", filter='name~"ü"', read_only=True)
    line: Any = task.packed()
    assert line.count(b"\n") == 1
    assert Task.unpacked(line) == task
