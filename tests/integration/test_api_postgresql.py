"""The REST API over a controller whose PostgreSQL server goes away. (Its whole suite runs on both databases.)"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from tests.integration import test_rest_accounts as accounts
from tests.integration.test_rest_health import ready, until_ready
from tests.support import controller
from tests.support.proxy import Proxy, proxy_to
from tests.support.rest_house import RestHouse


@pytest.fixture
def proxy(postgres: str) -> Iterator[Proxy]:
    with proxy_to(postgres) as proxy:
        yield proxy


@pytest.fixture(autouse=True)
def _every_controller_is_on_the_server(proxy: Proxy, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(controller.QUICK, "DATABASE_URL", proxy.url)


house = accounts.house


async def test_calls_say_that_the_database_is_away(house: RestHouse, proxy: Proxy) -> None:
    maya = await house.user("maya")
    await maya.data("GET", "/auth/me")
    await asyncio.to_thread(proxy.refuse)
    for visitor, method, path in ((maya, "GET", "/auth/me"), (house.admin, "GET", "/admin/users")):
        problem = await visitor.refused(method, path, 503, "STORE_UNAVAILABLE")
        assert problem["hint"]
    status, missing = await ready(house.home)
    assert (status, missing[0]) == (503, "store")
    await asyncio.to_thread(proxy.serve)
    await until_ready(house.home)
    assert (await maya.data("GET", "/auth/me"))["user"]["username"] == "maya"
