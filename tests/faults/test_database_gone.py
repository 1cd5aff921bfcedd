"""The PostgreSQL server goes away, at the worst moments, and comes back."""

from __future__ import annotations

import asyncio
import logging
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path

import psycopg
import pytest

from oddaemon.domain.errors import StoreLocked, StoreUnavailable
from oddaemon.domain.events import Event, JobCreated
from oddaemon.domain.types import JobNumber
from oddaemon.domain.user import User
from oddaemon.ports.store import Query, Transaction
from oddaemon.store import database, server, sql_store, unit_of_work
from oddaemon.store.database import parse_target
from oddaemon.store.migrate import open_store
from oddaemon.store.sql_store import SqlStore
from oddaemon.testing.store_contract import Gate, bump, count_of
from oddaemon.testing.store_samples import NOW, a_job, a_user
from tests.support.postgres import Server, running_server
from tests.support.proxy import AtCommit, Proxy, proxy_to
from tests.support.wait import until

CHECKOUT = Path(__file__).resolve().parents[2]
USER = a_user("ann")


@pytest.fixture
def proxy(postgres: str) -> Iterator[Proxy]:
    with proxy_to(postgres) as proxy:
        yield proxy


@pytest.fixture
def published() -> list[Event]:
    return []


@pytest.fixture
async def store(proxy: Proxy, published: list[Event]) -> AsyncIterator[SqlStore]:
    store = await open_store(proxy.url, publish=published.extend)
    await store.write(lambda tx: tx.users.insert(USER))
    yield store
    await store.close()


OWN_SERVER = pytest.mark.xdist_group("a PostgreSQL server of one's own")
"""One process has it, and no other starts one."""


@pytest.fixture(scope="module")
def own_server() -> Iterator[Server]:
    with running_server() as own:
        yield own


def add(tx: Transaction, user: User = USER) -> JobNumber:
    job = tx.jobs.insert(a_job(tx, user))
    tx.events.add(JobCreated(at=NOW, job_id=job.id, job_number=job.number))
    return job.number


async def numbers(store: SqlStore) -> list[int]:
    page = await store.read(lambda tx: tx.jobs.page(Query(limit=10_000)))
    return [int(job.number) for job in page.rows]


@pytest.mark.parametrize("moment", [AtCommit.LOSE_ANSWER, AtCommit.LOSE_REQUEST])
async def test_an_add_whose_commit_is_not_answered_is_there_once(
    proxy: Proxy, store: SqlStore, published: list[Event], moment: AtCommit
) -> None:
    for expected in (1, 2, 3):
        proxy.at_commit = moment
        assert await store.write(add) == expected
        assert await numbers(store) == list(range(1, expected + 1))
    assert [event.seq for event in published] == [1, 2, 3]
    assert [event.job_number for event in published] == [1, 2, 3]


@pytest.mark.parametrize("moment", [AtCommit.LOSE_ANSWER, AtCommit.LOSE_REQUEST])
async def test_many_adds_in_one_commit_that_is_not_answered(
    proxy: Proxy, store: SqlStore, published: list[Event], moment: AtCommit
) -> None:
    gate = Gate()
    blocker = asyncio.ensure_future(store.write(lambda _: gate.wait()))
    await gate.reached()

    def every_third_fails(tx: Transaction, index: int) -> JobNumber:
        number = add(tx)
        if index % 3 == 0:
            raise KeyError(index)
        return number

    adds = [
        asyncio.ensure_future(store.write(lambda tx, index=index: every_third_fails(tx, index)))  # type: ignore[misc]
        for index in range(30)
    ]
    gate.open()
    await blocker
    proxy.at_commit = moment
    outcomes = await asyncio.gather(*adds, return_exceptions=True)
    assert [index for index, found in enumerate(outcomes) if isinstance(found, KeyError)] == list(range(0, 30, 3))
    assert sorted(found for found in outcomes if isinstance(found, int)) == list(range(1, 21))
    assert await numbers(store) == list(range(1, 21))
    assert [event.seq for event in published] == list(range(1, 21))


