"""`/api/v1/auth` and `/api/v1/admin/users`: the services' promises, through HTTP."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.support.accounts import PASSWORD
from tests.support.rest_house import RestHouse, Visitor, rest_house
from tests.support.wait import until

DATABASES = ("sqlite", "postgresql")

NEW = "another horse"


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[RestHouse]:
    async with rest_house(tmp_path) as built:
        yield built


def bearer(token: str) -> dict[str, Any]:
    return {"headers": {"Authorization": f"Bearer {token}"}}


async def logged_in(nobody: Visitor, name: str, password: str = PASSWORD) -> dict[str, Any]:
    tokens = await nobody.data("POST", "/auth/login", json={"username": name, "password": password})
    assert isinstance(tokens, dict)
    return tokens


async def test_a_login_gives_tokens_that_are_renewed_once_and_end(house: RestHouse) -> None:
    await house.user("maya")
    nobody = house.nobody
    first = await logged_in(nobody, "maya")
    assert (first["token_type"], first["expires_in"]) == ("Bearer", 3600)
    me = await nobody.data("GET", "/auth/me", **bearer(first["access_token"]))
    assert (me["user"]["username"], me["user"]["role"], me["proof"]) == ("maya", "user", "token")
    assert me["scopes"] == ["read", "jobs", "admin"]
    second = await nobody.data("POST", "/auth/refresh", json={"refresh_token": first["refresh_token"]})
    again = await nobody.data("GET", "/auth/me", **bearer(second["access_token"]))
    assert again["user"]["id"] == me["user"]["id"]
    # an old one that comes back was stolen: the session ends
    for token in (first["refresh_token"], second["refresh_token"], "odr_nonsense"):
        await nobody.refused("POST", "/auth/refresh", 401, "UNAUTHENTICATED", json={"refresh_token": token})
    await nobody.refused("GET", "/auth/me", 401, "UNAUTHENTICATED", **bearer(second["access_token"]))


async def test_people_see_what_they_use_and_admins_what_everybody_does(house: RestHouse) -> None:
    maya = await house.user("maya")
    limits = {"storage": 5_000_000, "requests_per_minute": 500}
    await house.admin.data("PATCH", "/admin/users/maya", json={"limits": limits})
    job = await maya.data(
        "POST", "/downloads", status=201,
        json={"source": "http://sim.invalid/a", "engine": "simulated", "options": {"size": "1000"}},
    )  # fmt: skip

    async def stored() -> bool:
        return bool((await maya.data("GET", "/auth/usage"))["stored"] == 1000)

    await until(stored)
    found = await maya.data("GET", "/auth/usage")
    assert (found["user"], found["running"], found["jobs"], found["served_today"]) == ("maya", 0, 0, 0)
    assert found["limits"]["storage"] == limits["storage"]
    assert found["limits"]["requests_per_minute"] == limits["requests_per_minute"]
    assert found["limits"]["served_per_day"] is None
    assert found["requests"] > 0
    await maya.data("DELETE", f"/downloads/{job['id']}")
    assert (await house.admin.data("GET", "/admin/users/maya/usage"))["stored"] == 0
    await house.admin.refused("GET", "/admin/users/nobody/usage", 404, "NOT_FOUND")
    await maya.refused("GET", "/admin/users/admin/usage", 403, "NOT_ALLOWED")


async def test_a_logout_ends_the_session_and_leaves_keys_alone(house: RestHouse) -> None:
    maya = await house.user("maya")
    tokens = await logged_in(house.nobody, "maya")
    await house.nobody.data("POST", "/auth/logout", status=204, **bearer(tokens["access_token"]))
    await house.nobody.refused("GET", "/auth/me", 401, "UNAUTHENTICATED", **bearer(tokens["access_token"]))
    await maya.data("POST", "/auth/logout", status=204)
    assert (await maya.data("GET", "/auth/me"))["proof"] == "apikey"


async def test_sessions_are_listed_and_ended_one_by_one(house: RestHouse) -> None:
    maya = await house.user("maya")
    one, other = [await logged_in(house.nobody, "maya") for _ in range(2)]
    first, second = await house.nobody.data("GET", "/auth/sessions", **bearer(one["access_token"]))
    assert (first["current"], second["current"]) == (True, False)
    assert (await house.admin.data("GET", "/auth/sessions?user=maya"))[1]["id"] == second["id"]
    stranger = await house.user("stranger")
    for path in (second["id"], f"{second['id']}?user=maya", "nonsense"):
        await stranger.refused("DELETE", f"/auth/sessions/{path}", 404, "NOT_FOUND")
    await maya.data("DELETE", f"/auth/sessions/{second['id']}", status=204)
    await house.nobody.refused("GET", "/auth/me", 401, "UNAUTHENTICATED", **bearer(other["access_token"]))
    gone = {"refresh_token": other["refresh_token"]}
    await house.nobody.refused("POST", "/auth/refresh", 401, "UNAUTHENTICATED", json=gone)
    await house.admin.data("DELETE", f"/auth/sessions/{first['id']}", status=204)
    assert await maya.data("GET", "/auth/sessions") == []


async def test_invitations_are_listed_and_revoked_one_by_one(house: RestHouse) -> None:
    made = [await house.admin.data("POST", "/admin/invitations", status=201, json={}) for _ in range(2)]
    first, second = await house.admin.data("GET", "/admin/invitations")
    assert (first["role"], first["invited_by"]) == ("user", "admin")
    assert made[0]["invite"] not in str(first)
    await house.admin.data("DELETE", f"/admin/invitations/{first['id']}", status=204)
    assert await house.admin.data("GET", "/admin/invitations") == [second]
    asked = {"username": "ann", "password": PASSWORD}
    await house.nobody.refused("POST", "/auth/register", 403, "NOT_ALLOWED", json={**asked, **made[0]})
    await house.nobody.data("POST", "/auth/register", status=201, json={**asked, **made[1]})
    await house.admin.refused("DELETE", f"/admin/invitations/{second['id']}", 404, "NOT_FOUND")


async def test_wrong_logins_look_alike_and_are_slowed_down(house: RestHouse) -> None:
    await house.user("maya")
    wrong = {"username": "maya", "password": "wrong"}
    told = [
        await house.nobody.refused("POST", "/auth/login", 401, "UNAUTHENTICATED", json=asked)
        for asked in (wrong, {**wrong, "username": "nobody"})
    ]
    assert told[0] == told[1]
    for _ in range(4):
        await house.nobody.refused("POST", "/auth/login", 401, "UNAUTHENTICATED", json=wrong)
    # the first waits are seconds, which a busy machine may sleep through; each one is longer than the last
    for _ in range(7):
        response, answer = await house.nobody.call("POST", "/auth/login", json=wrong)
        if response.status != 401:
            break
    assert (response.status, answer["error"]["code"]) == (429, "LOGIN_THROTTLED")
    assert int(response.headers["Retry-After"]) >= 1


async def test_an_account_is_made_only_with_an_invitation_or_when_all_may_join(house: RestHouse) -> None:
    asked = {"username": "ann", "password": PASSWORD, "email": "ann@example.org"}
    await house.nobody.refused("POST", "/auth/register", 403, "NOT_ALLOWED", json=asked)
    made = await house.admin.data("POST", "/admin/invitations", status=201, json={})
    invited = {**asked, "invite": made["invite"]}
    ann = await house.nobody.data("POST", "/auth/register", status=201, json=invited)
    assert (ann["username"], ann["role"], ann["is_active"]) == ("ann", "user", True)
    # good once
    again = {**invited, "username": "bob", "email": None}
    await house.nobody.refused("POST", "/auth/register", 403, "NOT_ALLOWED", json=again)
    await house.home.set(auth__registration_enabled="true")
    await house.nobody.data("POST", "/auth/register", status=201, json={**asked, "username": "bob", "email": None})
    wrong = {"username": "b b", "password": PASSWORD}
    assert (await house.nobody.refused("POST", "/auth/register", 422, "INVALID_ARGUMENT", json=wrong))["field"]


async def test_another_password_ends_everything(house: RestHouse) -> None:
    maya = await house.user("maya")
    tokens = await logged_in(house.nobody, "maya")
    session = bearer(tokens["access_token"])
    wrong = {"old": "wrong", "new": NEW}
    await house.nobody.refused("POST", "/auth/password", 403, "NOT_ALLOWED", json=wrong, **session)
    right = {"old": PASSWORD, "new": NEW}
    await house.nobody.data("POST", "/auth/password", status=204, json=right, **session)
    await house.nobody.refused("GET", "/auth/me", 401, "UNAUTHENTICATED", **session)
    await maya.refused("GET", "/auth/me", 401, "UNAUTHENTICATED")
    await logged_in(house.nobody, "maya", NEW)


async def test_api_keys_are_made_listed_rotated_and_revoked(house: RestHouse) -> None:
    maya = await house.user("maya")
    later = (datetime.now(UTC) + timedelta(days=1)).isoformat()
    asked = {"name": "tv", "scopes": ["read"], "expires_at": later}
    response, answer = await maya.call("POST", "/auth/apikeys", json=asked)
    assert response.status == 201
    made = answer["data"]
    assert response.headers["Location"] == f"/api/v1/auth/apikeys/{made['key']['id']}"
    tv = house.with_key("maya", made["secret"])
    assert (await tv.data("GET", "/auth/me"))["scopes"] == ["read"]
    await maya.refused("POST", "/auth/apikeys", 409, "ALREADY_EXISTS", json=asked)
    listed = await maya.data("GET", "/auth/apikeys")
    assert [key["name"] for key in listed] == ["test", "tv"]
    assert made["secret"] not in str(listed)
    other = await maya.data("POST", "/auth/apikeys/tv/rotate")
    await tv.refused("GET", "/auth/me", 401, "UNAUTHENTICATED")
    tv = house.with_key("maya", other["secret"])
    # a key that may only look makes no other
    await tv.refused("POST", "/auth/apikeys", 403, "NOT_ALLOWED", json={**asked, "name": "more"})
    maya = house.with_key("maya", await house.key_of("maya", title="fresh"))
    await maya.data("DELETE", "/auth/apikeys/tv", status=204)
    await tv.refused("GET", "/auth/me", 401, "UNAUTHENTICATED")
    await maya.refused("DELETE", "/auth/apikeys/tv", 404, "NOT_FOUND")


async def test_the_key_is_regenerated_and_the_old_one_is_dead(house: RestHouse) -> None:
    maya = await house.user("maya")
    first = await maya.data("POST", "/auth/apikey/regenerate")
    assert first["key"]["name"] == "default"
    mine = house.with_key("maya", first["secret"])
    second = await mine.data("POST", "/auth/apikey/regenerate")
    assert second["key"]["id"] == first["key"]["id"]
    await mine.refused("GET", "/auth/me", 401, "UNAUTHENTICATED")
    await house.with_key("maya", second["secret"]).data("GET", "/auth/me")


async def test_admins_look_after_accounts(house: RestHouse) -> None:
    admin = house.admin
    response, answer = await admin.call("POST", "/admin/users", json={"username": "ann", "password": PASSWORD})
    ann = answer["data"]
    assert (response.status, ann["has_password"], ann["limits"]["jobs"]) == (201, True, None)
    assert response.headers["Location"] == f"/api/v1/admin/users/{ann['id']}"
    changed = await admin.data("PATCH", "/admin/users/ann", json={"role": "admin", "limits": {"jobs": 7}})
    assert (changed["role"], changed["limits"]["jobs"]) == ("admin", 7)
    changed = await admin.data("PATCH", f"/admin/users/{ann['id']}", json={"limits": {"storage": 9}})
    assert (changed["limits"]["jobs"], changed["limits"]["storage"]) == (7, 9)
    key = await admin.data("POST", "/auth/apikeys?user=ann", status=201, json={"name": "k", "scopes": ["admin"]})
    hers = house.with_key("ann", key["secret"])
    response, answer = await hers.call("GET", "/admin/users?per_page=1&page=2")
    assert ([user["username"] for user in answer["data"]], answer["meta"]["total"]) == (["ann"], 2)
    assert (await admin.data("PATCH", "/admin/users/ann", json={"is_active": False}))["is_active"] is False
    await hers.refused("GET", "/auth/me", 401, "UNAUTHENTICATED")
    assert await admin.data("DELETE", "/admin/users/ann") == {"jobs": 0}
    await admin.refused("GET", "/admin/users/ann", 404, "NOT_FOUND")


async def test_a_change_of_an_account_is_whole_or_not_at_all(house: RestHouse) -> None:
    change = {"limits": {"jobs": 7}, "is_active": False}
    await house.admin.refused("PATCH", "/admin/users/admin", 409, "CONFLICT", json=change)
    assert (await house.admin.data("GET", "/admin/users/admin"))["limits"]["jobs"] is None
    await house.user("ann")
    weak = {"role": "admin", "password": "short"}
    assert (await house.admin.refused("PATCH", "/admin/users/ann", 422, "INVALID_ARGUMENT", json=weak))["field"]
    assert (await house.admin.data("GET", "/admin/users/ann"))["role"] == "user"


async def test_what_is_for_admins_is_for_admins(house: RestHouse) -> None:
    maya = await house.user("maya")
    await house.user("bob")
    reader = house.with_key("admin", await house.key_of("admin", ["jobs"], title="jobs"))  # type: ignore[list-item]
    for who in (maya, reader):
        await who.refused("GET", "/admin/users", 403, "NOT_ALLOWED")
        await who.refused("POST", "/admin/users", 403, "NOT_ALLOWED", json={"username": "x", "password": PASSWORD})
        await who.refused("DELETE", "/admin/users/bob", 403, "NOT_ALLOWED")
        await who.refused("POST", "/admin/invitations", 403, "NOT_ALLOWED", json={})
    # another's keys look like those of nobody
    told = [
        await maya.refused("GET", f"/auth/apikeys?user={name}", 404, "NOT_FOUND") for name in ("bob", "bub")
    ]  # fmt: skip
    assert told[0]["message"].replace("bob", "bub") == told[1]["message"]


async def test_everything_of_a_user_can_be_ended(house: RestHouse) -> None:
    maya = await house.user("maya")
    ended = await house.admin.data("POST", "/admin/users/maya/revoke")
    assert ended == {"sessions": 0, "keys": 1, "links": 0, "invitations": 0}
    await maya.refused("GET", "/auth/me", 401, "UNAUTHENTICATED")
    await logged_in(house.nobody, "maya")
