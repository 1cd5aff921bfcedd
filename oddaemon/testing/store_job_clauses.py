"""The clauses of `ports.store` on jobs and their lists."""

from __future__ import annotations

import dataclasses
from functools import partial
from typing import Any
from uuid import uuid4

import pytest

from oddaemon.domain.errors import NotFound
from oddaemon.domain.job import Hold, Job, JobState
from oddaemon.domain.query import CACHE_SORT_FIELDS, JOB_SORT_FIELDS, parse_sort
from oddaemon.domain.source import SourceKind
from oddaemon.domain.types import (
    Bytes,
    EntryId,
    JobId,
    JobNumber,
    NodeId,
    UserId,
)  # fmt: skip
from oddaemon.domain.user import User
from oddaemon.ports.store import EntryOverview, Page, Query, Store, Transaction
from oddaemon.testing.store_samples import (
    ARIA2,
    LATER,
    NOW,
    YTDLP,
    a_full_job,
    a_job,
    a_user,
    an_entry,
    filtered,
)


def page_numbers(tx: Transaction, query: Query) -> Page[JobNumber]:
    return tx.jobs.page_numbers(query)


def jobs_page(tx: Transaction, query: Query) -> Page[Job]:
    return tx.jobs.page(query)


def overviews(tx: Transaction, query: Query) -> Page[EntryOverview]:
    return tx.cache.overviews(query)


