"""The clauses of `ports.store` on everything but jobs, content and accounts."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Mapping
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest

from oddaemon.domain.cache import Replica
from oddaemon.domain.errors import NotFound
from oddaemon.domain.events import JobCreated, JobProgress, JobRemoved, NodeOnline
from oddaemon.domain.job import Job
from oddaemon.domain.join_token import KeptToken
from oddaemon.domain.link import Link, LinkKind, LinkState
from oddaemon.domain.node import DiskUsage, EngineHealth, NodeLimits, NodeMarks, NodeSnapshot
from oddaemon.domain.types import Bytes, JobId, JobNumber, LinkId, NodeId, UserId
from oddaemon.ports.store import Material, Store, Transaction
from oddaemon.testing.store_samples import ARIA2, LATER, NOW, ODD_TEXT, a_job, a_link, a_replica, a_user, an_entry


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
        other = JobId(uuid4())
        assert await store.read(lambda tx: tx.materials.jobs_with([job.id, other])) == {job.id}
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
            file_endpoint="http://nas:8081", software="2.0.1", offline_since=NOW,
            set_labels={"room": "hall", "a": ODD_TEXT},
            limits=NodeLimits(running=3, min_disk_free=Bytes(2**40), weight=0.5),
        )  # fmt: skip
        home = dataclasses.replace(node, id=NodeId("home"), is_controller=True, engines=(), file_endpoint=None)
        await store.write(lambda tx: tx.nodes.upsert(node, NOW))
        await store.write(lambda tx: tx.nodes.upsert(home, NOW))
        assert await store.read(lambda tx: tx.nodes.all()) == [home, node]
        gone = dataclasses.replace(node, online=False)
        await store.write(lambda tx: tx.nodes.upsert(gone, LATER))
        assert await store.read(lambda tx: tx.nodes.get(node.id)) == gone
        assert await store.read(lambda tx: tx.nodes.get(NodeId("other"))) is None

    async def test_what_an_admin_marked_is_the_nodes_to_say_never(self, store: Store) -> None:
        told = NodeSnapshot(
            id=NodeId("nas"), name="nas", is_controller=False, online=True, engines=(),
            disk=DiskUsage(total=Bytes(10), free=Bytes(5)), labels={"room": "attic"},
        )  # fmt: skip
        marks = NodeMarks(draining=True, set_labels={"room": "hall"}, limits=NodeLimits(running=2))
        with pytest.raises(NotFound):
            await store.write(lambda tx: tx.nodes.mark(told.id, marks))
        await store.write(lambda tx: tx.nodes.upsert(told, NOW))
        await store.write(lambda tx: tx.nodes.mark(told.id, marks))
        later = dataclasses.replace(told, online=False, labels={"room": "cellar"}, offline_since=LATER)
        await store.write(lambda tx: tx.nodes.upsert(later, LATER))
        assert await store.read(lambda tx: tx.nodes.get(told.id)) == later.marked(marks)
        await store.write(lambda tx: tx.nodes.mark(told.id, NodeMarks()))
        assert await store.read(lambda tx: tx.nodes.all()) == [later]

    async def test_a_nodes_credential_goes_with_it(self, store: Store) -> None:
        nas, other = (
            NodeSnapshot(
                id=NodeId(name), name=name, is_controller=False, online=False, engines=(),
                disk=DiskUsage(total=Bytes(0), free=Bytes(0)),
            )
            for name in ("nas", "other")
        )  # fmt: skip

        one, two = "0123456789ab", "ba9876543210"

        def join(tx: Transaction) -> None:
            for node in (nas, other):
                tx.nodes.upsert(node, NOW)
                tx.nodes.put_credential(node.id, b"first", token_id=one, at=NOW)
            tx.nodes.put_credential(nas.id, b"\0\xffsecond", token_id=two, at=LATER)

        await store.write(join)
        assert await store.read(lambda tx: tx.nodes.credential(nas.id)) == b"\0\xffsecond"
        assert await store.read(lambda tx: tx.nodes.unconfirmed(one)) == [other.id]
        assert await store.read(lambda tx: tx.nodes.unconfirmed(two)) == [nas.id]
        await store.write(lambda tx: tx.nodes.confirm_credential(nas.id))
        assert await store.read(lambda tx: tx.nodes.unconfirmed(two)) == []
        assert await store.write(lambda tx: tx.nodes.delete(nas.id))
        assert not await store.write(lambda tx: tx.nodes.delete(nas.id))
        assert await store.read(lambda tx: tx.nodes.credential(nas.id)) is None
        assert await store.read(lambda tx: tx.nodes.credential(other.id)) == b"first"
        # one of the same name later has nothing of it
        await store.write(lambda tx: tx.nodes.upsert(nas, LATER))
        assert await store.read(lambda tx: tx.nodes.credential(nas.id)) is None

    async def test_join_tokens(self, store: Store) -> None:
        user = a_user()
        once = KeptToken(
            id="0123456789ab", key=b"\0key\xff", name="nas", created_by=user.id, created_at=NOW, expires_at=LATER
        )
        often = dataclasses.replace(once, id="ba9876543210", name=None, reusable=True, created_at=LATER)

        def make(tx: Transaction) -> None:
            tx.users.insert(user)
            tx.join_tokens.insert(often)
            tx.join_tokens.insert(once)

        await store.write(make)
        assert await store.read(lambda tx: tx.join_tokens.all()) == [once, often]
        assert await store.read(lambda tx: tx.join_tokens.get("other")) is None
        uses = [store.write(lambda tx: tx.join_tokens.use(once.id, NOW)) for _ in range(8)]
        assert sum(await asyncio.gather(*uses)) == 1
        used = dataclasses.replace(once, uses=1, used_at=NOW)
        assert await store.read(lambda tx: tx.join_tokens.get(once.id)) == used
        assert [await store.write(lambda tx: tx.join_tokens.use(often.id, NOW)) for _ in range(2)] == [True, True]
        assert not await store.write(lambda tx: tx.join_tokens.use(often.id, LATER)), "it has expired"
        assert not await store.write(lambda tx: tx.join_tokens.use("other", NOW))
        assert await store.write(lambda tx: tx.join_tokens.delete(once.id))
        assert not await store.write(lambda tx: tx.join_tokens.delete(once.id))
        assert await store.write(lambda tx: tx.join_tokens.trim(LATER)) == 0
        await store.write(lambda tx: tx.users.delete(user.id))
        assert await store.read(lambda tx: tx.join_tokens.all()) == [], "a token goes with the admin who made it"

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
