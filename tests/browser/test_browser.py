"""`odctl web` in a real browser, and the dashboard in tmux: `make test-browser`."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pyte
import pytest
from yarl import URL

from tests.browser.devtools import chromium
from tests.support.control import desk
from tests.support.forked import ROOT
from tests.support.odctl_shell import Shell
from tests.support.wait import until

SOURCE = "http://sim.invalid/file.bin"


async def test_the_dashboard_in_chromium(tmp_path: Path) -> None:
    """It draws, takes keys, asks nobody else for anything, and the address works once."""
    async with desk(tmp_path / "desk") as served, chromium(tmp_path) as browser:
        await served.home.add(f"{SOURCE}one", paused=True)
        await served.home.add(f"{SOURCE}two", paused=True)
        shell = Shell(tmp_path, tmp_path)
        child = await shell.start("web", "--print", host=False, ODCTL_HOST=f"unix://{served.path}")
        try:
            url = (await asyncio.wait_for(child.stdout.readline(), 60)).decode().strip()
            screen = pyte.Screen(400, 200)
            stream = pyte.ByteStream(screen)
            browser.on_frame = stream.feed

            def shows(text: str) -> bool:
                return any(text in line for line in screen.display)

            await browser.open(url)
            await until(lambda: shows("paused"), what="the list")
            assert await browser.value("location.pathname + location.search") == "/", "no token in the address bar"
            assert await browser.value("document.cookie") == "", "no script can read the session"
            key = await browser.value("sessionStorage.getItem('odctl-key')")
            assert key
            await until(lambda: browser.value("document.body.classList.contains('-first-byte')"))
            await browser.value("document.querySelector('textarea').focus()")
            await browser.type("*")
            await until(lambda: shows("2 marked"), what=f"the key\n{chr(10).join(screen.display[:12])}")
            picture = await browser.picture()
            if where := os.environ.get("PICTURE"):
                Path(where).write_bytes(picture)
            assert len(picture) > 10_000, "more than an empty page"
            ours = URL(url).origin()
            assert {URL(asked).authority for asked in browser.requested} == {ours.authority}, browser.requested
            assert not browser.complaints
            # another server of this machine is told the cookie, and nothing else
            await browser.call("Network.clearBrowserCache")
            heard: list[str] = []
            async with listening(heard) as elsewhere:
                await browser.open(elsewhere)
                await until(lambda: heard, what="the other server's visit")
            (cookie,) = [line for line in heard[0].splitlines() if line.lower().startswith("cookie:")]
            refused = await handshake(ours.port or 0, cookie)
            assert refused.startswith("HTTP/1.1 403"), refused
            # a tab without the address asks the others, and has nothing when there are none
            await browser.open(f"{ours}/")
            await until(lambda: shows("2 marked") or shows("paused"), what="the list again")
            await browser.value("sessionStorage.clear()")
            await browser.open(f"{ours}/?other")
            await until(lambda: browser.value("document.body.innerText.includes('was not let in')"))
            await browser.value(
                "new BroadcastChannel('odctl-key').postMessage({key: " + repr(key) + "})"
            )
            await until(lambda: browser.value("document.body.classList.contains('-first-byte')"), what="the tab")
            await browser.value("document.querySelector('textarea').focus()")
            await browser.type("q")
            await until(lambda: browser.value("getComputedStyle(document.getElementById('ended')).display == 'block'"))

            await browser.open(url)
            await until(lambda: browser.value("document.body.innerText.includes('used before')"))
            # a script of another page has no way in
            await browser.open("data:text/html,<p>elsewhere</p>")
            refused = await browser.value(
                f"new Promise(done => {{ const s = new WebSocket('ws://{ours.authority}/ws/{key}');"
                "s.onopen = () => done('open'); s.onerror = () => done('refused'); })"
            )
            assert refused == "refused"
        finally:
            child.terminate()
            await asyncio.wait_for(child.wait(), 60)


@contextlib.asynccontextmanager
async def listening(heard: list[str]) -> AsyncIterator[str]:
    """The address of a server of somebody else, on this machine. What it is asked with goes to `heard`."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heard.append((await reader.readuntil(b"\r\n\r\n")).decode())
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 2\r\n\r\nhi")
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"


async def handshake(port: int, cookie: str) -> str:
    """The first line of the answer to a WebSocket that has the right cookie and says that it comes from the page."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    lines = (
        "GET /ws/guess HTTP/1.1", f"Host: 127.0.0.1:{port}", f"Origin: http://127.0.0.1:{port}", cookie,
        "Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Version: 13",
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==", "", "",
    )  # fmt: skip
    writer.write("\r\n".join(lines).encode())
    try:
        return (await reader.readline()).decode()
    finally:
        writer.close()


@pytest.fixture
def tmux() -> str:
    found = shutil.which("tmux")
    assert found, "tmux is missing. Debian and Ubuntu: apt-get install -y --no-install-recommends tmux"
    return found


async def test_the_dashboard_in_tmux(tmux: str, tmp_path: Path) -> None:
    """Drawn, used, left, and split in two while it runs."""

    async def call(*arguments: str) -> str:
        done = await asyncio.to_thread(
            subprocess.run, [tmux, "-S", str(tmp_path / "t"), "-f", "/dev/null", *arguments], check=True, text=True,
            stdout=subprocess.PIPE, env={"PATH": os.environ["PATH"], "HOME": str(tmp_path), "LANG": "C.UTF-8"},
        )  # fmt: skip
        return str(done.stdout)

    async with desk(tmp_path / "desk") as served:
        await served.home.add(f"{SOURCE}one", paused=True)
        command = f"ODCTL_HOST=unix://{served.path} PYTHONPATH={ROOT} {sys.executable} -m odctl; echo left $?; cat"
        await call("new-session", "-d", "-x", "120", "-y", "30", command)
        try:
            async def shows(text: str) -> bool:
                return text in await call("capture-pane", "-p", "-t", "0.0")

            await until(lambda: shows("paused"), what="the list")
            await call("send-keys", "-t", "0.0", "Space")
            await until(lambda: shows("1 marked"), what="the mark")
            await call("split-window", "-h", "-t", "0.0", "cat")
            await until(lambda: shows("1 Downloads"), what="the half")
            await call("send-keys", "-t", "0.0", "q")
            await until(lambda: shows("left 0"), what="the shell")
            assert not await shows("Downloads ─"), "the first screen is back"
        finally:
            await call("kill-server")
