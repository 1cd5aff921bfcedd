"""What is done to accounts, and what it ends."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable, Collection
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import datetime, timedelta, timezone
from pathlib import Path
from uuid import uuid4

import pytest

from oddaemon.app.system_clock import SystemClock
from oddaemon.domain.credentials import NewKey, Tokens
from oddaemon.domain.errors import (
    AlreadyExists,
    Conflict,
    InvalidArgument,
    LimitExceeded,
    LoginThrottled,
    NotAllowed,
    NotFound,
    OpenDebridError,
    StoreUnavailable,
    Unauthenticated,
)
from oddaemon.domain.job import JobState
from oddaemon.domain.link import Link
from oddaemon.domain.types import Bytes, EntryId, LinkId, Seconds, UserId
from oddaemon.domain.user import ALL_SCOPES, Principal, Proof, Role, Scope, UserLimits
from oddaemon.ports.store import Transaction
from oddaemon.services import api_keys, passwords
from oddaemon.services.account_base import LOOK_SECONDS, AccountPolicy
from oddaemon.services.accounts import Accounts
from oddaemon.services.throttle import FORGOTTEN_AFTER, FREE, Counted
from oddaemon.services.users import ChangedUser
from oddaemon.testing.store_samples import a_job, a_link, an_entry
from tests.support.accounts import OWN_UID, PASSWORD, Office, built_accounts, office
from tests.support.core import house
from tests.support.wait import until

HOME = "192.0.2.7"
HER_UID = 1042


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Office]:
    async with office(tmp_path) as built:
        yield built


async def refused(call: Awaitable[object], error: type[OpenDebridError]) -> OpenDebridError:
    with pytest.raises(error) as caught:
        await call
    return caught.value


@dataclass
class Ways:
    """Every way in for one user, and a link of hers."""

    tokens: Tokens
    key: NewKey
    second: NewKey
    link: Link
    invitation: str = ""

    async def open(self, desk: Office) -> list[str]:
        """Those that work."""
        found = []
        calls: dict[str, Callable[[], Awaitable[object]]] = {
            "access token": lambda: desk.accounts.by_access_token(self.tokens.access_token),
            "key": lambda: desk.accounts.by_api_key(self.key.secret),
            "second key": lambda: desk.accounts.by_api_key(self.second.secret),
        }
        for name, call in calls.items():
            try:
                await call()
            except Unauthenticated:
                continue
            found.append(name)
        stored = await desk.store.read(lambda tx: tx.links.get(self.link.id))
        if stored is not None and stored.revoked_at is None:
            assert self.link.id not in desk.revoked
            found.append("link")
        else:
            assert self.link.id in desk.revoked or desk.rekeyed, "the file servers were not told"
        return found


EVERYTHING = ["access token", "key", "second key", "link"]


async def ways(desk: Office, name: str = "ann", role: Role = Role.USER) -> Ways:
    accounts = desk.accounts
    user = await accounts.add_user(desk.operator, name, role=role, password=PASSWORD)
    key, second = [await accounts.create_key(desk.operator, each, ALL_SCOPES, user=name) for each in ("one", "two")]

    def link(tx: Transaction) -> Link:
        job = tx.jobs.insert(a_job(tx, user))
        made = a_link(job, created_at=desk.clock.now(), expires_at=desk.clock.now() + timedelta(days=1))
        tx.links.insert(made)
        return made

    made = await desk.store.write(link)
    return Ways(await accounts.login(name, PASSWORD, address=HOME), key, second, made)


# what ends access

ENDINGS: dict[str, tuple[Callable[[Office, Principal], Awaitable[object]], list[str]]] = {
    "disabled": (lambda desk, _: desk.accounts.set_active(desk.operator, "ann", False), []),
    "role": (lambda desk, _: desk.accounts.set_role(desk.operator, "ann", Role.ADMIN), []),
    "password by an admin": (lambda desk, _: desk.accounts.set_password(desk.operator, "ann", "another one"), []),
    "no password": (lambda desk, _: desk.accounts.set_password(desk.operator, "ann", None), []),
    "her own password": (lambda desk, ann: desk.accounts.set_own_password(ann, PASSWORD, "another one"), []),
    "removed": (lambda desk, _: desk.accounts.remove_user(desk.operator, "ann", keep_jobs=False), []),
    "removed, jobs kept": (lambda desk, _: desk.accounts.remove_user(desk.operator, "ann", keep_jobs=True), []),
    "revoked by an admin": (lambda desk, _: desk.accounts.revoke_everything(desk.operator, "ann"), []),
    "revoked by herself": (lambda desk, ann: desk.accounts.revoke_everything(ann, "ann"), []),
    "everybody's revoked": (lambda desk, _: desk.accounts.revoke_everything(desk.operator), []),
    "key revoked": (lambda desk, ann: desk.accounts.revoke_key(ann, "one"), ["access token", "second key"]),
    "key rotated": (lambda desk, ann: desk.accounts.rotate_key(ann, "one"), ["access token", "second key"]),
    "secret rotated": (lambda desk, _: desk.accounts.rotate_secret(desk.operator), ["key", "second key"]),
    "limits": (lambda desk, _: desk.accounts.set_limits(desk.operator, "ann", UserLimits(jobs=1)), EVERYTHING),
    "enabled": (lambda desk, _: desk.accounts.set_active(desk.operator, "ann", True), EVERYTHING),
    "the same role": (lambda desk, _: desk.accounts.set_role(desk.operator, "ann", Role.USER), EVERYTHING),
    "an admin logged in": (lambda desk, _: desk.accounts.by_uid(OWN_UID), EVERYTHING),
}


@pytest.mark.parametrize("what", ENDINGS)
async def test_what_ends_access_and_whose(desk: Office, what: str) -> None:
    """Also of a caller that is in the middle of something, and not of anybody else."""
    hers, his = await ways(desk), await ways(desk, "bob")
    for found in (hers, his):
        assert await found.open(desk) == EVERYTHING
    ann = await desk.accounts.by_access_token(hers.tokens.access_token)
    stream = asyncio.ensure_future(desk.accounts.ended(ann))
    await desk.store.read(lambda tx: None)
    call, left = ENDINGS[what]
    told = await call(desk, ann)
    if isinstance(told, ChangedUser) and not left:
        assert (told.ended.sessions, told.ended.keys, told.ended.links) == (1, 2, (hers.link.id,))
    assert await hers.open(desk) == left
    others = left if what == "secret rotated" else [] if what == "everybody's revoked" else EVERYTHING
    assert await his.open(desk) == others
    if left in ([], ["access token", "second key"]):
        async with asyncio.timeout(20):
            await stream
        # what she was let in for before makes nothing any more
        await refused(desk.accounts.create_key(ann, "late", ALL_SCOPES), Unauthenticated)
        by_uid = replace(ann, proof=Proof.PEER_UID)
        await refused(desk.accounts.set_own_password(by_uid, "", "a late one"), OpenDebridError)
    else:
        await desk.store.read(lambda tx: None)
        assert not stream.done()
        stream.cancel()
        await asyncio.gather(stream, return_exceptions=True)


async def test_what_was_dead_stays_dead_when_a_user_is_enabled_again(desk: Office) -> None:
    hers = await ways(desk)
    await desk.accounts.set_active(desk.operator, "ann", False)
    await refused(desk.accounts.login("ann", PASSWORD, address=HOME), Unauthenticated)
    await refused(desk.accounts.refresh(hers.tokens.refresh_token), Unauthenticated)
    await desk.accounts.set_active(desk.operator, "ann", True)
    assert await hers.open(desk) == []
    await refused(desk.accounts.refresh(hers.tokens.refresh_token), Unauthenticated)
    await desk.accounts.login("ann", PASSWORD, address=HOME)


ENDED_MEANWHILE: dict[str, Callable[[Office], Awaitable[object]]] = {
    "password": lambda desk: desk.accounts.set_password(desk.operator, "ann", "another one"),
    "disabled": lambda desk: desk.accounts.set_active(desk.operator, "ann", False),
    "disabled and enabled": lambda desk: _off_and_on(desk),
    "removed": lambda desk: desk.accounts.remove_user(desk.operator, "ann", keep_jobs=True),
}


async def _off_and_on(desk: Office) -> None:
    for active in (False, True):
        await desk.accounts.set_active(desk.operator, "ann", active)


@pytest.mark.parametrize("what", ENDED_MEANWHILE)
async def test_a_login_that_was_under_way_does_not_get_in(desk: Office, what: str) -> None:
    """The password was right when it was looked at, and is not any more when the session would begin."""
    await desk.user("ann")
    matches = desk.accounts.passwords.matches

    async def late(password: str, hashed: str | None) -> bool:
        right = await matches(password, hashed)
        assert right
        await ENDED_MEANWHILE[what](desk)
        return right

    desk.accounts.passwords.matches = late  # type: ignore[method-assign]
    await refused(desk.accounts.login("ann", PASSWORD, address=HOME), Unauthenticated)
    assert [event.type for event in desk.events if event.type.startswith("login")] == ["login.failed"]


async def test_a_store_that_is_away_has_not_ended_anybodys_access(desk: Office) -> None:
    ann = await desk.user("ann")
    read, asked = desk.store.read, asyncio.Event()

    async def away(work: object) -> object:
        asked.set()
        raise StoreUnavailable

    desk.store.read = away  # type: ignore[method-assign, assignment]
    stream = asyncio.ensure_future(desk.accounts.ended(ann))
    async with asyncio.timeout(20):
        await asked.wait()
    desk.store.read = read  # type: ignore[method-assign]
    await asyncio.sleep(0)
    assert not stream.done()
    await desk.accounts.set_active(desk.operator, "ann", False)
    async with asyncio.timeout(20):
        await stream


async def test_a_caller_that_goes_away_does_not_keep_the_file_servers_from_being_told(desk: Office) -> None:
    hers = await ways(desk)
    told = asyncio.Event()
    go_on = asyncio.Event()

    async def slow(links: Collection[LinkId]) -> None:
        told.set()
        await go_on.wait()
        desk.revoked.extend(links)

    desk.accounts.revoke = slow
    call = asyncio.ensure_future(desk.accounts.set_active(desk.operator, "ann", False))
    async with asyncio.timeout(20):
        await told.wait()
    call.cancel()
    await asyncio.gather(call, return_exceptions=True)
    go_on.set()
    async with asyncio.timeout(20):
        while hers.link.id not in desk.revoked:
            await asyncio.sleep(0)
    assert await hers.open(desk) == []


async def test_a_logout_and_an_expired_key_end_their_streams_alone(desk: Office) -> None:
    hers = await ways(desk)
    by_token = await desk.accounts.by_access_token(hers.tokens.access_token)
    by_key = await desk.accounts.by_api_key(hers.key.secret)
    streams = [asyncio.ensure_future(desk.accounts.ended(who)) for who in (by_token, by_key)]
    await desk.store.read(lambda tx: None)
    await desk.accounts.logout(by_token)
    async with asyncio.timeout(20):
        await streams[0]
    assert not streams[1].done()
    streams[1].cancel()
    soon = await desk.accounts.create_key(
        desk.operator, "soon", [Scope.READ], desk.clock.now() + timedelta(seconds=5), user="ann"
    )
    who = await desk.accounts.by_api_key(soon.secret)
    await desk.clock.advance(5)
    async with asyncio.timeout(20):
        await desk.accounts.ended(who)


# API keys


async def test_a_key_opens_what_its_scopes_say_until_it_expires(desk: Office) -> None:
    await desk.user("ann")
    expiry = desk.clock.now() + timedelta(days=1)
    made = await desk.accounts.create_key(desk.operator, "tv", [Scope.READ], expiry, user="ann")
    only_read = frozenset({Scope.READ})
    assert (made.key.name, made.key.expires_at, made.key.scopes) == ("tv", expiry, only_read)
    who = await desk.accounts.by_api_key(made.secret)
    assert (who.username, who.scopes, who.proof) == ("ann", only_read, Proof.API_KEY)
    assert who.credential == made.key.id
    await desk.clock.advance(86_399)
    await desk.accounts.by_api_key(made.secret)
    await desk.clock.advance(1)
    error = await refused(desk.accounts.by_api_key(made.secret), Unauthenticated)
    assert "expired" in str(error)
    await refused(desk.accounts.rotate_key(desk.operator, "tv", user="ann"), InvalidArgument)
    again = await desk.accounts.rotate_key(desk.operator, "tv", expires_at=expiry + timedelta(days=1), user="ann")
    assert again.key.id == made.key.id
    await desk.accounts.by_api_key(again.secret)
    await refused(desk.accounts.by_api_key(made.secret), Unauthenticated)


async def test_when_a_key_and_its_user_were_last_used_is_told(desk: Office) -> None:
    hers = await ways(desk)
    await desk.clock.advance(100)
    await desk.accounts.by_api_key(hers.second.secret)
    ann = await desk.accounts.user(desk.operator, "ann")
    assert ann.last_seen_at == desk.clock.now()
    one, two = await desk.accounts.list_keys(desk.operator, "ann")
    assert (one.name, one.last_used_at, two.name, two.last_used_at) == ("one", None, "two", desk.clock.now())


async def test_a_wrong_key_tells_nothing(desk: Office) -> None:
    hers = await ways(desk)
    secret = hers.key.secret
    other = hers.second.secret
    guesses = [secret[:-1] + ("A" if secret[-1] != "A" else "B"), secret[:37] + other[37:], secret.replace("_", "-")]
    guesses += ["", "odk_", "x" * 100_000, "odk_" + "0" * 32 + secret[36:], hers.tokens.refresh_token, "é" * 80]
    for guess in guesses:
        await refused(desk.accounts.by_api_key(guess), Unauthenticated)
    await desk.accounts.by_api_key(secret)


async def test_keys_are_their_owners_and_an_admins(desk: Office) -> None:
    hers, his = await ways(desk), await ways(desk, "bob")
    ann = await desk.accounts.by_api_key(hers.key.secret)
    for text in ("three", str(his.key.key.id), his.key.key.id.hex, "x" * 10_000, "\udc80"):
        mine = await refused(desk.accounts.revoke_key(ann, text), NotFound)
        assert str(mine) == f"there is no API key {text[:80]!r}"
    for call in (
        desk.accounts.list_keys(ann, "bob"), desk.accounts.revoke_key(ann, "one", user="bob"),
        desk.accounts.rotate_key(ann, "one", user="bob"), desk.accounts.create_key(ann, "x", ALL_SCOPES, user="bob"),
        desk.accounts.list_keys(ann, "nobody"),
    ):  # fmt: skip
        assert "there is no user" in str(await refused(call, NotFound))
    assert await his.open(desk) == EVERYTHING
    assert [key.name for key in await desk.accounts.list_keys(ann)] == ["one", "two"]
    # whoever may end it is told whose it is
    assert (await refused(desk.accounts.rotate_key(desk.operator, "one"), NotFound)).hint.endswith("--user ann")
    await desk.accounts.revoke_key(desk.operator, str(his.key.key.id))
    await refused(desk.accounts.by_api_key(his.key.secret), Unauthenticated)


async def test_a_key_that_cannot_be_made(desk: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    assert api_keys.MOST_KEYS == 100
    monkeypatch.setattr(api_keys, "MOST_KEYS", 4)
    ann = await desk.user("ann")
    for name, scopes in [("", ALL_SCOPES), ("  ", ALL_SCOPES), ("x" * 65, ALL_SCOPES), ("a\nb", ALL_SCOPES), ("a", [])]:
        await refused(desk.accounts.create_key(ann, name, scopes), InvalidArgument)
    await refused(desk.accounts.create_key(ann, "late", ALL_SCOPES, desk.clock.now()), InvalidArgument)
    await refused(desk.accounts.create_key(ann, "first", ALL_SCOPES), AlreadyExists)
    for scopes in ([Scope.JOBS], [Scope.READ]):
        await refused(desk.accounts.create_key(replace(ann, scopes=frozenset(scopes)), "more", ALL_SCOPES), NotAllowed)
    for number in range(3):
        await desk.accounts.create_key(ann, str(number), [Scope.READ])
    await refused(desk.accounts.create_key(ann, "too many", [Scope.READ]), LimitExceeded)


# users


async def test_users_are_for_admins_to_see_and_make(desk: Office) -> None:
    ann, bob = await desk.user("ann"), await desk.user("bob")
    assert [user.username for user in await desk.accounts.users(desk.operator)] == ["admin", "ann", "bob"]
    assert (await desk.accounts.user(ann, "ann")).id == ann.user_id
    assert (await desk.accounts.user(ann, str(ann.user_id))).username == "ann"
    told = {str(await refused(desk.accounts.user(ann, name), NotFound)).replace(repr(name), "X")
            for name in ("bob", "nobody", str(bob.user_id), "admin")}  # fmt: skip
    assert told == {"there is no user X"}
    accounts = desk.accounts
    for call in (
        accounts.users(ann), accounts.add_user(ann, "eve"), accounts.set_password(ann, "ann", PASSWORD),
        accounts.set_role(ann, "ann", Role.ADMIN), accounts.set_active(ann, "bob", False),
        accounts.remove_user(ann, "bob", keep_jobs=False), accounts.link_uid(ann, "ann", HER_UID),
        accounts.set_limits(ann, "ann", UserLimits()), accounts.invite(ann, ttl=Seconds(3600)),
        accounts.revoke_everything(ann), accounts.rotate_secret(ann),
    ):  # fmt: skip
        await refused(call, NotAllowed)
    lesser = replace(desk.operator, scopes=frozenset({Scope.JOBS}))
    await refused(accounts.set_role(lesser, "ann", Role.ADMIN), NotAllowed)
    assert [user.role for user in await accounts.users(desk.operator)] == [Role.ADMIN, Role.USER, Role.USER]


async def test_names_and_addresses_are_taken_once(desk: Office) -> None:
    await desk.accounts.add_user(desk.operator, "ann", email="Ann@Example.test")
    assert (await desk.accounts.user(desk.operator, "ann")).email == "ann@example.test"
    for name, email in [("ann", None), ("Ann", None), ("ADMIN", None), ("bob", "ann@example.TEST")]:
        await refused(desk.accounts.add_user(desk.operator, name, email=email), AlreadyExists)
    for name, email in [("a b", None), ("bob", "no address"), ("bob", "a b@c"), ("bob", "@"), ("bob", "a@\udc80")]:
        await refused(desk.accounts.add_user(desk.operator, name, email=email), InvalidArgument)
    assert len(await desk.accounts.users(desk.operator)) == 2


async def test_limits_are_kept_and_checked(desk: Office) -> None:
    await desk.user("ann")
    limits = UserLimits(running=2, storage=Bytes(2**40), requests_per_minute=0)
    assert (await desk.accounts.set_limits(desk.operator, "ann", limits)).limits == limits
    for wrong in (UserLimits(jobs=-1), UserLimits(storage=Bytes(2**63))):
        await refused(desk.accounts.set_limits(desk.operator, "ann", wrong), InvalidArgument)
    assert (await desk.accounts.user(desk.operator, "ann")).limits == limits
    await refused(desk.accounts.set_limits(desk.operator, "nobody", limits), NotFound)


async def test_her_own_password_needs_the_old_one(desk: Office) -> None:
    hers = await ways(desk)
    ann = await desk.accounts.by_access_token(hers.tokens.access_token)
    for old in ("wrong", "", PASSWORD.upper()):
        await refused(desk.accounts.set_own_password(ann, old, "a new password"), NotAllowed)
    await refused(desk.accounts.set_own_password(ann, PASSWORD, "short"), InvalidArgument)
    assert await hers.open(desk) == EVERYTHING
    for _ in range(FREE[Counted.ACCOUNT]):
        await refused(desk.accounts.set_own_password(ann, "guess", "a new password"), NotAllowed)
    await refused(desk.accounts.set_own_password(ann, PASSWORD, "a new password"), LoginThrottled)


# removing


async def test_a_removed_users_jobs_go_or_are_the_admins(desk: Office) -> None:
    for keep in (False, True):
        hers, his = await ways(desk), await ways(desk, "bob")
        owner = hers.link.user_id

        def share(tx: Transaction, ann: Ways = hers, bob: Ways = his) -> None:
            """One entry that both claim, and one of her own that is complete."""
            shared, own = an_entry(), an_entry(complete_at=desk.clock.now())
            for entry in (shared, own):
                tx.cache.insert_entry(entry)
            for link, entry in ((ann.link, shared), (bob.link, shared)):
                job = tx.jobs.get(link.job_id)
                assert job is not None
                tx.jobs.update(replace(job, entry_id=entry.id))
            user = tx.users.get(ann.link.user_id)
            assert user is not None
            tx.jobs.insert(a_job(tx, user, entry_id=own.id))

        await desk.store.write(share)
        before = len(await desk.store.read(lambda tx: tx.jobs.by_numbers(range(100))))
        assert await desk.accounts.remove_user(desk.operator, "ann", keep_jobs=keep) == 2
        await refused(desk.accounts.user(desk.operator, "ann"), NotFound)
        jobs = await desk.store.read(lambda tx: tx.jobs.by_numbers(range(100)))
        assert len(jobs) == before - (0 if keep else 2)
        assert not [job for job in jobs if job.user_id == owner]
        assert len([job for job in jobs if job.user_id == desk.operator.user_id]) == (2 if keep else 0)
        assert await his.open(desk) == EVERYTHING
        removed = [event for event in desk.events if event.type == "user.removed"][-1]
        assert (removed.user_id, removed.data["kept"], removed.data["jobs"]) == (owner, keep, 2)
        await desk.accounts.remove_user(desk.operator, "bob", keep_jobs=False)


async def test_a_removed_users_files_go_unless_another_claims_them(tmp_path: Path) -> None:
    async with house(tmp_path) as home:
        accounts = built_accounts(home.store, SystemClock(), wake=home.core.reconciler.wake)
        try:
            ann, bob = await home.user("ann"), await home.user("bob")
            shared = f"http://origin.example/{uuid4()}"
            made = [await home.add(source, who) for who, source in
                    [(ann, shared), (bob, shared), (ann, f"http://origin.example/{uuid4()}")]]  # fmt: skip
            for view in made:
                await home.until_state(view, JobState.COMPLETED)
            assert len(home.directories()) == 2
            assert await accounts.remove_user(home.admin, "ann", keep_jobs=False) == 2
            await until(lambda: len(home.directories()) == 1, what="only what bob claims to be left")
            [replica] = await home.replicas()
            assert str(replica.id) in home.directories()
            await accounts.remove_user(home.admin, "bob", keep_jobs=True)
            assert await home.replicas() == [replica]
            kept = await home.core.jobs.get(home.admin, str(made[1].job.number))
            assert (kept.job.state, kept.user) == (JobState.COMPLETED, "admin")
        finally:
            accounts.passwords.close()


async def test_nothing_of_a_removed_user_is_left(desk: Office, tmp_path: Path) -> None:
    """But what tells that it was there: its events, and its links until they expire, for the file servers to refuse."""
    hers = await ways(desk)
    user_id = hers.link.user_id
    await desk.store.write(lambda tx: tx.served.add(1, {user_id: Bytes(7)}))
    for left_behind in (True, False):
        with closing(sqlite3.connect(tmp_path / "store.db")) as connection:
            found = {
                table
                for (table,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
                for row in connection.execute(f'SELECT * FROM "{table}"')
                if user_id.hex in [str(value).replace("-", "") for value in row]
            }
        traces = {"events", "download_links"}
        assert found == (traces | {"users", "jobs", "sessions", "api_keys", "served_bytes"} if left_behind else traces)
        if left_behind:
            await desk.accounts.remove_user(desk.operator, "ann", keep_jobs=False)


async def test_private_content_goes_with_its_user(desk: Office) -> None:
    """Also what was kept without a job: nobody else may ever have it."""
    for keep in (False, True):
        hers = await ways(desk)

        def kept(tx: Transaction, owner: UserId = hers.link.user_id) -> list[EntryId]:
            entries = [
                an_entry(owner=owner, kept=True), an_entry(owner=owner, pinned=True), an_entry(kept=True),
                an_entry(owner=UserId(uuid4()), kept=True),
            ]  # fmt: skip
            for entry in entries:
                tx.cache.insert_entry(entry)
            return [entry.id for entry in entries]

        entries = await desk.store.write(kept)
        await desk.accounts.remove_user(desk.operator, "ann", keep_jobs=keep)
        left = await desk.store.read(lambda tx, ids=entries: tx.cache.entries(ids))  # type: ignore[misc]
        assert set(left) == set(entries[2:])


async def test_an_admin_does_not_remove_itself(desk: Office) -> None:
    hers = await ways(desk, "ann", Role.ADMIN)
    ann = await desk.accounts.by_api_key(hers.key.secret)
    await refused(desk.accounts.remove_user(ann, "ann", keep_jobs=False), Conflict)
    assert await hers.open(desk) == EVERYTHING


# uids


async def test_a_linked_uid_is_that_account(desk: Office) -> None:
    await desk.user("ann")
    error = await refused(desk.accounts.by_uid(HER_UID), NotAllowed)
    assert str(HER_UID) in str(error)
    await desk.accounts.link_uid(desk.operator, "ann", HER_UID)
    who = await desk.accounts.by_uid(HER_UID)
    assert (who.username, who.role, who.proof, who.uid) == ("ann", Role.USER, Proof.PEER_UID, HER_UID)
    # no password is needed there, and none can be guessed there
    await desk.accounts.set_own_password(who, "", "a new password")
    await desk.accounts.login("ann", "a new password", address=HOME)
    await desk.accounts.set_active(desk.operator, "ann", False)
    await refused(desk.accounts.by_uid(HER_UID), NotAllowed)
    await desk.accounts.set_active(desk.operator, "ann", True)
    await desk.accounts.link_uid(desk.operator, "ann", None)
    await refused(desk.accounts.by_uid(HER_UID), NotAllowed)


async def test_uids_that_cannot_be_linked(desk: Office) -> None:
    await desk.user("ann")
    await desk.user("bob")
    await desk.accounts.link_uid(desk.operator, "ann", HER_UID)
    for uid in (0, OWN_UID, 65534, -1, 2**32 - 1, 2**70):
        await refused(desk.accounts.link_uid(desk.operator, "bob", uid), InvalidArgument)
    await refused(desk.accounts.link_uid(desk.operator, "bob", HER_UID), AlreadyExists)
    await desk.accounts.link_uid(desk.operator, "ann", HER_UID)
    await refused(desk.accounts.by_uid(65534), Unauthenticated)


async def test_a_uid_gets_an_account_of_its_own_if_the_setting_says_so(desk: Office) -> None:
    await desk.user("ann")
    desk.accounts.uid_name = {1: "Ann", 2: "eve", 3: "-odd name", 4: None, 5: "uid4"}.get
    await refused(desk.accounts.by_uid(2), NotAllowed)
    desk.policy = AccountPolicy(unix_autoprovision=True)
    got = [await desk.accounts.by_uid(uid) for uid in (1, 2, 3, 4, 2)]
    assert [who.username for who in got] == ["uid1", "eve", "uid3", "uid4", "eve"]
    assert {who.role for who in got} == {Role.USER}
    assert got[1].user_id == got[4].user_id
    assert len({who.user_id for who in await asyncio.gather(*(desk.accounts.by_uid(7) for _ in range(9)))}) == 1
    # never one that is there already, not even by the name that another would get
    assert (await desk.accounts.by_uid(5)).username == "uid5"
    await desk.accounts.add_user(desk.operator, "uid6")
    await refused(desk.accounts.by_uid(6), NotAllowed)
    await refused(desk.accounts.by_uid(65534), Unauthenticated)


# registration


async def test_registration_is_closed_open_or_by_invitation(desk: Office) -> None:
    accounts = desk.accounts

    async def register(name: str, invite: str | None = None) -> Principal:
        user = await accounts.register(name, PASSWORD, email=None, invite=invite, address=HOME)
        assert user.username == name
        tokens = await accounts.login(name, PASSWORD, address=HOME)
        return await accounts.by_access_token(tokens.access_token)

    for name in ("ann", "admin"):  # and it does not tell who is there
        assert str(await refused(register(name), NotAllowed)) == "registration is closed"
    invitation = await accounts.invite(desk.operator, ttl=Seconds(3600))
    assert (await register("ann", invitation)).role is Role.USER
    for wrong in (invitation, invitation[:-1] + "!", "", "odi_x", "\udc80" * 40):
        await refused(register("bob", wrong), NotAllowed)
    for_admin = await accounts.invite(desk.operator, role=Role.ADMIN, ttl=Seconds(3600))
    assert (await register("bob", for_admin)).is_admin
    late = await accounts.invite(desk.operator, ttl=Seconds(60))
    await desk.clock.advance(60)
    await refused(register("eve", late), NotAllowed)
    desk.policy = AccountPolicy(registration_open=True)
    assert (await register("eve")).role is Role.USER
    await refused(register("Eve"), AlreadyExists)
    for ttl in (0, 59, 31 * 86_400):
        await refused(accounts.invite(desk.operator, ttl=Seconds(ttl)), InvalidArgument)


async def test_an_invitation_makes_one_account_and_survives_a_mistake(desk: Office) -> None:
    invitation = await desk.accounts.invite(desk.operator, ttl=Seconds(3600))
    for name, password in (("admin", PASSWORD), ("a b", PASSWORD), ("ann", "short")):
        call = desk.accounts.register(name, password, invite=invitation, address=HOME)
        await refused(call, AlreadyExists if name == "admin" else InvalidArgument)
    answers = await asyncio.gather(
        *(desk.accounts.register(f"ann{number}", PASSWORD, invite=invitation, address=HOME) for number in range(5)),
        return_exceptions=True,
    )
    assert len([answer for answer in answers if isinstance(answer, NotAllowed)]) == 4
    assert len(await desk.accounts.users(desk.operator)) == 2


async def test_an_invitation_dies_with_the_access_of_who_made_it(desk: Office) -> None:
    hers = await ways(desk, "ann", Role.ADMIN)
    invitation = await desk.accounts.invite(await desk.accounts.by_api_key(hers.key.secret), ttl=Seconds(3600))
    await desk.accounts.set_role(desk.operator, "ann", Role.USER)
    await refused(desk.accounts.register("bob", PASSWORD, invite=invitation, address=HOME), NotAllowed)


async def test_accounts_are_not_made_without_end_from_one_address(desk: Office) -> None:
    desk.policy = AccountPolicy(registration_open=True)
    for number in range(FREE[Counted.REGISTRATION]):
        await desk.accounts.register(f"ann{number}", PASSWORD, address=HOME)
    await refused(desk.accounts.register("more", PASSWORD, address=HOME), LoginThrottled)
    await desk.accounts.register("more", PASSWORD, address="203.0.113.9")


# throttling


async def test_a_restart_forgives_no_failed_login(desk: Office) -> None:
    await ways(desk)
    await ways(desk, "bob")
    await ways(desk, "eve")
    mistakes = {"ann": FREE[Counted.ACCOUNT], "bob": FREE[Counted.ACCOUNT] - 1, "eve": FREE[Counted.ACCOUNT] - 1}
    for name, count in mistakes.items():
        for _ in range(count):
            await refused(desk.accounts.login(name, "guess", address=HOME), Unauthenticated)
    await desk.accounts.login("bob", PASSWORD, address=HOME)

    async def restarted() -> Accounts:
        desk.accounts.passwords.close()
        desk.accounts = built_accounts(desk.store, desk.clock)
        await desk.accounts.load()
        return desk.accounts

    accounts = await restarted()
    await refused(accounts.login("ann", PASSWORD, address=HOME), LoginThrottled)
    # who was let in begins anew, who was not has one mistake left
    for name, left in (("bob", 2), ("eve", 1)):
        for _ in range(left):
            await refused(accounts.login(name, "guess", address=HOME), Unauthenticated)
    await refused(accounts.login("eve", PASSWORD, address=HOME), LoginThrottled)
    await desk.clock.advance(FORGOTTEN_AFTER)
    accounts = await restarted()
    await accounts.login("ann", PASSWORD, address=HOME)


async def test_guessing_is_throttled_for_the_account_and_for_the_address(desk: Office) -> None:
    await desk.user("ann")
    await desk.user("bob")
    for number in range(FREE[Counted.ACCOUNT]):
        await refused(desk.accounts.login("ann", "guess", address=f"198.51.100.{number}"), Unauthenticated)
    error = await refused(desk.accounts.login("ann", PASSWORD, address=HOME), LoginThrottled)
    assert error.details["retry_after"] == 1
    # the same for a name that nobody has
    for _ in range(FREE[Counted.ACCOUNT]):
        await refused(desk.accounts.login("nobody", "guess", address=HOME), Unauthenticated)
    await refused(desk.accounts.login("nobody", "guess", address=HOME), LoginThrottled)
    await desk.accounts.login("bob", PASSWORD, address=HOME)
    await desk.clock.advance(1)
    await desk.accounts.login("ann", PASSWORD, address=HOME)
    for number in range(FREE[Counted.ADDRESS]):
        await refused(desk.accounts.login(f"user{number}", "guess", address="203.0.113.5"), Unauthenticated)
    await refused(desk.accounts.login("bob", PASSWORD, address="203.0.113.5"), LoginThrottled)
    await desk.accounts.login("bob", PASSWORD, address=HOME)


async def test_guesses_at_once_get_no_further_than_in_turn(desk: Office) -> None:
    await desk.user("ann")
    answers = await asyncio.gather(
        *(desk.accounts.login("ann", f"guess {number}", address=f"198.51.100.{number}") for number in range(50)),
        return_exceptions=True,
    )
    tried = [answer for answer in answers if isinstance(answer, Unauthenticated)]
    assert len(tried) == FREE[Counted.ACCOUNT]
    assert len([answer for answer in answers if isinstance(answer, LoginThrottled)]) == 50 - len(tried)


async def test_more_logins_than_there_is_time_for_are_put_off(
    desk: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And are not held against the account."""
    monkeypatch.setattr(passwords, "MAX_WAITING", 3)
    people = [await desk.user(f"user{number}") for number in range(9)]

    async def login(who: Principal, number: int) -> object:
        return await desk.accounts.login(who.username, PASSWORD, address=f"198.51.100.{number}")

    answers = await asyncio.gather(*(login(who, number) for number, who in enumerate(people)), return_exceptions=True)
    put_off = [number for number, answer in enumerate(answers) if isinstance(answer, LoginThrottled)]
    assert all(isinstance(answer, Tokens | LoginThrottled) for answer in answers)
    assert put_off
    for number in put_off:
        for _ in range(FREE[Counted.ACCOUNT]):
            await login(people[number], number)


