"""What is told of accounts: every change is an event, in the change's own transaction, and none tells a secret."""

from __future__ import annotations

import asyncio
import logging
import sqlite3
from collections.abc import AsyncIterator, Callable
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import pytest

from oddaemon.domain.errors import OpenDebridError, StoreError, Unauthenticated
from oddaemon.domain.events import EVENT_TYPES, Event, facts
from oddaemon.domain.types import Seconds
from oddaemon.domain.user import ALL_SCOPES, Role, Scope, UserLimits
from oddaemon.ports.event_bus import Subscriber
from oddaemon.ports.store import Transaction
from oddaemon.services.account_base import AccountPolicy
from oddaemon.store.repositories.events import SqlEvents
from oddaemon.subscribers.audit_log import AuditLog
from tests.support.accounts import Office, office

HOME = "192.0.2.7"
PASSWORDS = ["a first password", "a second password", "a third password", "a guessed password"]


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Office]:
    async with office(tmp_path) as built:
        yield built


async def a_life(desk: Office) -> list[str]:
    """Everything that can happen to an account, once; the secrets that came up."""
    accounts, boss = desk.accounts, desk.operator
    desk.policy = AccountPolicy(unix_autoprovision=True)
    invitation = await accounts.invite(boss, role=Role.ADMIN, ttl=Seconds(3600))
    unused = await accounts.invite(boss, ttl=Seconds(3600))
    await accounts.revoke_invitation(boss, unused.split("_")[1])
    await accounts.register("ann", PASSWORDS[0], email="ann@example.test", invite=invitation, address=HOME)
    for name, password in (("ann", PASSWORDS[3]), (PASSWORDS[3], "x")):  # people do type it into the wrong field
        with pytest.raises(Unauthenticated):
            await accounts.login(name, password, address=HOME)
    tokens = [await accounts.login("ann", PASSWORDS[0], address=where) for where in (HOME, "")]
    tokens.append(await accounts.refresh(tokens[0].refresh_token))
    with pytest.raises(Unauthenticated):
        await accounts.refresh(tokens[0].refresh_token)
    ann = await accounts.by_access_token(tokens[1].access_token)
    keys = [await accounts.create_key(ann, "tv", [Scope.READ])]
    keys.append(await accounts.rotate_key(ann, "tv"))
    ann = await accounts.by_access_token(tokens[1].access_token)
    await accounts.revoke_key(ann, "tv")
    await accounts.logout(await accounts.by_access_token(tokens[1].access_token))
    await accounts.set_password(boss, "ann", PASSWORDS[1])
    tokens.append(await accounts.login("ann", PASSWORDS[1], address=HOME))
    ann = await accounts.by_access_token(tokens[-1].access_token)
    with pytest.raises(OpenDebridError):
        await accounts.set_own_password(ann, PASSWORDS[3], PASSWORDS[2])
    await accounts.set_own_password(ann, PASSWORDS[1], PASSWORDS[2])
    await accounts.set_role(boss, "ann", Role.USER)
    await accounts.set_limits(boss, "ann", UserLimits(jobs=3))
    await accounts.link_uid(boss, "ann", 4242)
    await accounts.set_active(boss, "ann", False)
    await accounts.set_active(boss, "ann", True)
    await accounts.by_uid(4243)
    await accounts.revoke_everything(boss, "ann")
    await accounts.revoke_everything(await accounts.by_uid(0))
    await accounts.rotate_secret(await accounts.by_uid(0))
    await accounts.remove_user(await accounts.by_uid(0), "ann", keep_jobs=False)
    secrets = [invitation, unused, *PASSWORDS, *(key.secret for key in keys)]
    return [*secrets, *(one for made in tokens for one in (made.access_token, made.refresh_token))]


