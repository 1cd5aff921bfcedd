"""The clauses of `ports.store` on what a job filter means: every field, every operator, and what is not known."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

from oddaemon.domain.failure import Failure, FailureCode, Reason, ReasonCode
from oddaemon.domain.filter_fields import JOB_FIELDS
from oddaemon.domain.job import Hold, Job, JobState
from oddaemon.domain.source import SourceKind
from oddaemon.domain.types import Bytes, EngineName, EntryId, JobId, NodeId
from oddaemon.domain.user import User
from oddaemon.ports.store import Query, Store, Transaction
from oddaemon.testing.store_samples import ARIA2, NOW, YTDLP, a_job, a_user, an_entry, filtered

G = 2**30
DAY = timedelta(days=1)
ALL = [1, 2, 3, 4, 5, 6]

JOBS: tuple[dict[str, Any], ...] = (
    {"name": "Ärger im Straßenbahn-Depot", "size": Bytes(20 * G), "done": Bytes(5 * G), "tags": ("tv", "Größe"),
     "engine": ARIA2, "cache_key": f"aria2:hash:{'ab' * 20}", "files_total": 3, "created_at": NOW - 3 * DAY,
     "updated_at": NOW},
    {"name": "linux.iso", "hold": Hold.USER, "priority": 5, "kind": SourceKind.MAGNET, "created_at": NOW - 2 * DAY},
    {"name": "Movie (2024) [1080p]", "state": JobState.ACTIVE, "engine": EngineName("ytdlp"), "node_id": NodeId("nas"),
     "started_at": NOW - timedelta(hours=3), "engine_state": "downloading", "created_at": NOW - DAY, "size": Bytes(100),
     "done": Bytes(40)},
    {"state": JobState.COMPLETED, "cache_hit": True, "size": Bytes(0), "completed_at": NOW - 2 * DAY, "tags": ("tv",)},
    {"name": "100%_real", "state": JobState.FAILED, "error": Failure(code=FailureCode.ORIGIN_GONE, message="gone"),
     "completed_at": NOW - timedelta(hours=1), "priority": -3, "node_id": NodeId("NAS"), "engine": YTDLP},
    {"name": "linux.txt", "hold": Hold.DISK, "reason": Reason(code=ReasonCode.NO_SPACE, message="full"), "tags": ()},
)  # fmt: skip
"""Of ann, but for the second and the fifth, which are of bob."""

STORED: dict[str, list[int]] = {
    # texts
    "name=linux.iso,linux.txt": [2, 6],
    "name=LINUX.iso": [],
    "name!=linux.iso": [1, 3, 4, 5, 6],
    "name=''": [4],
    "name!=''": [1, 2, 3, 5, 6],
    "name='',linux.iso": [2, 4],
    "linux": [2, 6],
    "LINUX,movie": [2, 3, 6],
    "!linux": [1, 3, 4, 5],
    "name!~linux": [1, 3, 4, 5],
    "STRASSENBAHN": [1],
    "äRGER": [1],
    "A\u0308rger": [1],
    "%_": [5],
    "'(2024) ['": [3],
    r"name~/^linux\.(iso|txt)$/": [2, 6],
    "name~/^ä/": [1],
    "name!~/[0-9]{3}/": [1, 2, 4, 6],
    "engine=ytdlp node=nas": [3],
    "node~nas": [3, 5],
    "node!=nas": [1, 2, 4, 5, 6],
    "!(node=nas | node=NAS)": [1, 2, 4, 6],
    "key~hash:AB": [1],
    "engine_state=downloading": [3],
    "user=bob": [2, 5],
    "user~A": [1, 3, 4, 6],
    "mine": [1, 3, 4, 6],
    "!mine": [2, 5],
    "user=@me,bob": ALL,
    # several texts
    "tag=tv": [1, 4],
    "tag!=tv": [2, 3, 5, 6],
    "tag~GRÖSSE": [1],
    "tag=''": [2, 3, 5, 6],
    "tag!=''": [1, 4],
    "tag~/^t.$/": [1, 4],
    # choices
    "state=queued,paused": [1, 2, 6],
    "state!=queued": [2, 3, 4, 5],
    "!state=active,completed": [1, 2, 5, 6],
    "hold=none": [1, 3, 4, 5],
    "kind=magnet": [2],
    "hit=yes": [4],
    "hit!=yes": [1, 2, 3, 5, 6],
    "error=origin_gone": [5],
    "error!=ORIGIN_GONE": [1, 2, 3, 4, 6],
    "error~GONE": [5],
    "error=''": [1, 2, 3, 4, 6],
    # figures
    "id=2,4": [2, 4],
    "id>4": [5, 6],
    "id!=2": [1, 3, 4, 5, 6],
    "priority>0": [2],
    "priority<=-3": [5],
    "files>=3": [1],
    "size>=20G": [1],
    "size<100": [4],
    "size=100": [3],
    "!size>1": [2, 4, 5, 6],
    "size<=1 | size>1": [1, 3, 4],
    "size=''": [2, 5, 6],
    "big": [1],
    "done>=5GiB": [1],
    "progress=100%": [4],
    "progress>=25% progress<=40": [1, 3],
    "progress=0": [2, 5, 6],
    "rate_down=0 seeders=''": ALL,
    "rate_down>0 | eta<1000d | peers>=0": [],
    "!eta<1h": ALL,
    # times
    "age>1d12h": [1, 2],
    "created<1d12h": [3, 4, 5, 6],
    "created>2026-05-02T03:02:01.123456Z": [3, 4, 5, 6],
    "created>=2026-05-02T03:02:01.123456Z": [2, 3, 4, 5, 6],
    "completed>1d": [4],
    "completed<1d": [5],
    "!completed>1d": [1, 2, 3, 5, 6],
    "completed=''": [1, 2, 3, 6],
    "started<=3h": [3],
    # what waits for its turn says so
    "reason=no_space": [6],
    "reason=resolving": [1, 2],
    "reason=''": [3, 4, 5],
    "reason~SPACE,resol": [1, 2, 6],
    # structure
    "linux (state=paused | hold=disk) !name~txt": [2],
    "failed | done | active": [3, 4, 5],
    "!(!linux)": [2, 6],
    "!!!linux": [1, 3, 4, 5],
    "stalled": [],
    "": ALL,
}


class FilterClauses:
    """Each test gets an empty `store`."""

    async def _made(self, store: Store) -> tuple[dict[int, Job], User]:
        def work(tx: Transaction) -> tuple[dict[int, Job], User]:
            ann, bob = a_user("ann"), a_user("bob")
            tx.users.insert(ann)
            tx.users.insert(bob)
            made = [
                tx.jobs.insert(a_job(tx, bob if number in (2, 5) else ann, **changes))
                for number, changes in enumerate(JOBS, 1)
            ]
            return {job.number: job for job in made}, ann

        return await store.write(work)

    async def _check(self, store: Store, expected: dict[str, list[int]], **more: Any) -> None:
        def look(tx: Transaction) -> dict[str, list[int]]:
            return {text: self._numbers(tx, filtered(text, **more)) for text in expected}

        assert await store.read(look) == expected

    @staticmethod
    def _numbers(tx: Transaction, query: Query) -> list[int]:
        page = tx.jobs.page_numbers(query)
        assert page.total == len(page.rows)
        return [int(number) for number in page.rows]

    async def test_what_a_filter_finds(self, store: Store) -> None:
        await self._made(store)
        await self._check(store, STORED)
        used = " ".join(STORED)
        assert [field for field in JOB_FIELDS if f"{field}" not in used and field not in ("quiet", "rate_up")] == []

    async def test_a_user_finds_and_counts_only_their_own(self, store: Store) -> None:
        _, ann = await self._made(store)
        own = {1, 3, 4, 6}
        within = {text: [number for number in found if number in own] for text, found in STORED.items()}
        await self._check(store, within, user_id=ann.id)

    async def test_what_runs_is_filtered_by_what_is_known_of_it_now(self, store: Store) -> None:
        made, _ = await self._made(store)

        def work(tx: Transaction) -> tuple[EntryId, EntryId]:
            one, two = an_entry("aria2:url:1"), an_entry("aria2:url:2")
            for entry, numbers in ((one, (1, 3)), (two, (4, 6))):
                tx.cache.insert_entry(entry)
                for number in numbers:
                    tx.jobs.update(replace(made[number], entry_id=entry.id, name=None if number == 6 else "old"))
            return one.id, two.id

        one, two = await store.write(work)
        live: dict[str, dict[EntryId, float | str]] = {
            "running": {one: 1, two: 1}, "rate_down": {one: 2048, two: 5}, "rate_up": {one: 7}, "eta": {one: 60.0},
            "seeders": {one: 3}, "peers": {one: 0}, "done": {one: 10 * G, two: 60}, "size": {one: 40 * G},
            "quiet": {two: 300.0}, "name": {two: "learned"}, "engine_state": {one: "checking"},
            "seeding": {two: "seeding"},
        }  # fmt: skip
        live_jobs: dict[str, dict[JobId, float | str | None]] = {
            "done": {made[3].id: 50}, "size": {made[3].id: None},
            "reason": {made[1].id: "user_limit", made[2].id: "paused", made[6].id: "waiting_for_space"},
        }  # fmt: skip
        expected = {
            # 1 is queued and 3 active, on one download of which 3 wants other files; 4 is completed and 6 queued
            "rate_down>1k": [3],
            "rate_down=0": [1, 2, 4, 5, 6],
            "rate_up=7": [1, 3],
            "eta<2m": [3],
            "!eta<2m": [1, 2, 4, 5, 6],
            "seeders=3 peers=0": [1, 3],
            "done=10G": [1],
            "done=50": [3],
            "done=60": [6],
            "size=40G": [1],
            "size=100": [3],
            "progress=25%": [1],
            "progress=50%": [3],
            "quiet>1m": [6],
            "stalled": [6],
            "name=learned": [6],
            "learn,old": [1, 3, 4, 6],
            "engine_state=checking": [1, 3],
            "engine_state=seeding": [4],
            "reason=user_limit": [1],
            "reason=paused": [2],
            "reason=waiting_for_space": [6],
            "reason=no_space,resolving,queued": [],
            "reason~LIMIT": [1],
        }
        await self._check(store, expected, live=live, live_jobs=live_jobs)

    async def test_a_filter_may_find_very_many(self, store: Store) -> None:
        def work(tx: Transaction) -> None:
            user = a_user("ann")
            tx.users.insert(user)
            for number in range(1200):
                tx.jobs.insert(a_job(tx, user, name=f"part {number}"))

        await store.write(work)
        for text, total in (("part", 1200), ("part id>1000", 200), ("!part", 0), ("name~/ 7$/", 1)):
            query = filtered(text, limit=5)
            page = await store.read(lambda tx, query=query: tx.jobs.page_numbers(query))  # type: ignore[misc]
            assert (page.total, len(page.rows)) == (total, min(total, 5)), text