async def test_a_commit_that_nobody_can_tell_of_is_said_to_be_so(
    proxy: Proxy, store: SqlStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(unit_of_work, "LEARN_SECONDS", 0.5)
    gate = Gate()
    adding = asyncio.ensure_future(store.write(lambda tx: (add(tx), gate.wait())))
    await gate.reached()
    proxy.at_commit = AtCommit.LOSE_ANSWER
    await asyncio.to_thread(_stop_listening, proxy)
    gate.open()
    with pytest.raises(StoreUnavailable, match="may have been stored") as caught:
        await adding
    assert "odctl ls" in caught.value.hint
    await asyncio.to_thread(proxy.serve)
    assert await numbers(store) == [1]
    assert await store.write(add) == 2


def _stop_listening(proxy: Proxy) -> None:
    """New connections are refused; those that are open stay."""
    listener, proxy._listener = proxy._listener, None
    assert listener is not None
    (proxy._folder / ".s.PGSQL.5432").unlink()
    listener.shutdown(2)
    listener.close()


async def test_calls_fail_clearly_while_it_is_away_and_succeed_afterwards(proxy: Proxy, store: SqlStore) -> None:
    await store.write(add)
    await asyncio.to_thread(proxy.refuse)
    for _ in range(2):
        outcomes = await asyncio.gather(
            store.write(add), store.write(bump), numbers(store), store.read(count_of), return_exceptions=True
        )
        for outcome in outcomes:
            assert isinstance(outcome, StoreUnavailable), outcome
            assert outcome.hint
            assert "postgres" not in outcome.message
    await asyncio.to_thread(proxy.serve)
    assert await store.write(add) == 2
    assert await numbers(store) == [1, 2]


async def test_a_short_absence_is_not_noticed(
    proxy: Proxy, store: SqlStore, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """It is back when a write has been turned away once."""
    caplog.set_level(logging.INFO, unit_of_work.__name__)
    turned_away: list[logging.LogRecord] = []

    def come_back(record: logging.LogRecord) -> bool:
        if getattr(record, "action", "") == "store.retry" and not turned_away:
            turned_away.append(record)
            proxy.serve()
        return True

    monkeypatch.setattr(unit_of_work.log, "filters", [come_back])
    await asyncio.to_thread(proxy.refuse)
    assert await store.write(add) == 1
    assert turned_away


async def test_connections_that_the_server_ends_are_made_anew(postgres: str, store: SqlStore) -> None:
    await asyncio.gather(store.write(add), *(numbers(store) for _ in range(5)))

    def end_all() -> None:
        with psycopg.connect(postgres) as connection:
            connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name LIKE 'opendebrid %'"
                " AND datname = current_database()"
            )

    for expected in (2, 3):
        await asyncio.to_thread(end_all)
        assert await numbers(store) == list(range(1, expected))
        assert await store.write(add) == expected


async def test_a_connection_lost_in_the_midst_of_a_work_runs_it_again(proxy: Proxy, store: SqlStore) -> None:
    runs: Counter[str] = Counter()

    def work(tx: Transaction) -> JobNumber:
        runs["write"] += 1
        number = add(tx)
        if runs["write"] == 1:
            proxy.cut()
        tx.settings.put("after", 1, NOW)
        return number

    def look(tx: Transaction) -> int:
        runs["read"] += 1
        if runs["read"] == 1:
            tx.settings.all()
            proxy.cut()
        return len(tx.settings.all())

    assert await store.write(work) == 1
    assert await store.read(look) == 1
    assert runs == {"write": 2, "read": 2}


async def test_slow_answers_lose_nothing(proxy: Proxy, store: SqlStore) -> None:
    proxy.hold()
    calls = [asyncio.ensure_future(store.write(add)) for _ in range(5)]
    _, waiting = await asyncio.wait(calls, timeout=0.3)
    assert len(waiting) == 5
    proxy.flow()
    assert sorted(await asyncio.gather(*calls)) == [1, 2, 3, 4, 5]


async def test_a_server_that_never_answers_is_given_up(
    postgres: str, proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither calls nor the end of the daemon hang on it."""
    patience = [60.0]  # short only while there is no answer: a machine may sleep while there is one
    monkeypatch.setattr(server.Impatient, "patience", property(lambda _: patience[0], lambda *_: None))
    monkeypatch.setattr(database, "CONNECT_TIMEOUT", 2)
    store = await open_store(proxy.url)
    await store.write(lambda tx: tx.users.insert(USER))
    assert await store.read(count_of) == 0
    proxy.hold()
    patience[0] = 0.5
    for call in (store.write(add), store.read(count_of)):
        with pytest.raises(StoreUnavailable):
            await call
    writing = asyncio.ensure_future(store.write(add))
    await asyncio.sleep(0)
    async with asyncio.timeout(20):
        await store.close()
    with pytest.raises(StoreUnavailable):
        await writing
    proxy.flow()
    patience[0] = 60.0
    again = await open_store(postgres)
    assert await numbers(again) == []
    await again.close()


async def test_a_statement_that_takes_too_long_is_given_up(store: SqlStore, postgres: str) -> None:
    """The server ends it; here with a shorter limit, and a lock in the way."""
    connection = store._writer._connected()

    def limit(seconds: int) -> None:
        with connection.begin():
            connection.exec_driver_sql(f"SET statement_timeout = '{seconds}s'")

    await asyncio.to_thread(limit, 1)
    blocker = await asyncio.to_thread(lambda: psycopg.connect(postgres))
    try:
        await asyncio.to_thread(blocker.execute, "LOCK TABLE jobs IN ACCESS EXCLUSIVE MODE")
        with pytest.raises(StoreUnavailable, match="too long"):
            await store.write(add)
    finally:
        await asyncio.to_thread(blocker.close)
    assert await store.write(add) == 1


# one store, one daemon


async def test_a_second_daemon_is_refused(postgres: str, store: SqlStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "LOCK_PATIENCE", 0.1)
    with pytest.raises(StoreLocked, match="in use by the daemon with pid") as caught:
        await open_store(postgres)
    assert caught.value.details["pid"]
    await store.write(add)
    await store.close()
    again = await open_store(postgres)
    assert await numbers(again) == [1]
    await again.close()


async def test_a_killed_daemon_is_followed_at_once(postgres: str) -> None:
    program = (
        "import asyncio, sys\nfrom oddaemon.store.migrate import open_store\n"
        "async def main():\n    store = await open_store(sys.argv[1])\n    print('open', flush=True)\n"
        "    await asyncio.to_thread(sys.stdin.read)\nasyncio.run(main())\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program, postgres], stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=CHECKOUT
    ) as holder:
        try:
            assert holder.stdout is not None
            assert await asyncio.to_thread(holder.stdout.readline) == b"open\n"
        finally:
            holder.kill()
    await (await open_store(postgres)).close()


async def test_a_daemon_that_was_replaced_can_store_nothing(
    postgres: str, proxy: Proxy, store: SqlStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "LOCK_PATIENCE", 0.2)
    monkeypatch.setattr(sql_store, "KEEP_SECONDS", 0.1)
    keeping = asyncio.ensure_future(store.keep())
    await store.write(add)
    await asyncio.to_thread(proxy.refuse)
    other = await open_store(postgres)
    try:
        await asyncio.to_thread(proxy.serve)
        with pytest.raises(StoreLocked):
            await store.write(add)
        async with asyncio.timeout(20):
            with pytest.raises(StoreLocked):
                await keeping
        assert await other.write(add) == 2
        assert await numbers(other) == [1, 2]
    finally:
        await other.close()


async def test_a_replaced_daemon_s_last_commit_is_not_repeated(
    postgres: str, proxy: Proxy, store: SqlStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The answer is lost, and the other one has the lock before it can be asked for: that it is unknown is said."""
    monkeypatch.setattr(server, "LOCK_PATIENCE", 0.2)
    gate = Gate()
    adding = asyncio.ensure_future(store.write(lambda tx: (add(tx), gate.wait())))
    await gate.reached()
    proxy.at_commit = AtCommit.LOSE_ANSWER
    await asyncio.to_thread(_stop_listening, proxy)
    gate.open()
    other = await open_store(postgres)  # waits for the lost connection to end
    try:
        await asyncio.to_thread(proxy.serve)
        with pytest.raises(StoreUnavailable, match="may have been stored"):
            await adding
        assert await numbers(other) == [1]
    finally:
        await other.close()


async def test_an_own_connection_that_the_server_still_holds_is_ended(proxy: Proxy, store: SqlStore) -> None:
    """As after a cut cable: the server keeps the lost session, and with it the lock, until it is told."""
    await store.write(add)
    await asyncio.to_thread(proxy.forget)
    assert await store.write(add) == 2
    assert await numbers(store) == [1, 2]


async def test_the_lock_is_taken_again_without_a_write(
    postgres: str,
    proxy: Proxy,
    store: SqlStore,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(server, "LOCK_PATIENCE", 0.1)
    monkeypatch.setattr(sql_store, "KEEP_SECONDS", 0.05)
    keeping = asyncio.ensure_future(store.keep())
    try:
        await store.write(add)
        await asyncio.to_thread(proxy.refuse)
        await until(lambda: "the database is away" in caplog.messages, what="the loss to be noticed")
        await asyncio.to_thread(proxy.serve)

        async def held() -> bool:
            def look() -> bool:
                with psycopg.connect(postgres) as connection:
                    return bool(connection.execute("SELECT 1 FROM pg_locks WHERE locktype = 'advisory'").fetchone())

            return await asyncio.to_thread(look)

        await until(held, what="the lock")
        with pytest.raises(StoreLocked):
            await open_store(postgres)
        assert not keeping.done()
    finally:
        keeping.cancel()
        await asyncio.gather(keeping, return_exceptions=True)


# the server itself


@OWN_SERVER
@pytest.mark.parametrize("at_once", [True, False])
async def test_a_server_that_restarts_under_load_loses_nothing(own_server: Server, at_once: bool) -> None:
    """Every add that was answered is there once; of those that failed, none is there twice."""
    name = f"load_{at_once}".lower()
    await asyncio.to_thread(_run, own_server.url(), f"CREATE DATABASE {name}")
    store = await open_store(own_server.url(name))
    await store.write(lambda tx: tx.users.insert(USER))
    answered: list[int] = []
    ending = asyncio.Event()

    async def adds() -> None:
        while not ending.is_set():
            try:
                answered.append(await store.write(add))
            except StoreUnavailable:
                await asyncio.sleep(0.02)

    try:
        adders = [asyncio.ensure_future(adds()) for _ in range(8)]
        for _ in range(3):
            before = len(answered)
            await until(lambda before=before: len(answered) > before + 10, what="adds")  # type: ignore[misc]
            await asyncio.to_thread(own_server.stop, at_once=at_once)
            await asyncio.to_thread(own_server.start)
        before = len(answered)
        await until(lambda: len(answered) > before + 10, what="adds")
        ending.set()
        await asyncio.gather(*adders)
        found = await numbers(store)
        assert found == list(range(1, len(found) + 1))
        assert sorted(answered) == sorted(set(answered))
        assert set(answered) <= set(found)
        events = await store.read(lambda tx: tx.events.after(0, limit=10_000))
        assert [event.job_number for event in events] == found
    finally:
        await store.close()


async def test_a_server_that_is_not_there_at_the_start_is_said_to_be_so(tmp_path: Path) -> None:
    for url in (f"postgresql://ann:geheim@/x?host={tmp_path}", f"postgres://ann@/x?host={tmp_path}&password=geheim"):
        with pytest.raises(StoreUnavailable) as caught:
            await open_store(url)
        assert str(tmp_path) in caught.value.message
        assert "geheim" not in f"{caught.value.message} {caught.value.hint}"
        assert "DATABASE_URL" in caught.value.hint
        assert "geheim" not in parse_target(url).shown


@OWN_SERVER
async def test_too_many_connections_pass(own_server: Server) -> None:
    """The server takes one connection of this role, which is the writer's: reads fail until it takes more."""
    for sql in ("CREATE ROLE few LOGIN CONNECTION LIMIT 1", "CREATE DATABASE few OWNER few"):
        await asyncio.to_thread(_run, own_server.url(), sql)
    store = await open_store(own_server.url("few").replace("postgres@", "few@"))
    try:
        await store.write(lambda tx: tx.users.insert(USER))
        assert await store.write(add) == 1
        with pytest.raises(StoreUnavailable):
            await numbers(store)
        await asyncio.to_thread(_run, own_server.url(), "ALTER ROLE few CONNECTION LIMIT 3")
        assert await numbers(store) == [1]
    finally:
        await store.close()


def _run(url: str, *statements: str) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        for sql in statements:
            connection.execute(sql.encode())


# database.max_connections


@pytest.mark.parametrize(("most", "opened"), [(2, 2), (4, 4), (25, 9)])
async def test_no_more_connections_than_the_setting_allows(postgres: str, most: int, opened: int) -> None:
    store = await open_store(postgres, max_connections=most)
    gates: Sequence[Gate] = [Gate() for _ in range(most)]
    works = [lambda tx, gate=gate: (tx.settings.all(), gate.wait()) for gate in gates]
    reads = [asyncio.ensure_future(store.read(work)) for work in works]
    try:
        await store.write(bump)

        def count() -> int:
            with psycopg.connect(postgres) as connection:
                found = connection.execute(
                    "SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE 'opendebrid %'"
                    " AND datname = current_database()"
                ).fetchone()
                assert found is not None
                return int(found[0])

        for gate in gates[: opened - 1]:
            await gate.reached()
        assert await asyncio.to_thread(count) == opened
    finally:
        for gate in gates:
            gate.open()
        await asyncio.gather(*reads)
        await store.close()