async def test_every_change_is_an_event(desk: Office) -> None:
    await a_life(desk)
    told = [event.type for event in desk.events]
    assert told == [
        "invitation.created", "invitation.created", "invitation.revoked", "user.created", "login.failed",
        "login.failed", "login.succeeded", "login.succeeded", "logout", "apikey.created", "apikey.rotated",
        "apikey.revoked", "logout", "user.changed", "login.succeeded",
        "login.failed", "user.changed", "user.changed", "user.changed", "user.changed", "user.disabled",
        "user.enabled", "user.created", "access.revoked", "access.revoked", "secret.rotated", "user.removed",
    ]  # fmt: skip
    by_type = {event.type: event for event in desk.events}
    assert by_type["user.removed"].data == {"name": "ann", "jobs": 0, "kept": False, "by": "admin"}
    changes = [event.data["changed"] for event in desk.events if event.type == "user.changed"]
    assert changes == ["password", "password", "role", "limits", "uid"]
    known, unknown, old = [event for event in desk.events if event.type == "login.failed"]
    assert (known.data, unknown.user_id, unknown.data) == ({"address": HOME}, None, {"address": HOME})
    assert known.user_id == old.user_id is not None
    came = [event.data["address"] for event in desk.events if event.type == "login.succeeded"]
    assert came == [HOME, "socket", HOME]
    ended = [event.data for event in desk.events if event.type == "logout"]
    assert ended == [{"reason": "reuse"}, {"reason": "asked"}]
    assert {event.type for event in desk.events} == {
        name for name in EVENT_TYPES if name.partition(".")[0] in
        {"user", "login", "logout", "apikey", "invitation", "access", "secret"}
    }  # fmt: skip


async def test_no_secret_is_told_or_kept(desk: Office, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Not in events, the audit log, the log, what debugging prints, or the store itself."""
    caplog.set_level(logging.DEBUG)
    audit: Subscriber = AuditLog()
    secrets = await a_life(desk)
    for event in desk.events:
        await audit.handle(event)
    users = await desk.accounts.users(desk.operator)
    records = repr([record.__dict__ for record in caplog.records])
    shown = [repr(desk.accounts), repr(desk.events), repr(users), caplog.text, records]
    shown += [str(facts(event)) for event in desk.events]
    await desk.store.close()
    for path in tmp_path.glob("store.db*"):
        shown.append(path.read_bytes().decode("latin-1"))
    assert any("user.removed" in text for text in shown)
    for secret in secrets:
        # of a key the id may be told; the rest is the secret
        part = secret.split("_", 2)[2] if secret.startswith("od") else secret
        assert [text[:80] for text in shown if part in text] == []
    key = sqlite3.connect(tmp_path / "store.db")
    with closing(key):
        [(signing,)] = key.execute("SELECT value FROM secrets WHERE name = 'access_token_key'")
    assert not [text for text in shown[:-1] if repr(signing) in text or signing.hex() in text]


CHANGES: dict[str, Callable[[Office], Any]] = {
    "disabled": lambda desk: desk.accounts.set_active(desk.operator, "ann", False),
    "role": lambda desk: desk.accounts.set_role(desk.operator, "ann", Role.ADMIN),
    "key": lambda desk: desk.accounts.create_key(desk.operator, "new", ALL_SCOPES, user="ann"),
    "key revoked": lambda desk: desk.accounts.revoke_key(desk.operator, "first", user="ann"),
    "removed": lambda desk: desk.accounts.remove_user(desk.operator, "ann", keep_jobs=True),
    "revoked": lambda desk: desk.accounts.revoke_everything(desk.operator),
}


@pytest.mark.parametrize("what", CHANGES)
async def test_a_change_and_its_event_are_one(desk: Office, what: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """If the event cannot be stored, nothing has changed."""
    who = await desk.user("ann")
    before = await desk.store.read(_accounts_of)

    def fail(repository: SqlEvents, event: Event) -> Event:
        raise StoreError("no event today")

    with monkeypatch.context() as patched:
        patched.setattr(SqlEvents, "add", fail)
        with pytest.raises(StoreError):
            await CHANGES[what](desk)
    assert await desk.store.read(_accounts_of) == before
    with suppress(TimeoutError):
        async with asyncio.timeout(0):
            await desk.accounts.ended(who)
            raise AssertionError("its access was ended")
    await CHANGES[what](desk)
    assert await desk.store.read(_accounts_of) != before


def _accounts_of(tx: Transaction) -> list[object]:
    users = tx.users.all()
    return [users, [tx.api_keys.of_user(user.id) for user in users]]
