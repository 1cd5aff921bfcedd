"""What holds for every test: shipped suites explain their asserts, and no test leaves a child process behind or has
the daemon block its event loop."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings

if TYPE_CHECKING:
    from tests.support.postgres import Databases

# a machine that does other things as well must not fail a test of what is computed
settings.register_profile("patient", deadline=None, max_examples=50)
settings.load_profile("patient")
pytest.register_assert_rewrite("oddaemon.testing", "tests.support")

LEFT_SECONDS = 20.0
SLOWEST_FIRST = ("hosts", "system", "faults", "contract", "integration", "property")
"""Folders whose tests mostly wait: what is short fills up the time of the workers at the end."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    def place(item: pytest.Item) -> int:
        folder = item.path.parent.name
        return SLOWEST_FIRST.index(folder) if folder in SLOWEST_FIRST else len(SLOWEST_FIRST)

    items.sort(key=place)


def children(of: int | None = None) -> dict[int, str]:
    """The children that live, of this process or of another, with their command lines. Only Linux has this file."""
    parent = os.getpid() if of is None else of
    listed = Path(f"/proc/{parent}/task/{parent}/children")
    if not listed.exists():
        return {}
    found: dict[int, str] = {}
    for pid in map(int, listed.read_text().split()):
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
            command = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if "tests.support.nursery" in command and of is None:
            # stays for the life of this process, and each program that it began has a child of it for its keeper
            found |= children(pid)
        # multiprocessing keeps its own helper, too
        elif state != "Z" and "multiprocessing.resource_tracker" not in command:
            found[pid] = command.strip()
    return found


@pytest.fixture(autouse=True)
def _no_child_is_left() -> Iterator[None]:
    before = children()
    yield
    deadline = time.monotonic() + LEFT_SECONDS
    while left := {pid: command for pid, command in children().items() if pid not in before}:
        if time.monotonic() > deadline:
            pytest.fail(f"child processes are left: {left}")
        time.sleep(0.02)


@pytest.fixture(scope="session")
def blocking_calls() -> Iterator[list[str]]:
    from tests.support.blocking import loop_guard  # only now: pytest rewrites its asserts

    with loop_guard() as found:
        yield found


@pytest.fixture(autouse=True)
def _nothing_blocks_the_loop(blocking_calls: list[str]) -> Iterator[None]:
    blocking_calls.clear()
    yield
    if blocking_calls:
        pytest.fail(f"calls that block the event loop: {blocking_calls}")


@pytest.fixture(scope="session")
def postgres_databases() -> Iterator[Databases]:
    """A PostgreSQL server, started by the first test that needs one."""
    from tests.support.postgres import test_databases

    with test_databases() as databases:
        yield databases


@pytest.fixture
def postgres(postgres_databases: Databases) -> str:
    """The URL of a PostgreSQL database that holds an unused store."""
    return postgres_databases.store()


@pytest.fixture(autouse=True)
def database(request: pytest.FixtureRequest) -> Iterator[str]:
    """`sqlite`; in a module that names `DATABASES`, each test once with each, but for those that are marked
    `any_database`: what they prove has nothing to do with the store."""
    kind: str = getattr(request, "param", "sqlite")
    if kind == "sqlite":
        yield kind
        return
    from tests.support import places

    found = places.Places(request.getfixturevalue("postgres_databases"))
    places.use(found)
    try:
        yield kind
    finally:
        places.use(None)
        found.close()


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    databases = getattr(metafunc.module, "DATABASES", ())
    if databases and metafunc.definition.get_closest_marker("any_database") is None:
        metafunc.parametrize("database", databases, indirect=True)


@pytest.fixture
def empty_postgres(postgres_databases: Databases) -> Iterator[str]:
    """The URL of a PostgreSQL database that holds nothing."""
    url = postgres_databases.create()
    yield url
    postgres_databases.drop(url)
