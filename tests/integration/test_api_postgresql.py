"""The REST API over a controller whose store is in PostgreSQL: a choice of its suite, and a server that goes away."""

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
test_a_login_gives_tokens = accounts.test_a_login_gives_tokens_that_are_renewed_once_and_end
test_an_account_is_made_only_with_an_invitation = (
    accounts.test_an_account_is_made_only_with_an_invitation_or_when_all_may_join
)
test_api_keys = accounts.test_api_keys_are_made_listed_rotated_and_revoked
test_admins_look_after_accounts = accounts.test_admins_look_after_accounts
test_a_change_of_an_account_is_whole = accounts.test_a_change_of_an_account_is_whole_or_not_at_all


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
