"""Random filters over random jobs: the store, on both databases, and `filter_match` say what a plain reading says; and
a tree written as text is read as the same tree."""

from __future__ import annotations

import asyncio
import random
import re
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from oddaemon.domain.failure import Failure, FailureCode, Reason, ReasonCode
from oddaemon.domain.filter_fields import JOB_FIELDS, Kind
from oddaemon.domain.filter_match import matcher
from oddaemon.domain.filter_text import parse_filter
from oddaemon.domain.filter_tree import ME, Ago, All, Node, Not, Op, Pattern, Some, Term, Value, settled
from oddaemon.domain.job import Hold, Job, JobState
from oddaemon.domain.source import SourceKind
from oddaemon.domain.types import Bytes, EngineName, NodeId
from oddaemon.domain.user import User
from oddaemon.ports.store import Query, Transaction
from oddaemon.store.migrate import open_store
from oddaemon.store.sql_store import SqlStore
from oddaemon.testing.store_samples import NOW, a_job, a_user
from tests.support.postgres import Databases

JOBS = 60
NAMES = (
    None, "", "a", "A", "aé", "AÉ", "straße", "STRASSE", "İx", "Σς", "a b", "a,b", "(x)", "a|b", "50%_", "it's", '"',
    "a\\b",
)  # fmt: skip
WORDS = ("a", "É", "ss", "σ", "b", "%", "_", "|", "(", " ", "'", '"', "\\", "zz", "e\u0301")
PATTERNS = ("a", "^a", "b$", "[é]", "a.b", "^$", "x|b", "/", "\\\\", "(?-i)A")
TAGS = ("tv", "TV", "é", "a b", "x,y")
SIZES = (None, 0, 1, 100, 2**33, 2**40)
AGES = (0, 60, 3600, 86400, 90000.5)
NUMBERS = (-2, 0, 1, 3, 50)
PARTS = (0, 0.25, 0.5, 0.75, 1)


# jobs


def random_jobs(tx: Transaction, users: Sequence[User], dice: random.Random) -> Iterator[Job]:
    def moment() -> Any:
        return NOW - timedelta(seconds=dice.choice(AGES))

    for _ in range(JOBS):
        yield a_job(
            tx, dice.choice(users), name=dice.choice(NAMES), state=dice.choice(list(JobState)),
            hold=dice.choice(list(Hold)), kind=dice.choice(list(SourceKind)), priority=dice.choice(NUMBERS),
            engine=dice.choice([None, EngineName("aria2"), EngineName("ytdlp")]),
            node_id=dice.choice([None, NodeId("nas"), NodeId("Nas")]), cache_hit=dice.choice([True, False]),
            cache_key=dice.choice([None, "aria2:url:a", "aria2:url:B"]),
            engine_state=dice.choice([None, "", "checking"]),
            size=dice.choice(SIZES), done=Bytes(dice.choice(SIZES) or 0), files_total=dice.choice((0, 1, 3)),
            created_at=moment(), started_at=dice.choice([None, moment()]), completed_at=dice.choice([None, moment()]),
            tags=tuple(dice.sample(TAGS, dice.randrange(3))),
            error=dice.choice([None, Failure(code=dice.choice(list(FailureCode)[:3]), message="x")]),
            reason=dice.choice([None, Reason(code=dice.choice(list(ReasonCode)[:3]), message="x")]),
        )  # fmt: skip


def shown(job: Job, user: User) -> dict[str, Any]:
    """What a list shows of a job that does not run."""
    paused = job.state is JobState.QUEUED and job.hold is Hold.USER
    part = 0.0 if not job.size else min(job.done / job.size, 0.9999)
    waits = "resolving" if job.entry_id is None else "queued"
    reason = str(job.reason.code) if job.reason else waits if job.state is JobState.QUEUED else None
    return {
        "id": int(job.number), "name": job.name, "state": "paused" if paused else str(job.state), "engine": job.engine,
        "engine_state": job.engine_state, "node": job.node_id, "user": user.username, "tag": job.tags,
        "hold": str(job.hold), "kind": str(job.kind), "priority": job.priority, "key": job.cache_key,
        "hit": job.cache_hit, "size": job.size, "done": job.done,
        "progress": 1.0 if job.state is JobState.COMPLETED else part, "rate_down": 0, "rate_up": 0, "eta": None,
        "quiet": None, "seeders": None, "peers": None, "age": job.created_at, "created": job.created_at,
        "started": job.started_at, "completed": job.completed_at, "error": job.error and str(job.error.code),
        "reason": reason, "files": job.files_total,
    }  # fmt: skip


