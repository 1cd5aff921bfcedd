"""Accounts: who gets in, and what ends it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from pathlib import Path

import pytest

from oddaemon.api.auth import Peer, principal
from oddaemon.domain.errors import (
    Conflict,
    InvalidArgument,
    OpenDebridError,
    Unauthenticated,
)
from oddaemon.domain.user import ALL_SCOPES, Proof, Role, Scope
from oddaemon.services.operator import ensure_admin
from oddaemon.services.passwords import Passwords
from oddaemon.store.migrate import open_store
from oddaemon.testing.store_samples import LATER, NOW
from tests.support.accounts import OWN_UID, PASSWORD, Office, office
from tests.support.wait import until

HOME = "192.0.2.7"


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Office]:
    async with office(tmp_path) as built:
        yield built


async def refused(call: Awaitable[object], error: type[OpenDebridError]) -> OpenDebridError:
    with pytest.raises(error) as caught:
        await call
    return caught.value


# the operator


async def test_the_operator_is_made_once_and_keeps_the_rights(tmp_path: Path) -> None:
    store = await open_store(tmp_path / "store.db")
    try:
        admin = await store.write(lambda tx: ensure_admin(tx, "admin", NOW))
        assert (admin.role, admin.is_active, admin.password) == (Role.ADMIN, True, None)
        assert await store.write(lambda tx: ensure_admin(tx, "admin", LATER)) == admin
        locked_out = replace(admin, role=Role.USER, is_active=False, password="$2b$kept")
        await store.write(lambda tx: tx.users.update(locked_out))
        again = await store.write(lambda tx: ensure_admin(tx, "admin", LATER))
        assert again == replace(admin, password="$2b$kept", updated_at=LATER, generation=1)
        assert await store.read(lambda tx: tx.users.all()) == [again]
    finally:
        await store.close()


async def test_the_daemons_own_uid_and_root_are_the_operator_whatever_was_done_to_it(desk: Office) -> None:
    accounts = desk.accounts
    for uid in (OWN_UID, 0):
        who = await accounts.by_uid(uid)
        assert (who.username, who.is_admin, who.proof, who.uid) == ("admin", True, Proof.PEER_UID, uid)
    other = await accounts.add_user(desk.operator, "ann", role=Role.ADMIN, password=PASSWORD)
    tokens = await accounts.login("ann", PASSWORD, address=HOME)
    ann = await accounts.by_access_token(tokens.access_token)
    for call in (
        accounts.set_active(ann, "admin", False),
        accounts.set_role(ann, "admin", Role.USER),
        accounts.remove_user(ann, "admin", keep_jobs=False),
    ):
        await refused(call, Conflict)
    # even what no call allows: a damaged row, an older program
    broken = await desk.store.read(lambda tx: tx.users.by_name("admin"))
    assert broken is not None
    await desk.store.write(lambda tx: tx.users.update(replace(broken, role=Role.USER, is_active=False)))
    assert (await accounts.by_uid(OWN_UID)).is_admin
    await desk.store.write(lambda tx: tx.users.delete(broken.id))
    assert (await accounts.by_uid(0)).is_admin
    assert (await accounts.user(await accounts.by_uid(0), "ann")).id == other.id


async def test_recovery_works_from_the_socket(desk: Office) -> None:
    """A new password, everything revoked, the secret rotated: also right after one another."""
    ann = await desk.user("ann")
    for _ in range(2):
        operator = await desk.accounts.by_uid(OWN_UID)
        await desk.accounts.set_password(operator, "ann", "a new password")
        await desk.accounts.set_password(operator, "admin", "the operator's own")
        operator = await desk.accounts.by_uid(OWN_UID)
        await desk.accounts.revoke_everything(operator)
        await desk.accounts.rotate_secret(await desk.accounts.by_uid(OWN_UID))
    assert ann.username == "ann"
    await desk.accounts.login("ann", "a new password", address=HOME)
    await desk.accounts.login("admin", "the operator's own", address=HOME)


# passwords and logins


async def test_a_login_gives_an_hour_and_a_refresh_token(desk: Office) -> None:
    await desk.user("ann")
    tokens = await desk.accounts.login("ann", PASSWORD, address=HOME)
    assert tokens.expires_in == 3600
    who = await desk.accounts.by_access_token(tokens.access_token)
    assert (who.username, who.role, who.proof, who.scopes) == ("ann", Role.USER, Proof.ACCESS_TOKEN, ALL_SCOPES)
    await desk.clock.advance(3599)
    await desk.accounts.by_access_token(tokens.access_token)
    await desk.clock.advance(1)
    await refused(desk.accounts.by_access_token(tokens.access_token), Unauthenticated)


async def test_what_an_access_token_let_in_ends_with_it(desk: Office) -> None:
    ann = await desk.user("ann")
    tokens = await desk.accounts.login("ann", PASSWORD, address=HOME)
    who = await desk.accounts.by_access_token(tokens.access_token)
    await desk.clock.advance(3599.9)
    ends = asyncio.create_task(desk.accounts.ended(who))
    by_key = asyncio.create_task(desk.accounts.ended(ann))
    await desk.accounts.create_key(who, "in time", [Scope.READ])
    await asyncio.wait({ends}, timeout=0)
    assert not ends.done()
    await desk.clock.advance(0.1)
    await until(ends.done, what="the end of the token")
    await refused(desk.accounts.create_key(who, "too late", [Scope.READ]), Unauthenticated)
    assert not by_key.done()
    by_key.cancel()


async def test_a_stream_of_the_control_api_lasts_as_long_as_the_session(desk: Office) -> None:
    await desk.user("ann")
    tokens = await desk.accounts.login("ann", PASSWORD, address=HOME)
    who = await principal(desk.accounts, Peer(uid=OWN_UID, pid=1), f"Bearer {tokens.access_token}")
    assert (who.proof, who.until) == (Proof.ACCESS_TOKEN, None)


async def test_unknown_wrong_and_disabled_look_alike(desk: Office) -> None:
    await desk.user("ann")
    await desk.user("bob")
    await desk.user("eve", None)
    await desk.accounts.set_active(desk.operator, "bob", False)
    told = [
        await refused(desk.accounts.login(name, password, address=HOME), Unauthenticated)
        for name, password in [
            ("nobody", PASSWORD), ("ann", "wrong"), ("bob", PASSWORD), ("eve", PASSWORD), ("eve", ""), ("Ann", ""),
            ("ann", PASSWORD + "x" * 80), ("ann", "\udc80"), ("", ""), ("\udc80\0", ""), ("é" * 5000, ""),
        ]
    ]  # fmt: skip
    assert {(str(error), error.hint) for error in told} == {("wrong user name or password", "")}


async def test_a_password_costs_the_same_whether_there_is_an_account_or_not() -> None:
    """Each check is one bcrypt of the same cost, and none is done on the event loop (the loop guard would say so)."""
    usual = Passwords()
    usual.close()
    assert usual._nobody.startswith(b"$2b$12$")
    passwords = Passwords(cost=6)
    done: list[tuple[str, int]] = []
    beside = passwords._beside

    async def watched(work: Callable[[bytes, bytes], object], password: bytes, salt: bytes) -> object:
        done.append((work.__name__, int(salt.split(b"$")[2])))
        return await beside(work, password, salt)

    passwords._beside = watched  # type: ignore[method-assign, assignment]
    try:
        hashed = await passwords.hash(PASSWORD, "ann")
        assert await passwords.matches(PASSWORD, hashed)
        assert not await passwords.matches("wrong", hashed)
        assert not await passwords.matches(PASSWORD, None)
        assert not await passwords.matches("x" * 1000, hashed)
    finally:
        passwords.close()
    assert [cost for _, cost in done] == [6] * 5


@pytest.mark.parametrize("password", ["", "seven77", "x" * 73, "ä" * 37, "\udc80" * 9, "Annabella"])
async def test_a_password_that_is_no_good_changes_nothing(desk: Office, password: str) -> None:
    await refused(desk.accounts.add_user(desk.operator, "annabella", password=password), InvalidArgument)
    assert [user.username for user in await desk.accounts.users(desk.operator)] == ["admin"]


@pytest.mark.parametrize("password", ["x" * 72, "ä" * 36, "null\0byte", " spaces  ", "eight888"])
async def test_a_password_counts_whole(desk: Office, password: str) -> None:
    await desk.accounts.add_user(desk.operator, "ann", password=password)
    await desk.accounts.login("ann", password, address=HOME)
    for other in (password[:-1], password + "x", password.strip(" ") + " "):
        await refused(desk.accounts.login("ann", other, address=HOME), Unauthenticated)


async def test_an_old_refresh_token_ends_the_session(desk: Office) -> None:
    await desk.user("ann")
    first = await desk.accounts.login("ann", PASSWORD, address=HOME)
    other = await desk.accounts.login("ann", PASSWORD, address=HOME)
    second = await desk.accounts.refresh(first.refresh_token)
    third = await desk.accounts.refresh(second.refresh_token)
    await desk.accounts.by_access_token(first.access_token)
    await refused(desk.accounts.refresh(first.refresh_token), Unauthenticated)
    for dead in (first, second, third):
        await refused(desk.accounts.by_access_token(dead.access_token), Unauthenticated)
        await refused(desk.accounts.refresh(dead.refresh_token), Unauthenticated)
    await desk.accounts.by_access_token(other.access_token)


async def test_a_made_up_refresh_token_ends_nothing(desk: Office) -> None:
    await desk.user("ann")
    tokens = await desk.accounts.login("ann", PASSWORD, address=HOME)
    token = tokens.refresh_token
    for made_up in (token[:-43] + "A" * 43, token[:-5] + "".join(reversed(token[-5:]))):
        await refused(desk.accounts.refresh(made_up), Unauthenticated)
    await desk.accounts.by_access_token(tokens.access_token)
    await desk.accounts.refresh(token)


async def test_a_refresh_token_is_good_once_however_many_use_it_at_once(desk: Office) -> None:
    await desk.user("ann")
    tokens = await desk.accounts.login("ann", PASSWORD, address=HOME)
    answers = await asyncio.gather(
        *(desk.accounts.refresh(tokens.refresh_token) for _ in range(5)), return_exceptions=True
    )
    [good] = [answer for answer in answers if not isinstance(answer, BaseException)]
    await refused(desk.accounts.by_access_token(good.access_token), Unauthenticated)


async def test_a_refresh_token_lasts_a_day(desk: Office) -> None:
    await desk.user("ann")
    tokens = await desk.accounts.login("ann", PASSWORD, address=HOME)
    await desk.clock.advance(86_399)
    await desk.accounts.tidy()
    tokens = await desk.accounts.refresh(tokens.refresh_token)
    await desk.clock.advance(86_400)
    await refused(desk.accounts.refresh(tokens.refresh_token), Unauthenticated)
    await desk.accounts.tidy()
    await refused(desk.accounts.refresh(tokens.refresh_token), Unauthenticated)


async def test_a_logout_ends_one_session(desk: Office) -> None:
    await desk.user("ann")
    one, two = [await desk.accounts.login("ann", PASSWORD, address=HOME) for _ in range(2)]
    await desk.accounts.logout(await desk.accounts.by_access_token(one.access_token))
    await refused(desk.accounts.by_access_token(one.access_token), Unauthenticated)
    await refused(desk.accounts.refresh(one.refresh_token), Unauthenticated)
    await desk.accounts.logout(await desk.accounts.by_access_token(two.access_token))
    await desk.accounts.logout(desk.operator)


async def test_tokens_of_another_making_are_refused(desk: Office, tmp_path: Path) -> None:
    import jwt

    await desk.user("ann")
    tokens = await desk.accounts.login("ann", PASSWORD, address=HOME)
    claims = jwt.decode(tokens.access_token, options={"verify_signature": False})
    (tmp_path / "other").mkdir()
    async with office(tmp_path / "other") as elsewhere:
        foreign = await elsewhere.user("ann")
        made = await elsewhere.accounts.login("ann", PASSWORD, address=HOME)
        assert foreign.username == "ann"
    forged = [
        made.access_token, jwt.encode(claims, None, algorithm="none"), jwt.encode(claims, "guess" * 10),  # type: ignore[arg-type]
        tokens.access_token[:-2], tokens.access_token + "A", tokens.refresh_token, "", "a.b.c", "x" * 100_000, "é.é.é",
    ]  # fmt: skip
    for token in forged:
        error = await refused(desk.accounts.by_access_token(token), Unauthenticated)
        assert ("neither an API key" in str(error)) is (token.count(".") != 2)
    await desk.accounts.by_access_token(tokens.access_token)
