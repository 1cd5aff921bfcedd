"""The guard that every test runs under (tests/conftest.py) is there, and finds what it has to."""

from __future__ import annotations

import asyncio
from pathlib import Path
from uuid import uuid4

import pytest
from blockbuster import BlockingError

from oddaemon.domain.types import ReplicaId
from oddaemon.ports.tasks import to_the_end
from oddaemon.storage.local import LocalStorage
from oddaemon.store.database import parse_target


async def test_a_call_of_the_daemons_that_blocks_is_found(
    blocking_calls: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def as_before(location: Path) -> None:
        parse_target(location)

    # what a coroutine of the daemon's own calls: its file is what tells it from a test
    code = as_before.__code__.replace(co_filename=to_the_end.__code__.co_filename)
    monkeypatch.setattr(as_before, "__code__", code)
    with pytest.raises(BlockingError):
        await as_before(tmp_path)
    (found,) = blocking_calls
    assert "store/database.py" in found
    assert "ports/tasks.py" in found
    blocking_calls.clear()


async def test_what_a_test_calls_itself_and_what_runs_in_a_thread_is_none_of_its_business(
    blocking_calls: list[str], tmp_path: Path
) -> None:
    storage = LocalStorage(tmp_path)
    storage.prepare(known=False)
    await asyncio.to_thread(storage.allocate, ReplicaId(uuid4()))
    assert blocking_calls == []