# filters


def values_of(name: str) -> st.SearchStrategy[Value]:
    field = JOB_FIELDS[name]
    known: dict[Kind, st.SearchStrategy[Value]] = {
        Kind.CHOICE: st.sampled_from(field.choices or ("x",)), Kind.CODE: st.sampled_from(field.choices or ("x",)),
        Kind.TRUTH: st.booleans(), Kind.ID: st.integers(0, JOBS + 1), Kind.NUMBER: st.sampled_from(NUMBERS),
        Kind.SIZE: st.sampled_from([size for size in SIZES if size is not None]), Kind.RATE: st.sampled_from((0, 5)),
        Kind.PERCENT: st.sampled_from(PARTS), Kind.DURATION: st.sampled_from((0.0, 60.0)),
        Kind.TIME: st.sampled_from(AGES).map(lambda age: Ago(float(age))) | st.just(NOW),
        Kind.TEXTS: st.sampled_from(TAGS),
        Kind.TEXT: st.sampled_from([one for one in (*NAMES, "nas", "aria2", "ann", "aria2:url:B", "checking") if one]),
    }  # fmt: skip
    return known[field.kind]


@st.composite
def a_term(draw: st.DrawFn) -> Node:
    name = draw(st.sampled_from(sorted(JOB_FIELDS)))
    kind = JOB_FIELDS[name].kind
    op = draw(st.sampled_from(sorted(kind.ops)))
    if op is Op.HAS:
        texts: tuple[Value, ...] = tuple(draw(st.lists(st.sampled_from(WORDS), min_size=1, max_size=2, unique=True)))
        patterns = st.sampled_from(PATTERNS).map(lambda one: (Pattern(one),))
        return Term(field=name, op=op, values=draw(st.just(texts) | patterns))
    if op is not Op.EQ:
        return Term(field=name, op=op, values=(draw(values_of(name)),))
    if kind is Kind.TIME:
        return Term(field=name, op=op, values=(None,))
    unknown = [st.none()] if kind not in (Kind.CHOICE, Kind.TRUTH) else []
    me = [st.just(ME)] if name == "user" else []
    some = st.lists(st.one_of(values_of(name), *unknown, *me), min_size=1, max_size=3, unique=True)
    return Term(field=name, op=op, values=tuple(draw(some)))


def groups(parts: st.SearchStrategy[Node]) -> st.SearchStrategy[Node]:
    several = st.lists(parts, min_size=2, max_size=3).map(tuple)
    return several.map(All) | several.map(Some) | parts.map(Not)


def patterns_in(node: Node) -> int:
    match node:
        case Term(values=(Pattern(),)):
            return 1
        case Not(node=inner):
            return patterns_in(inner)
        case All(nodes=nodes) | Some(nodes=nodes):
            return sum(map(patterns_in, nodes))
    return 0


TREES = st.recursive(a_term(), groups, max_leaves=8).filter(lambda tree: patterns_in(tree) <= 5)


def written(node: Node) -> str:
    """The tree as text."""
    match node:
        case Not(node=inner):
            return "!" + written(inner)
        case All(nodes=nodes):
            return "(" + " ".join(map(written, nodes)) + ")"
        case Some(nodes=nodes):
            return "(" + " | ".join(map(written, nodes)) + ")"
        case Term():
            return f"{node.field}{node.op}" + ",".join(written_value(value, node.field) for value in node.values)


