"""The server of `odctl web`: on 127.0.0.1, for whoever had the token, with every file its own.

textual-serve gives the script that draws a terminal in a page. Its server is not used: it knows no authentication,
loads a font from elsewhere, and starts its program through a shell.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from importlib.resources import files
from importlib.resources.abc import Traversable

from aiohttp import web

from odctl.text import clean
from odctl.web.access import Door, host_is_ours, origin_is_ours
from odctl.web.tab import Tab, size_of
from odctl.web.task import Task

ADDRESS = "127.0.0.1"
MOST_TABS = 16
LONGEST_MESSAGE = 1 << 20
"""Bytes: somebody pastes a list of links."""
HEARTBEAT_SECONDS = 15.0
OURS, THEIRS = "odctl.web", "textual_serve"
ASSETS = {
    "textual.js": (THEIRS, "static/js/textual.js", "text/javascript"),
    "xterm.css": (THEIRS, "static/css/xterm.css", "text/css"),
    "enter.js": (OURS, "pages/enter.js", "text/javascript"),
    "page.js": (OURS, "pages/page.js", "text/javascript"),
    "page.css": (OURS, "pages/page.css", "text/css"),
    "icon.svg": (OURS, "pages/icon.svg", "image/svg+xml"),
}
# xterm.js sizes its rows with style elements that it makes itself: hence unsafe-inline, for styles alone
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
    "connect-src 'self' ws://{host}; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
AGAIN = "Run odctl web again: it prints an address that is good once.\n"


class WebServer:
    """`say` takes sentences for the person who started it."""

    def __init__(self, task: Task, say: Callable[[str], None]) -> None:
        self.door = Door()
        self.port = 0
        self._task = task
        self._say = say
        self._tabs: set[asyncio.Task[object]] = set()
        self._runner: web.AppRunner | None = None

    @property
    def url(self) -> str:
        """Good once."""
        return f"http://{ADDRESS}:{self.port}/enter?token={self.door.token}"

    async def start(self, port: int) -> None:
        """0: a port that the system chooses. Raises OSError."""
        app = web.Application(middlewares=[self._guard])
        app.router.add_get("/enter", self._enter, allow_head=False)
        app.router.add_get("/", self._page)
        app.router.add_get("/assets/{name}", self._asset)
        app.router.add_get("/ws/{key}", self._socket, allow_head=False)
        self._runner = web.AppRunner(app, access_log=None, handle_signals=False)
        await self._runner.setup()
        site = web.TCPSite(self._runner, ADDRESS, port)
        await site.start()
        self.port = self._runner.addresses[0][1]

    async def close(self) -> None:
        """Every dashboard has ended when this returns."""
        for tab in self._tabs:
            tab.cancel()
        await asyncio.gather(*self._tabs, return_exceptions=True)
        if self._runner is not None:
            await self._runner.cleanup()

    @property
    def _cookie(self) -> str:
        # cookies know no ports: two servers must not take each other's away
        return f"odctl-web-{self.port}"

    @web.middleware
    async def _guard(
        self, request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        """Nobody comes in under another name, or without the session; every answer says what a page may do."""
        if not host_is_ours(request.host):
            answer: web.StreamResponse = refused(403, "This server answers to 127.0.0.1 and localhost alone.\n")
        elif request.path != "/enter" and not self.door.knows(request.cookies.get(self._cookie)):
            answer = refused(401, "Nobody is logged in here with this browser. " + AGAIN)
        else:
            try:
                answer = await handler(request)
            except web.HTTPException as error:
                answer = refused(error.status, f"{error.reason}\n")
        if not answer.prepared:
            protect(answer, request.host)
        return answer

    async def _enter(self, request: web.Request) -> web.Response:
        session = self.door.exchange(request.query.get("token", ""))
        if session is None:
            return refused(403, "This address is not good, or was used before. " + AGAIN)
        # not a redirect: the cookie is for requests that begin here, and this one may have begun in another page
        page = _text(OURS, "pages/entered.html").replace("KEY", self.door.key)
        answer = web.Response(text=page, content_type="text/html")
        answer.set_cookie(self._cookie, session, httponly=True, samesite="Strict", path="/")
        return answer

    async def _page(self, request: web.Request) -> web.Response:
        return web.Response(text=_text(OURS, "pages/index.html"), content_type="text/html")

    async def _asset(self, request: web.Request) -> web.Response:
        found = ASSETS.get(request.match_info["name"])
        if found is None:
            raise web.HTTPNotFound
        package, path, kind = found
        return web.Response(body=_file(package, path).read_bytes(), content_type=kind, charset="utf-8")

    async def _socket(self, request: web.Request) -> web.StreamResponse:
        if not origin_is_ours(request.headers.get("Origin"), request.host):
            return refused(403, "Only this server's own page may ask for this.\n")
        if not self.door.opens(request.match_info["key"]):
            return refused(403, "This page was not let in. " + AGAIN)
        if len(self._tabs) >= MOST_TABS:
            return refused(503, f"{MOST_TABS} dashboards are open already: close a tab.\n")
        try:
            size = size_of(request.query.get("width", 80), request.query.get("height", 24))
        except ValueError:
            return refused(400, "width and height are numbers.\n")
        socket = web.WebSocketResponse(heartbeat=HEARTBEAT_SECONDS, max_msg_size=LONGEST_MESSAGE)
        current = asyncio.current_task()
        assert current is not None
        self._tabs.add(current)
        try:
            await socket.prepare(request)
            words = await Tab(self._task, socket).run(*size)
            if words:
                self._say(f"a dashboard ended with a fault: {clean(words.splitlines()[-1])}")
        finally:
            self._tabs.discard(current)
            await socket.close()
        return socket


def refused(status: int, text: str) -> web.Response:
    return web.Response(status=status, text=text)


def protect(answer: web.StreamResponse, host: str) -> None:
    answer.headers["Content-Security-Policy"] = POLICY.format(host=host if host_is_ours(host) else ADDRESS)
    answer.headers["X-Content-Type-Options"] = "nosniff"
    answer.headers["Referrer-Policy"] = "no-referrer"
    answer.headers["Cache-Control"] = "no-store"
    answer.headers["Cross-Origin-Resource-Policy"] = "same-origin"
    answer.headers["Cross-Origin-Opener-Policy"] = "same-origin"


def _file(package: str, path: str) -> Traversable:
    return files(package).joinpath(path)


def _text(package: str, path: str) -> str:
    return _file(package, path).read_text("utf-8")