# secrets


async def test_a_secret_that_the_settings_give_is_used_and_not_rotated(tmp_path: Path) -> None:
    async with office(tmp_path, fixed_key=b"0123456789abcdef" * 2) as desk:
        hers = await ways(desk)
        assert not await desk.accounts.rotate_secret(desk.operator)
        # of links there is a secret of our own
        assert await hers.open(desk) == [way for way in EVERYTHING if way != "link"]


async def test_a_rotated_secret_leaves_sessions_to_be_refreshed(desk: Office) -> None:
    hers = await ways(desk)
    await desk.accounts.rotate_secret(desk.operator)
    tokens = await desk.accounts.refresh(hers.tokens.refresh_token)
    await desk.accounts.by_access_token(tokens.access_token)


async def test_two_installations_share_no_secret(tmp_path: Path) -> None:
    found: list[bytes] = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        async with office(tmp_path / name) as desk:
            await ways(desk)
            read = desk.store.read
            found.append(await read(lambda tx: tx.secrets.get_or_create("access_token_key", lambda: b"")))
    assert len({*found}) == 2
    assert {len(key) for key in found} == {32}


async def test_a_stream_ends_with_the_key_that_opened_it(desk: Office) -> None:
    await desk.user("ann")
    made = await desk.accounts.create_key(
        desk.operator, "tv", [Scope.READ], desk.clock.now() + timedelta(seconds=0.2), user="ann"
    )
    who = await desk.accounts.by_api_key(made.secret)
    ended = asyncio.create_task(desk.accounts.ended(who))
    await desk.store.read(lambda tx: None)
    await desk.clock.advance(1)
    async with asyncio.timeout(LOOK_SECONDS / 2):
        await ended


async def test_an_expiry_that_no_clock_reaches_is_refused(desk: Office) -> None:
    ann = await desk.user("ann")
    never = datetime.max.replace(tzinfo=timezone(timedelta(hours=-14)))
    with pytest.raises(InvalidArgument) as caught:
        await desk.accounts.create_key(ann, "tv", [Scope.READ], never)
    assert caught.value.field == "expires_at"
