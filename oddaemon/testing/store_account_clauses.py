"""The clauses of `ports.store_accounts`."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Callable
from datetime import timedelta
from typing import TypeVar
from uuid import uuid4

import pytest

from oddaemon.domain.credentials import ApiKey, Invitation, KeyId, Session
from oddaemon.domain.errors import AlreadyExists, NotFound
from oddaemon.domain.types import Bytes, JobId, UserId
from oddaemon.domain.user import Role, User, UserLimits
from oddaemon.domain.user import Scope as KeyScope
from oddaemon.ports.store import Store, Transaction
from oddaemon.testing.store_samples import LATER, NOW, ODD_TEXT, a_key, a_keyed_add, a_session, a_user, an_invitation

Row = TypeVar("Row")


def each(insert: Callable[[Row], None], *rows: Row) -> None:
    for row in rows:
        insert(row)


class AccountClauses:
    """Each test gets an empty `store`."""

    async def test_users(self, store: Store) -> None:
        ann = a_user("ann", role=Role.ADMIN, email="a@example.test", password="$2b$…", is_active=False)  # noqa: S106
        await store.write(lambda tx: tx.users.insert(ann))
        assert await store.read(lambda tx: tx.users.by_name("ann")) == ann
        assert await store.read(lambda tx: tx.users.by_name("Ann")) is None
        with pytest.raises(AlreadyExists):
            await store.write(lambda tx: tx.users.insert(a_user("ann")))
        changed = dataclasses.replace(ann, role=Role.USER, is_active=True, email=None)
        await store.write(lambda tx: tx.users.update(changed))
        assert await store.read(lambda tx: tx.users.get(ann.id)) == changed
        assert await store.read(lambda tx: tx.users.all()) == [changed]
        with pytest.raises(NotFound):
            await store.write(lambda tx: tx.users.update(a_user("bob")))

    async def test_what_links_give_is_counted_for_each_user_and_day(self, store: Store) -> None:
        ann, bob = a_user(), a_user()
        await store.write(lambda tx: each(tx.users.insert, ann, bob))
        await store.write(lambda tx: tx.served.add(7, {ann.id: Bytes(2**40), bob.id: Bytes(5)}))
        await store.write(lambda tx: tx.served.add(7, {ann.id: Bytes(3)}))
        await store.write(lambda tx: tx.served.add(7, {}))
        await store.write(lambda tx: tx.served.add(8, {bob.id: Bytes(1)}))
        assert await store.read(lambda tx: tx.served.on(7)) == {ann.id: 2**40 + 3, bob.id: 5}
        assert await store.read(lambda tx: tx.served.on(8)) == {bob.id: 1}
        await store.write(lambda tx: tx.users.delete(bob.id))
        assert await store.read(lambda tx: (tx.served.on(7), tx.served.on(8))) == ({ann.id: 2**40 + 3}, {})
        assert await store.write(lambda tx: tx.served.trim(7)) == 0
        assert await store.write(lambda tx: tx.served.trim(8)) == 1
        assert await store.read(lambda tx: tx.served.on(7)) == {}

    async def test_what_is_set_of_a_user_is_kept(self, store: Store) -> None:
        limits = UserLimits(running=0, jobs=7, storage=Bytes(2**50), served_per_day=None, requests_per_minute=9)
        ann = a_user(limits=limits, unix_uid=4_000_000_000, last_seen_at=NOW, generation=3)
        bob = a_user()
        await store.write(lambda tx: each(tx.users.insert, ann, bob))
        assert await store.read(lambda tx: tx.users.get(ann.id)) == ann
        assert await store.read(lambda tx: tx.users.by_uid(4_000_000_000)) == ann
        assert await store.read(lambda tx: tx.users.by_uid(1)) is None
        for twin in (a_user(unix_uid=4_000_000_000), a_user(username=bob.username)):
            with pytest.raises(AlreadyExists):
                await store.write(lambda tx, twin=twin: tx.users.insert(twin))  # type: ignore[misc]
        seen = {ann.id: LATER, bob.id: NOW, UserId(uuid4()): NOW}
        await store.write(lambda tx: tx.users.note_seen(seen))
        # one that was read before it was seen does not undo that
        await store.write(lambda tx: tx.users.update(dataclasses.replace(ann, limits=UserLimits(), unix_uid=None)))
        cleared = dataclasses.replace(ann, limits=UserLimits(), unix_uid=None, last_seen_at=LATER)
        assert await store.read(lambda tx: tx.users.get(ann.id)) == cleared
        assert await store.read(lambda tx: tx.users.get(bob.id)) == dataclasses.replace(bob, last_seen_at=NOW)

    async def test_credentials_go_with_their_user(self, store: Store) -> None:
        def work(tx: Transaction) -> tuple[User, ApiKey, Session, Invitation]:
            user = a_user()
            tx.users.insert(user)
            mine = a_key(user), a_session(user), an_invitation(user)
            tx.api_keys.insert(mine[0])
            tx.sessions.insert(mine[1])
            tx.invitations.insert(mine[2])
            return user, *mine

        user, key, session, invitation = await store.write(work)
        other = await store.write(work)

        def left(tx: Transaction) -> list[object]:
            return [
                tx.users.get(user.id), tx.api_keys.get(key.id), tx.sessions.get(session.id),
                tx.invitations.get(invitation.id),
            ]  # fmt: skip

        assert await store.read(left) == [user, key, session, invitation]
        await store.write(lambda tx: tx.users.delete(user.id))
        assert await store.read(left) == [None] * 4
        assert await store.read(lambda tx: tx.sessions.get(other[2].id)) == other[2]

    async def test_api_keys(self, store: Store) -> None:
        user, other = a_user(), a_user()
        await store.write(lambda tx: each(tx.users.insert, user, other))
        first = a_key(user, name=ODD_TEXT)
        second = a_key(user, created_at=LATER, expires_at=LATER, last_used_at=NOW, scopes=frozenset({KeyScope.READ}))
        foreign = a_key(other, name=first.name)
        await store.write(lambda tx: each(tx.api_keys.insert, second, first, foreign))
        with pytest.raises(AlreadyExists):
            await store.write(lambda tx: tx.api_keys.insert(a_key(user, name=first.name)))
        assert await store.read(lambda tx: tx.api_keys.of_user(user.id)) == [first, second]
        await store.write(lambda tx: tx.api_keys.renew(first.id, "f" * 64, LATER))
        await store.write(lambda tx: tx.api_keys.note_used({first.id: LATER, KeyId(uuid4()): NOW}))
        first = dataclasses.replace(first, digest="f" * 64, expires_at=LATER, last_used_at=LATER)
        assert await store.read(lambda tx: tx.api_keys.get(first.id)) == first
        with pytest.raises(NotFound):
            await store.write(lambda tx: tx.api_keys.renew(KeyId(uuid4()), "f" * 64, None))
        assert await store.write(lambda tx: tx.api_keys.delete(first.id))
        assert not await store.write(lambda tx: tx.api_keys.delete(first.id))
        assert await store.write(lambda tx: tx.api_keys.trim(LATER + timedelta(seconds=1))) == 1
        assert await store.write(lambda tx: tx.api_keys.delete_of(user.id)) == 0
        assert await store.write(lambda tx: tx.api_keys.delete_of(None)) == 1

    async def test_sessions(self, store: Store) -> None:
        user, other = a_user(), a_user()
        await store.write(lambda tx: each(tx.users.insert, user, other))
        mine = [a_session(user), a_session(user, expires_at=LATER + timedelta(hours=1))]
        foreign = a_session(other)
        await store.write(lambda tx: each(tx.sessions.insert, *mine, foreign))
        await store.write(lambda tx: tx.sessions.renew(mine[0].id, "f" * 64, LATER + timedelta(days=1)))
        renewed = dataclasses.replace(mine[0], digest="f" * 64, expires_at=LATER + timedelta(days=1))
        assert await store.read(lambda tx: tx.sessions.get(renewed.id)) == renewed
        listed = await store.read(lambda tx: tx.sessions.of_user(user.id))
        assert [each.id for each in listed] == sorted(each.id for each in mine)
        assert await store.write(lambda tx: tx.sessions.trim(LATER + timedelta(hours=1))) == 1
        assert await store.read(lambda tx: tx.sessions.get(foreign.id)) is None
        with pytest.raises(NotFound):
            await store.write(lambda tx: tx.sessions.renew(foreign.id, "f" * 64, LATER))
        assert await store.write(lambda tx: tx.sessions.delete(renewed.id))
        assert not await store.write(lambda tx: tx.sessions.delete(renewed.id))
        assert await store.write(lambda tx: tx.sessions.delete_of(other.id)) == 0
        assert await store.write(lambda tx: tx.sessions.delete_of(None)) == 1

    async def test_an_invitation_is_taken_once(self, store: Store) -> None:
        user = a_user()
        await store.write(lambda tx: tx.users.insert(user))
        invitation = an_invitation(user, role=Role.ADMIN)
        await store.write(lambda tx: tx.invitations.insert(invitation))
        assert await store.read(lambda tx: tx.invitations.get(invitation.id)) == invitation
        takers = [store.write(lambda tx: tx.invitations.delete(invitation.id)) for _ in range(5)]
        assert sum(await asyncio.gather(*takers)) == 1
        old, new = an_invitation(user), an_invitation(user, expires_at=LATER + timedelta(days=1))
        new = dataclasses.replace(new, created_at=NOW - timedelta(days=1))
        await store.write(lambda tx: each(tx.invitations.insert, old, new))
        assert await store.read(lambda tx: tx.invitations.all()) == [new, old]
        assert await store.write(lambda tx: tx.invitations.trim(LATER + timedelta(seconds=1))) == 1
        assert await store.write(lambda tx: tx.invitations.delete_of(UserId(uuid4()))) == 0
        assert await store.write(lambda tx: tx.invitations.delete_of(user.id)) == 1

    async def test_adds_with_a_key(self, store: Store) -> None:
        user, other = a_user(), a_user()
        await store.write(lambda tx: each(tx.users.insert, user, other))
        added = a_keyed_add(user, job_ids=(JobId(uuid4()), JobId(uuid4())))
        foreign = a_keyed_add(other, key=added.key, created_at=LATER)
        await store.write(lambda tx: each(tx.keyed_adds.put, added, foreign))
        assert await store.read(lambda tx: tx.keyed_adds.get(user.id, added.key)) == added
        answered = dataclasses.replace(added, answer=ODD_TEXT)
        await store.write(lambda tx: tx.keyed_adds.put(answered))
        assert await store.read(lambda tx: tx.keyed_adds.get(user.id, added.key)) == answered
        assert await store.read(lambda tx: tx.keyed_adds.get(user.id, "other")) is None
        assert await store.write(lambda tx: tx.keyed_adds.trim(LATER)) == 1
        assert await store.read(lambda tx: tx.keyed_adds.get(user.id, added.key)) is None
        assert await store.read(lambda tx: tx.keyed_adds.get(other.id, added.key)) == foreign
        await store.write(lambda tx: tx.keyed_adds.delete(other.id, added.key))
        await store.write(lambda tx: tx.keyed_adds.put(foreign))
        await store.write(lambda tx: tx.users.delete(other.id))
        assert await store.read(lambda tx: tx.keyed_adds.get(other.id, added.key)) is None
