"""The clauses of `ports.store` on everything but jobs and content."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any, TypeVar
from uuid import uuid4

import pytest

from oddaemon.domain.cache import Replica
from oddaemon.domain.credentials import ApiKey, Invitation, KeyId, Session
from oddaemon.domain.errors import AlreadyExists, NotFound
from oddaemon.domain.events import JobCreated, JobProgress, JobRemoved, NodeOnline
from oddaemon.domain.job import Job
from oddaemon.domain.link import Link, LinkKind, LinkState
from oddaemon.domain.node import DiskUsage, EngineHealth, NodeSnapshot
from oddaemon.domain.types import (
    Bytes,
    JobId,
    JobNumber,
    LinkId,
    NodeId,
    UserId,
)  # fmt: skip
from oddaemon.domain.user import Role, User, UserLimits
from oddaemon.domain.user import Scope as KeyScope
from oddaemon.ports.store import Material, Store, Transaction
from oddaemon.testing.store_samples import (
    ARIA2,
    LATER,
    NOW,
    ODD_TEXT,
    a_job,
    a_key,
    a_keyed_add,
    a_link,
    a_replica,
    a_session,
    a_user,
    an_entry,
    an_invitation,
)

Row = TypeVar("Row")


def each(insert: Callable[[Row], None], *rows: Row) -> None:
    for row in rows:
        insert(row)


class RowClauses:
    """Each test gets an empty `store`."""

    async def test_material_goes_with_its_owner(self, store: Store) -> None:
        material = Material(torrent=b"\0d4:info\xff", secrets={"cookie": ODD_TEXT})

        def work(tx: Transaction) -> tuple[Job, Replica]:
            user, entry = a_user(), an_entry()
            tx.users.insert(user)
            tx.cache.insert_entry(entry)
            job, replica = tx.jobs.insert(a_job(tx, user)), a_replica(entry)
            tx.cache.insert_replica(replica)
            tx.materials.put_for_job(job.id, Material())
            tx.materials.put_for_job(job.id, material)
            tx.materials.put_for_replica(replica.id, material)
            return job, replica

        job, replica = await store.write(work)
        assert await store.read(lambda tx: tx.materials.of_job(job.id)) == material
        assert await store.read(lambda tx: tx.materials.of_replica(replica.id)) == material
        await store.write(lambda tx: tx.materials.erase_secrets(replica.id))
        assert await store.read(lambda tx: tx.materials.of_replica(replica.id)) == Material(
            torrent=material.torrent, erased=True
        )
        await store.write(lambda tx: tx.materials.drop_of_job(job.id))
        assert await store.read(lambda tx: tx.materials.of_job(job.id)) is None
        await store.write(lambda tx: tx.materials.put_for_job(job.id, material))
        await store.write(lambda tx: tx.jobs.delete(job.id))
        await store.write(lambda tx: tx.cache.delete_replica(replica.id))
        assert await store.read(lambda tx: tx.materials.of_job(job.id)) is None
        assert await store.read(lambda tx: tx.materials.of_replica(replica.id)) is None

    async def test_nothing_is_erased_where_there_was_no_secret(self, store: Store) -> None:
        def work(tx: Transaction) -> Material | None:
            entry = an_entry()
            replica = a_replica(entry)
            tx.cache.insert_entry(entry)
            tx.cache.insert_replica(replica)
            tx.materials.put_for_replica(replica.id, Material(torrent=b"x"))
            tx.materials.erase_secrets(replica.id)
            return tx.materials.of_replica(replica.id)

        assert await store.write(work) == Material(torrent=b"x")

    # users

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

    # links

    async def test_no_more_uses_of_a_link_are_taken_than_there_are(self, store: Store) -> None:
        def work(tx: Transaction) -> list[Link]:
            user = a_user()
            tx.users.insert(user)
            job = tx.jobs.insert(a_job(tx, user))
            links = [a_link(job, max_uses=3, uses_left=3), a_link(job)]
            for link in links:
                tx.links.insert(link)
            return links

        limited, free = await store.write(work)
        takers = [store.write(lambda tx: tx.links.take_use(limited.id)) for _ in range(8)]
        assert sum(await asyncio.gather(*takers)) == 3
        assert not await store.write(lambda tx: tx.links.take_use(free.id))
        assert not await store.write(lambda tx: tx.links.take_use(LinkId(uuid4())))
        left = await store.read(lambda tx: [tx.links.get(link.id) for link in (limited, free)])
        assert left == [dataclasses.replace(limited, uses_left=0), free]

    async def test_links(self, store: Store) -> None:
        def work(tx: Transaction) -> list[Link]:
            user = a_user()
            tx.users.insert(user)
            job = tx.jobs.insert(a_job(tx, user))
            links = [
                a_link(job, kind=LinkKind.ZIP, path="", file_index=0, inline=True),
                a_link(job, created_at=LATER, expires_at=LATER + timedelta(days=1), path=ODD_TEXT),
            ]
            for link in links:
                tx.links.insert(link)
            return links

        one, two = await store.write(work)
        usage = {one.id: (2, Bytes(100)), LinkId(uuid4()): (1, Bytes(1))}
        for _ in range(2):
            await store.write(lambda tx: tx.links.add_usage(usage, NOW))
        one = dataclasses.replace(one, access_count=4, bytes_served=Bytes(200), last_used_at=NOW)

        def check(tx: Transaction) -> None:
            assert tx.links.get(one.id) == one
            assert tx.links.of_job(one.job_id) == [one, two]
            page = tx.links.of_user(one.user_id, now=NOW, offset=0, limit=1)
            assert (list(page.rows), page.total) == ([two], 2)
            assert tx.links.of_user(None, now=NOW, offset=0, limit=10).rows == [two, one]
            assert tx.links.of_user(UserId(uuid4()), now=NOW, offset=0, limit=10).total == 0
            assert tx.links.revoked(NOW) == []
            assert set(tx.links.alive(one.user_id, NOW)) == {one.id, two.id}
            assert tx.links.alive(None, LATER) == [two.id]
            assert tx.links.alive(UserId(uuid4()), NOW) == []

        await store.read(check)
        await store.write(lambda tx: tx.links.revoke([one.id, LinkId(uuid4())], NOW))
        await store.write(lambda tx: tx.links.revoke([one.id], LATER))
        assert await store.read(lambda tx: tx.links.get(one.id)) == dataclasses.replace(one, revoked_at=NOW)
        assert await store.read(lambda tx: tx.links.revoked(NOW)) == [(one.id, LATER)]
        assert await store.read(lambda tx: tx.links.revoked(LATER)) == []
        assert await store.read(lambda tx: tx.links.alive(one.user_id, NOW)) == [two.id]
        assert await store.write(lambda tx: tx.links.trim(LATER + timedelta(seconds=1))) == 1
        assert await store.read(lambda tx: tx.links.of_job(one.job_id)) == [two]

    async def test_a_removed_jobs_links_stay_revoked_until_they_expire(self, store: Store) -> None:
        def work(tx: Transaction) -> Link:
            user = a_user()
            tx.users.insert(user)
            link = a_link(tx.jobs.insert(a_job(tx, user)))
            tx.links.insert(link)
            tx.jobs.delete(link.job_id)
            return link

        link = await store.write(work)
        assert await store.read(lambda tx: tx.links.revoked(NOW)) == [(link.id, LATER)]
        assert await store.read(lambda tx: tx.links.of_job(link.job_id)) == []
        assert (await store.read(lambda tx: tx.links.of_user(None, now=NOW, offset=0, limit=9))).total == 0

    async def test_links_are_found_by_their_state(self, store: Store) -> None:
        def work(tx: Transaction) -> Mapping[LinkState, Link]:
            user = a_user()
            tx.users.insert(user)
            job = tx.jobs.insert(a_job(tx, user))
            links = {
                LinkState.LIVE: a_link(job, max_uses=2, uses_left=1),
                LinkState.USED_UP: a_link(job, max_uses=2, uses_left=0),
                LinkState.EXPIRED: a_link(job, expires_at=NOW, max_uses=2, uses_left=0),
                LinkState.REVOKED: a_link(job, expires_at=NOW, revoked_at=NOW),
            }
            for link in links.values():
                tx.links.insert(link)
            return links

        links = await store.write(work)
        owner = links[LinkState.LIVE].user_id
        for state, link in links.items():
            assert link.state(NOW) is state
            for whose in (None, owner):
                page = await store.read(lambda tx: tx.links.of_user(whose, now=NOW, offset=0, limit=9, state=state))  # noqa: B023
                assert (page.rows, page.total) == ([link], 1)

    # settings, secrets, nodes

    async def test_settings(self, store: Store) -> None:
        values: dict[str, Any] = {"a": 1, "b": None, "c": ["x", {"y": ODD_TEXT}], "d": 1.5, "e": False, "f": "null"}

        def work(tx: Transaction) -> None:
            for key, value in values.items():
                tx.settings.put(key, "before", NOW)
                tx.settings.put(key, value, LATER)

        await store.write(work)
        assert await store.read(lambda tx: tx.settings.all()) == values
        await store.write(lambda tx: tx.settings.delete("a"))
        await store.write(lambda tx: tx.settings.delete("unknown"))
        assert "a" not in await store.read(lambda tx: tx.settings.all())

    async def test_a_secret_is_made_once(self, store: Store) -> None:
        long = "sentinel:/" + "deep/" * 200
        assert await store.write(lambda tx: tx.secrets.get_or_create(long, lambda: b"1")) == b"1"
        assert await store.read(lambda tx: tx.secrets.get_or_create(long, lambda: b"2")) == b"1"
        assert await store.write(lambda tx: tx.secrets.get_or_create("key", lambda: b"\0one\xff")) == b"\0one\xff"
        assert await store.write(lambda tx: tx.secrets.get_or_create("key", lambda: b"two")) == b"\0one\xff"
        assert await store.read(lambda tx: tx.secrets.get_or_create("key", lambda: b"three")) == b"\0one\xff"
        for name in ("key", "new"):
            await store.write(lambda tx, name=name: tx.secrets.put(name, b"\0two"))  # type: ignore[misc]
            assert await store.read(lambda tx, name=name: tx.secrets.get_or_create(name, lambda: b"x")) == b"\0two"  # type: ignore[misc]

    async def test_nodes(self, store: Store) -> None:
        node = NodeSnapshot(
            id=NodeId("nas"), name=ODD_TEXT, is_controller=False, online=True, draining=True,
            disk=DiskUsage(total=Bytes(2**50), free=Bytes(5), present=False), labels={"room": "attic"},
            engines=(EngineHealth(name=ARIA2, ok=False, version="1.37", message="down", max_concurrent=3,
                                  capabilities={"pause": True}, schemes=("http", "ftp")),),
            file_endpoint="http://nas:8081",
        )  # fmt: skip
        home = dataclasses.replace(node, id=NodeId("home"), is_controller=True, engines=(), file_endpoint=None)
        await store.write(lambda tx: tx.nodes.upsert(node, NOW))
        await store.write(lambda tx: tx.nodes.upsert(home, NOW))
        assert await store.read(lambda tx: tx.nodes.all()) == [home, node]
        gone = dataclasses.replace(node, online=False)
        await store.write(lambda tx: tx.nodes.upsert(gone, LATER))
        assert await store.read(lambda tx: tx.nodes.get(node.id)) == gone
        assert await store.read(lambda tx: tx.nodes.get(NodeId("other"))) is None

    # events

    async def test_events_are_kept_in_order(self, store: Store) -> None:
        ann, job = UserId(uuid4()), JobId(uuid4())
        created = JobCreated(at=NOW, job_id=job, job_number=JobNumber(7), user_id=ann, data={"name": ODD_TEXT})
        removed = JobRemoved(at=LATER, job_id=job, user_id=ann)
        online = NodeOnline(at=LATER, node_id=NodeId("nas"))

        def work(tx: Transaction) -> None:
            for event in (created, JobProgress(at=NOW, job_id=job), removed, online):
                tx.events.add(event)

        assert await store.read(lambda tx: (tx.events.oldest_seq(), tx.events.newest_seq())) == (0, 0)
        await store.write(work)
        stored = [dataclasses.replace(event, seq=seq) for seq, event in enumerate((created, removed, online), 1)]

        def check(tx: Transaction) -> None:
            assert tx.events.after(0, limit=10) == stored
            assert tx.events.after(1, limit=1) == [stored[1]]
            assert tx.events.after(0, limit=9, types=["job.removed", "node.online"]) == stored[1:]
            assert tx.events.after(0, limit=9, user_id=ann) == stored[:2]
            assert tx.events.after(0, limit=9, types=["job.created"], user_id=UserId(uuid4())) == []
            assert tx.events.after(10**30, limit=9) == []
            assert (tx.events.oldest_seq(), tx.events.newest_seq()) == (1, 3)

        await store.read(check)
        assert await store.write(lambda tx: tx.events.trim(LATER)) == 1
        assert await store.read(lambda tx: (tx.events.oldest_seq(), tx.events.newest_seq())) == (2, 3)
        assert await store.write(lambda tx: tx.events.trim(LATER + timedelta(seconds=1))) == 2
        assert await store.read(lambda tx: (tx.events.oldest_seq(), tx.events.newest_seq())) == (0, 3)