class JobClauses:
    """Each test gets an empty `store`."""

    async def test_every_field_of_a_job_comes_back(self, store: Store) -> None:
        def work(tx: Transaction) -> Job:
            user, entry = a_user(), an_entry()
            tx.users.insert(user)
            tx.cache.insert_entry(entry)
            return tx.jobs.insert(a_full_job(tx, user, entry))

        job = await store.write(work)
        defaults = {field.name: field.default for field in dataclasses.fields(Job)}
        assert [name for name, default in defaults.items() if getattr(job, name) == default] == []
        assert await store.read(lambda tx: tx.jobs.get(job.id)) == job

    async def test_an_update_stores_every_field(self, store: Store) -> None:
        def work(tx: Transaction) -> tuple[Job, Job]:
            user, entry = a_user(), an_entry()
            tx.users.insert(user)
            tx.cache.insert_entry(entry)
            job = tx.jobs.insert(a_job(tx, user))
            return job, tx.jobs.update(dataclasses.replace(a_full_job(tx, user, entry), id=job.id, number=job.number))

        before, after = await store.write(work)
        assert await store.read(lambda tx: tx.jobs.get(before.id)) == after
        plain = dataclasses.replace(before, name=None, options={}, tags=(), error=None)
        again = await store.write(lambda tx: tx.jobs.update(plain))
        assert await store.read(lambda tx: tx.jobs.get(before.id)) == again == dataclasses.replace(plain, rev=again.rev)

    async def test_the_revision_grows_with_every_change(self, store: Store) -> None:
        user = a_user()
        await store.write(lambda tx: tx.users.insert(user))
        one = await store.write(lambda tx: tx.jobs.insert(a_job(tx, user)))
        two = await store.write(lambda tx: tx.jobs.insert(a_job(tx, user)))
        changed = await store.write(lambda tx: tx.jobs.update(one))
        assert 0 < one.rev < two.rev < changed.rev
        assert await store.read(lambda tx: tx.jobs.highest_rev()) == changed.rev

    async def test_a_job_that_is_gone_cannot_be_updated(self, store: Store) -> None:
        user = a_user()
        await store.write(lambda tx: tx.users.insert(user))
        job = await store.write(lambda tx: tx.jobs.insert(a_job(tx, user)))
        await store.write(lambda tx: tx.jobs.delete(job.id))
        with pytest.raises(NotFound):
            await store.write(lambda tx: tx.jobs.update(job))
        assert await store.read(lambda tx: tx.jobs.get(job.id)) is None

    async def test_jobs_are_found_by_what_names_them(self, store: Store) -> None:
        def work(tx: Transaction) -> dict[str, Job]:
            ann, bob = a_user("ann"), a_user("bob")
            entry = an_entry()
            tx.users.insert(ann)
            tx.users.insert(bob)
            tx.cache.insert_entry(entry)
            return {
                "first": tx.jobs.insert(a_job(tx, ann, cache_key=f"aria2:hash:{'a' * 40}", entry_id=entry.id)),
                "private": tx.jobs.insert(a_job(tx, bob, cache_key=f"other:hash:{'a' * 40}:@{bob.id}")),
                "last": tx.jobs.insert(a_job(tx, ann, cache_key=f"aria2:url:{'a' * 64}", entry_id=entry.id)),
            }

        made = await store.write(work)
        first, private, last = made["first"], made["private"], made["last"]

        def check(tx: Transaction) -> None:
            assert tx.jobs.by_numbers([last.number, first.number, 0, -1, 10**30]) == [first, last]
            assert tx.jobs.by_info_hash("a" * 40) == [first, private]
            assert tx.jobs.by_info_hash("b" * 40) == []
            assert tx.jobs.last_of(first.user_id) == last
            assert tx.jobs.last_of(UserId(uuid4())) is None
            assert first.entry_id is not None
            assert tx.jobs.of_entry(first.entry_id) == tx.jobs.unfinished_of(first.entry_id) == [first, last]
            other = EntryId(uuid4())
            assert tx.jobs.of_entries([first.entry_id, other]) == {first.entry_id: [first, last], other: []}

        await store.read(check)

    async def test_many_jobs_are_changed_together(self, store: Store) -> None:
        def make(tx: Transaction) -> list[Job]:
            user = a_user()
            tx.users.insert(user)
            return [tx.jobs.insert(a_job(tx, user)) for _ in range(3)]

        jobs = await store.write(make)
        renamed = [dataclasses.replace(job, name=f"n{job.number}") for job in jobs[:2]]
        changed = await store.write(lambda tx: tx.jobs.update_all(renamed))
        assert await store.write(lambda tx: tx.jobs.update_all([])) == ()
        assert [job.name for job in changed] == [job.name for job in renamed]
        assert all(job.rev > jobs[0].rev for job in changed)
        found = await store.read(lambda tx: tx.jobs.by_numbers([job.number for job in jobs]))
        assert list(found) == [*changed, jobs[2]]
        # all or none of them
        await store.write(lambda tx: tx.jobs.delete(jobs[2].id))
        with pytest.raises(NotFound):
            await store.write(lambda tx: tx.jobs.update_all([dataclasses.replace(changed[0], name="x"), jobs[2]]))
        assert await store.read(lambda tx: tx.jobs.get(jobs[0].id)) == changed[0]

    async def test_what_the_reconciler_asks_for(self, store: Store) -> None:
        def work(tx: Transaction) -> dict[str, Job]:
            user, entry = a_user(), an_entry()
            tx.users.insert(user)
            tx.cache.insert_entry(entry)
            kinds: dict[str, dict[str, Any]] = {
                "new": {},
                "due": {"next_try_at": NOW},
                "not due": {"next_try_at": LATER},
                "due, for the clock was set back": {"next_try_at": LATER, "updated_at": LATER},
                "paused": {"hold": Hold.USER},
                "paused till now": {"hold": Hold.USER, "hold_until": NOW},
                "paused till later": {"hold": Hold.USER, "hold_until": LATER},
                "claims": {
                    "entry_id": entry.id, "engine": ARIA2, "size": Bytes(5), "node_wish": NodeId("nas"),
                    "node_labels": {"disk": "ssd", "gpu": "yes"},
                },
                "runs": {
                    "entry_id": entry.id, "engine": ARIA2, "state": JobState.ACTIVE, "priority": 3,
                    "cache_key": f"aria2:hash:{'ab' * 20}",
                },
                "done": {"entry_id": entry.id, "engine": ARIA2, "state": JobState.COMPLETED},
            }
            return {name: tx.jobs.insert(a_job(tx, user, **changes)) for name, changes in kinds.items()}

        made = await store.write(work)

        def check(tx: Transaction) -> None:
            held = [made["paused"], made["paused till now"], made["paused till later"]]
            due = [made["new"], made["due"], made["due, for the clock was set back"]]
            assert tx.jobs.unresolved(NOW, limit=10) == [*due, *held]
            assert tx.jobs.unresolved(NOW, limit=1) == [made["new"]]
            assert tx.jobs.holds_ending(NOW) == [made["paused till now"]]
            assert tx.jobs.next_hold_end(NOW) == LATER
            assert tx.jobs.next_hold_end(LATER) is None
            claims, runs = tx.jobs.claims()
            assert [job.state for job in tx.jobs.unfinished_of(runs.entry_id)] == [JobState.QUEUED, JobState.ACTIVE]
            assert (claims.job_id, claims.active, claims.size, claims.node_wish) == (made["claims"].id, False, 5, "nas")
            assert (runs.number, runs.active, runs.priority, runs.size) == (made["runs"].number, True, 3, None)
            assert claims.node_labels == {("disk", "ssd"), ("gpu", "yes")}
            assert runs.node_labels == frozenset()
            assert (runs.hold, runs.info_hash, claims.info_hash) == (Hold.NONE, "ab" * 20, None)
            assert tx.jobs.count_unfinished(made["new"].user_id) == 9
            assert tx.jobs.count_unfinished(UserId(uuid4())) == 0
            assert tx.jobs.count_by_state()[JobState.QUEUED] == 8
            assert tx.jobs.count_by_state(UserId(uuid4())) == dict.fromkeys(JobState, 0)

        await store.read(check)

    async def test_the_first_unresolved_jobs_are_those_of_users_in_turn(self, store: Store) -> None:
        def work(tx: Transaction) -> list[int]:
            ann, bob = a_user("ann"), a_user("bob")
            tx.users.insert(ann)
            tx.users.insert(bob)
            return [tx.jobs.insert(a_job(tx, user)).number for user in (ann, ann, ann, bob, bob)]

        numbers = await store.write(work)
        wanted = [numbers[place] for place in (0, 3, 1, 4, 2)]
        for most in (1, 2, 5):
            found = await store.read(lambda tx, most=most: tx.jobs.unresolved(NOW, limit=most))  # type: ignore[misc]
            assert [job.number for job in found] == wanted[:most]

    async def test_what_a_user_holds_is_every_claim_that_is_not_given_up(self, store: Store) -> None:
        def work(tx: Transaction) -> tuple[dict[str, Job], EntryId]:
            ann, bob, entry, other = a_user("ann"), a_user("bob"), an_entry(), an_entry()
            tx.users.insert(ann)
            tx.users.insert(bob)
            tx.cache.insert_entry(entry)
            tx.cache.insert_entry(other)
            kinds: dict[str, tuple[User, dict[str, Any]]] = {
                "waits": (ann, {"entry_id": entry.id, "size": Bytes(2**40), "selection": "1-3"}),
                "runs": (ann, {"entry_id": other.id, "state": JobState.ACTIVE, "done": Bytes(7)}),
                "there": (bob, {"entry_id": entry.id, "state": JobState.COMPLETED, "size": Bytes(5), "done": Bytes(5)}),
                "failed": (ann, {"entry_id": entry.id, "state": JobState.FAILED, "done": Bytes(3)}),
                "given up": (ann, {"state": JobState.CANCELLED, "size": Bytes(11)}),
                "unresolved": (ann, {"size": Bytes(13)}),
            }
            return {name: tx.jobs.insert(a_job(tx, user, **of)) for name, (user, of) in kinds.items()}, entry.id

        made, entry_id = await store.write(work)

        def check(tx: Transaction) -> None:
            mine = tx.jobs.held_by(made["waits"].user_id)
            assert [row.number for row in mine] == [made[name].number for name in ("waits", "runs", "failed")]
            first, second, _ = mine
            assert (first.job_id, first.entry_id, first.state) == (made["waits"].id, entry_id, JobState.QUEUED)
            assert (first.user_id, first.selection, first.size) == (made["waits"].user_id, "1-3", 2**40)
            assert (second.state, second.size, second.done) == (JobState.ACTIVE, None, 7)
            assert tx.jobs.most_held(made["waits"].user_id) == 2**40 + 7 + 3
            assert tx.jobs.most_held(UserId(uuid4())) == 0
            everyones = tx.jobs.held_in([entry_id, EntryId(uuid4())])
            assert [row.number for row in everyones] == [made[name].number for name in ("waits", "there", "failed")]
            assert tx.jobs.held_in([]) == []

        await store.read(check)

    async def test_progress_is_no_change_that_watchers_resume_from(self, store: Store) -> None:
        user = a_user()
        await store.write(lambda tx: tx.users.insert(user))
        running = await store.write(lambda tx: tx.jobs.insert(a_job(tx, user, state=JobState.ACTIVE)))
        ended = await store.write(lambda tx: tx.jobs.insert(a_job(tx, user, state=JobState.COMPLETED, done=Bytes(9))))
        figures = [(running.id, Bytes(7), Bytes(70)), (ended.id, Bytes(1), None), (JobId(uuid4()), Bytes(1), None)]
        await store.write(lambda tx: tx.jobs.record_progress(figures))
        found = await store.read(lambda tx: tx.jobs.by_numbers([running.number, ended.number]))
        assert found == [dataclasses.replace(running, done=Bytes(7), size=Bytes(70)), ended]

    async def _listed(self, store: Store) -> tuple[User, User]:
        def work(tx: Transaction) -> tuple[User, User]:
            ann, bob = a_user("ann"), a_user("bob")
            tx.users.insert(ann)
            tx.users.insert(bob)
            rows: list[tuple[User, dict[str, Any]]] = [
                (ann, {"name": "beta", "engine": ARIA2, "size": Bytes(100), "done": Bytes(50), "tags": ("tv", "x,y")}),
                (bob, {"name": "Alpha", "engine": YTDLP, "priority": 5, "hold": Hold.USER}),
                (ann, {"name": "gamma, delta", "state": JobState.ACTIVE, "node_id": NodeId("nas"), "hold": Hold.NONE}),
                (ann, {"state": JobState.COMPLETED, "completed_at": NOW, "cache_hit": True, "size": Bytes(10),
                       "done": Bytes(10)}),
                (bob, {"name": "omega", "state": JobState.FAILED, "completed_at": LATER, "tags": ("tv",),
                       "cache_key": "aria2:url:1", "kind": SourceKind.TORRENT}),
                (ann, {"name": "zeta", "hold": Hold.DISK, "priority": -1}),
            ]  # fmt: skip
            for user, changes in rows:
                tx.jobs.insert(a_job(tx, user, **changes))
            return ann, bob

        return await store.write(work)

    @pytest.mark.parametrize(
        ("text", "expected"),
        [
            ("", [1, 2, 3, 4, 5, 6]),
            ("id=3,5", [3, 5]),
            ("name=beta", [1]),
            ('name="gamma, delta"', [3]),
            ("name=beta,omega", [1, 5]),
            ("state=queued", [1, 6]),
            ("state=paused", [2]),
            ("state=queued,paused", [1, 2, 6]),
            ("state=PAUSED,failed", [2, 5]),
            ("state=active,completed", [3, 4]),
            ("engine=aria2", [1]),
            ("node=nas", [3]),
            ("user=bob", [2, 5]),
            ("user=nobody", []),
            ("tag=tv", [1, 5]),
            ('tag="x,y"', [1]),
            ("tag=t", []),
            ("hold=user,disk", [2, 6]),
            ("kind=torrent", [5]),
            ("priority=5,-1", [2, 6]),
            ("key=aria2:url:1", [5]),
            ("hit=true", [4]),
            ("hit=yes,no", [1, 2, 3, 4, 5, 6]),
            ("user=ann state=queued tag=tv", [1]),
            ("name=' OR 1=1 --'", []),
        ],
    )
    async def test_jobs_are_filtered(self, store: Store, text: str, expected: list[int]) -> None:
        await self._listed(store)
        page = await store.read(lambda tx: tx.jobs.page(filtered(text)))
        assert [job.number for job in page.rows] == expected
        assert page.total == len(expected)
        assert (await store.read(lambda tx: tx.jobs.page_numbers(filtered(text)))).rows == expected

    @pytest.mark.parametrize(
        ("text", "expected"),
        [
            ("id", [1, 2, 3, 4, 5, 6]),
            ("!id", [6, 5, 4, 3, 2, 1]),
            ("name", [2, 1, 3, 5, 6, 4]),
            ("!name", [6, 5, 3, 1, 2, 4]),
            ("size", [4, 1, 2, 3, 5, 6]),
            ("!progress", [4, 1, 2, 3, 5, 6]),
            ("!completed", [5, 4, 1, 2, 3, 6]),
            ("!priority", [2, 1, 3, 4, 5, 6]),
            ("user,!id", [6, 4, 3, 1, 5, 2]),
            ("state", [3, 4, 5, 2, 1, 6]),
            ("attention", [3, 6, 5, 2, 1, 4]),
            ("!attention", [4, 1, 2, 5, 6, 3]),
            ("user,attention,name", [3, 6, 1, 4, 5, 2]),
        ],
    )
    async def test_jobs_are_sorted(self, store: Store, text: str, expected: list[int]) -> None:
        """What is unknown comes last in either direction; what is equal, in number order."""
        await self._listed(store)
        page = await store.read(lambda tx: tx.jobs.page(Query(sort=parse_sort(text))))
        assert [job.number for job in page.rows] == expected

    async def test_figures_of_what_runs_sort_before_everything_else(self, store: Store) -> None:
        def work(tx: Transaction) -> dict[EntryId, float]:
            user, entries = a_user(), [an_entry(key=f"aria2:url:{number}") for number in range(3)]
            tx.users.insert(user)
            for entry in entries:
                tx.cache.insert_entry(entry)
                tx.jobs.insert(a_job(tx, user, entry_id=entry.id, state=JobState.ACTIVE))
            tx.jobs.insert(a_job(tx, user, entry_id=entries[1].id, state=JobState.COMPLETED))
            tx.jobs.insert(a_job(tx, user))
            return {entries[0].id: 100.0, entries[1].id: 300.0}

        live = {"rate_down": await store.write(work)}
        for text, expected in (("rate_down", [1, 2, 3, 4, 5]), ("!rate_down,!id", [2, 1, 5, 4, 3])):
            query = Query(sort=parse_sort(text), live=live)
            assert (await store.read(partial(page_numbers, query=query))).rows == expected

    async def test_every_sort_field_is_known(self, store: Store) -> None:
        await self._listed(store)
        for field in JOB_SORT_FIELDS:
            query = Query(sort=parse_sort(f"!{field}"))
            assert (await store.read(partial(jobs_page, query=query))).total == 6
        for field in CACHE_SORT_FIELDS:
            query = Query(sort=parse_sort(field, CACHE_SORT_FIELDS))
            assert (await store.read(partial(overviews, query=query))).total == 0

    async def test_a_page_is_a_window_on_what_matches(self, store: Store) -> None:
        ann, _ = await self._listed(store)
        page = await store.read(lambda tx: tx.jobs.page(Query(offset=1, limit=2, user_id=ann.id)))
        assert ([job.number for job in page.rows], page.total) == ([3, 4], 4)
        for offset, limit in ((4, 10), (0, 0), (10**30, 5)):
            query = Query(offset=offset, limit=limit, user_id=ann.id)
            empty = await store.read(partial(jobs_page, query=query))
            assert (list(empty.rows), empty.total) == ([], 4)
        recent = await store.read(lambda tx: tx.jobs.page(Query(finished_since=LATER)))
        assert [job.number for job in recent.rows] == [1, 2, 3, 5, 6]
