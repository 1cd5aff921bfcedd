"""A headless Chromium, driven over the DevTools protocol: enough to open a page, type, and see what came."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import itertools
import os
import shutil
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import aiohttp

from tests.support.wait import until

NAMES = ("chromium", "chromium-browser", "google-chrome")
START_SECONDS = 60.0


class Browser:
    """One page of it."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._socket = socket
        self._numbers = itertools.count(1)
        self._waiting: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self.requested: list[str] = []
        """Addresses of everything that it asked for."""
        self.complaints: list[str] = []
        """What it refused or found wrong."""
        self.on_frame: Callable[[bytes], None] = lambda data: None
        """Called for every binary message of a WebSocket."""

    async def listen(self) -> None:
        async for message in self._socket:
            told = message.json()
            if "id" in told:
                self._waiting.pop(told["id"]).set_result(told)
            else:
                self._happened(told["method"], told["params"])

    def _happened(self, what: str, params: dict[str, Any]) -> None:
        if what == "Network.requestWillBeSent":
            self.requested.append(params["request"]["url"])
        elif what == "Network.webSocketCreated":
            self.requested.append(params["url"])
        elif what == "Network.webSocketFrameReceived" and params["response"]["opcode"] == 2:
            self.on_frame(base64.b64decode(params["response"]["payloadData"]))
        elif what == "Log.entryAdded" and params["entry"]["level"] == "error":
            self.complaints.append(params["entry"]["text"])
        elif what == "Runtime.exceptionThrown":
            self.complaints.append(str(params["exceptionDetails"]))

    async def call(self, method: str, **params: Any) -> dict[str, Any]:
        number = next(self._numbers)
        answer = self._waiting[number] = asyncio.get_running_loop().create_future()
        await self._socket.send_json({"id": number, "method": method, "params": params})
        told = await asyncio.wait_for(answer, START_SECONDS)
        assert "error" not in told, told
        result: dict[str, Any] = told["result"]
        return result

    async def open(self, url: str) -> None:
        await self.call("Page.navigate", url=url)

    async def value(self, expression: str) -> Any:
        """Of a piece of script in the page."""
        told = await self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        return told["result"].get("value")

    async def type(self, text: str) -> None:
        for char in text:
            await self.call("Input.dispatchKeyEvent", type="keyDown", text=char, key=char)
            await self.call("Input.dispatchKeyEvent", type="keyUp", key=char)

    async def picture(self) -> bytes:
        """A PNG of the page."""
        return base64.b64decode((await self.call("Page.captureScreenshot", format="png"))["data"])


def program() -> str:
    """Its path. Fails with what to install."""
    found = next(filter(None, map(shutil.which, NAMES)), None)
    assert found, "chromium is missing. Debian and Ubuntu: apt-get install -y --no-install-recommends chromium"
    return found


@contextlib.asynccontextmanager
async def chromium(folder: Path) -> AsyncIterator[Browser]:
    """With nothing but its first page, and no state but in the folder."""
    process = await asyncio.create_subprocess_exec(
        program(), "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run",
        "--disable-background-networking", "--remote-debugging-port=0", f"--user-data-dir={folder / 'profile'}",
        "--window-size=1200,800", "about:blank", env={**os.environ, "HOME": str(folder)}, start_new_session=True,
        stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    try:
        told = folder / "profile/DevToolsActivePort"
        await until(lambda: told.exists() and told.read_text().strip(), timeout=START_SECONDS, what="chromium")
        port = told.read_text().split()[0]
        async with aiohttp.ClientSession() as session:
            async with session.get(f"http://127.0.0.1:{port}/json/list") as answer:
                page = next(item for item in await answer.json() if item["type"] == "page")
            async with session.ws_connect(page["webSocketDebuggerUrl"], max_msg_size=1 << 26) as socket:
                browser = Browser(socket)
                listening = asyncio.create_task(browser.listen(), name="devtools")
                for domain in ("Page", "Network", "Log", "Runtime"):
                    await browser.call(f"{domain}.enable")
                yield browser
                await browser.call("Browser.close")
                listening.cancel()
    finally:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(process.wait(), 10)
        if process.returncode is None:
            process.kill()
            await process.wait()