def written_value(value: Value, field: str) -> str:
    match value:
        case None:
            return "''"
        case Ago(seconds=seconds):
            return f"{seconds}s"
        case Pattern(text=text):
            return "/" + text.replace("/", "\\/") + "/"
        case bool():
            return "yes" if value else "no"
        case str():
            return '"' + re.sub(r'(["\\])', r"\\\1", value) + '"'
        case int() | float():
            return f"{value * 100:g}%" if field == "progress" else str(value)
    return str(value).replace(" ", "T")


def holds(node: Node, job: dict[str, Any]) -> bool:
    """A plain reading of a settled filter."""
    match node:
        case Not(node=inner):
            return not holds(inner, job)
        case All(nodes=nodes):
            return all(holds(part, job) for part in nodes)
        case Some(nodes=nodes):
            return any(holds(part, job) for part in nodes)
        case Term():
            has = job[node.field]
            several = [one for one in (has if isinstance(has, tuple) else (has,)) if one not in (None, "")]
            if not several:
                return node.op is Op.EQ and None in node.values
            return any(_one_holds(node.op, one, value) for one in several for value in node.values)


def _one_holds(op: Op, has: Any, value: Any) -> bool:
    if op is Op.EQ:
        return bool(has == value)
    if isinstance(value, Pattern):
        return re.search(value.text.replace("(?-i)A", "(?-i:A)"), unicodedata.normalize("NFC", has), re.I) is not None
    if op is Op.HAS:
        return _plain(value) in _plain(has)
    return bool({Op.LT: has < value, Op.GT: has > value, Op.LE: has <= value, Op.GE: has >= value}[op])


def _plain(text: str) -> str:
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", text).casefold())


# the two against each other


@dataclass
class Filled:
    """A store with random jobs, and what a list shows of them."""

    runner: asyncio.Runner
    store: SqlStore
    users: list[User]
    jobs: dict[int, dict[str, Any]]

    def check(self, tree: Node, only: int | None) -> None:
        where = settled(tree, now=NOW, me="ann")
        mine = None if only is None else self.users[only]
        seen = {number: job for number, job in self.jobs.items() if mine is None or job["user"] == mine.username}
        expected = [number for number, job in seen.items() if holds(where, job)]
        query = Query(where=where, limit=JOBS, user_id=mine.id if mine else None)
        page = self.runner.run(self.store.read(lambda tx: tx.jobs.page_numbers(query)))
        assert (list(page.rows), page.total) == (expected, len(expected))
        here = matcher(where)
        assert [number for number, job in seen.items() if here(job.get)] == expected


def filled(location: str | Path) -> Iterator[Filled]:
    with asyncio.Runner() as runner:
        store = runner.run(open_store(location))
        users = [a_user("ann"), a_user("bob")]

        def work(tx: Transaction) -> list[Job]:
            for user in users:
                tx.users.insert(user)
            return [tx.jobs.insert(job) for job in random_jobs(tx, users, random.Random(16))]

        by_id = {user.id: user for user in users}
        jobs = {int(job.number): shown(job, by_id[job.user_id]) for job in runner.run(store.write(work))}
        yield Filled(runner, store, users, jobs)
        runner.run(store.close())


@pytest.fixture(scope="module")
def on_sqlite(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Filled]:
    yield from filled(tmp_path_factory.mktemp("filters") / "store.db")


@pytest.fixture(scope="module")
def on_postgresql(postgres_databases: Databases) -> Iterator[Filled]:
    yield from filled(postgres_databases.store())


@given(TREES)
def test_a_tree_as_text_is_the_same_tree(tree: Node) -> None:
    assert parse_filter(written(tree)) == tree


@given(tree=TREES, only=st.none() | st.integers(0, 1))
@settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
def test_sqlite_says_what_a_plain_reading_says(on_sqlite: Filled, tree: Node, only: int | None) -> None:
    on_sqlite.check(tree, only)


@given(tree=TREES, only=st.none() | st.integers(0, 1))
@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
def test_postgresql_says_what_a_plain_reading_says(on_postgresql: Filled, tree: Node, only: int | None) -> None:
    on_postgresql.check(tree, only)
