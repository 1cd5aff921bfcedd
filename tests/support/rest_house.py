"""The REST API of a composed controller, and people who use it."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

from aiohttp import ClientResponse, ClientSession, DummyCookieJar

from oddaemon.domain.user import Role, Scope
from tests.support.accounts import CHEAP, PASSWORD
from tests.support.controller import Composed, composed


@dataclass(slots=True)
class Visitor:
    """Somebody with a key, or nobody, at one server."""

    url: str
    session: ClientSession
    name: str = ""
    key: str = field(default="", repr=False)

    async def call(self, method: str, path: str, **more: Any) -> tuple[ClientResponse, Any]:
        """The answer and its envelope (None without a body)."""
        headers = {**({"X-API-Key": self.key} if self.key else {}), **more.pop("headers", {})}
        async with self.session.request(method, f"{self.url}/api/v1{path}", headers=headers, **more) as response:
            return response, await response.json() if await response.read() else None

    async def data(self, method: str, path: str, *, status: int = 200, **more: Any) -> Any:
        """What the answer holds; its status has to be this one."""
        response, answer = await self.call(method, path, **more)
        assert response.status == status, (response.status, answer)
        return None if answer is None else answer["data"]

    async def refused(self, method: str, path: str, status: int, code: str, **more: Any) -> Any:
        """The problem."""
        response, answer = await self.call(method, path, **more)
        assert (response.status, answer["error"] and answer["error"]["code"]) == (status, code), answer
        assert (answer["success"], answer["data"]) == (False, None)
        return answer["error"]


@dataclass(slots=True)
class RestHouse:
    home: Composed
    session: ClientSession
    nobody: Visitor
    admin: Visitor

    @property
    def url(self) -> str:
        return self.home.controller.http_url

    def with_key(self, name: str, key: str) -> Visitor:
        return Visitor(self.url, self.session, name, key)

    async def key_of(
        self, name: str, scopes: Sequence[Scope] = tuple(Scope), expires_at: datetime | None = None, title: str = "test"
    ) -> str:
        accounts = self.home.controller.accounts
        made = await accounts.create_key(self.home.admin, title, scopes, expires_at, user=name)
        return made.secret

    async def user(self, name: str, role: Role = Role.USER) -> Visitor:
        """A new account and a key of it that may do everything."""
        await self.home.controller.accounts.add_user(self.home.admin, name, role=role, password=PASSWORD)
        return self.with_key(name, await self.key_of(name))


@contextlib.asynccontextmanager
async def rest_house(folder: Path, **settings: str) -> AsyncIterator[RestHouse]:
    """Passwords cost little. See `tests.support.controller`."""
    async with composed(folder, **settings) as home, ClientSession(cookie_jar=DummyCookieJar()) as session:
        home.controller.accounts.passwords._cost = CHEAP
        url = home.controller.http_url
        built = RestHouse(home, session, Visitor(url, session), Visitor(url, session))
        built.admin = built.with_key("admin", await built.key_of("admin", title=uuid4().hex))
        yield built
