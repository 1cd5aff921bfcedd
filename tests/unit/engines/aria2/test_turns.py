from __future__ import annotations

import asyncio
from uuid import uuid4

import pytest

from oddaemon.domain.types import ReplicaId
from oddaemon.engines.aria2.turns import Turns
from oddaemon.ports.tasks import KeyedLocks, TaskScope


async def test_one_at_a_time() -> None:
    turns, a, b, c = Turns(), *(ReplicaId(uuid4()) for _ in range(3))
    await turns.take("h", a)
    await turns.take("h", a)
    await turns.take("other", b)
    waiting = [asyncio.ensure_future(turns.take("h", one)) for one in (b, c)]
    await asyncio.sleep(0)
    assert not any(task.done() for task in waiting)
    turns.release(a)
    done, pending = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED, timeout=5)
    assert len(done) == 1
    turns.release(b)
    turns.release(c)
    await asyncio.wait(pending, timeout=5)


async def test_a_waiter_that_gives_up_takes_nothing() -> None:
    turns, a, b = Turns(), ReplicaId(uuid4()), ReplicaId(uuid4())
    await turns.take("h", a)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(turns.take("h", b), 0.01)
    turns.release(a)
    assert turns.is_free("h", b)
    assert turns.is_free("h", a)


async def test_locks_of_one_key_exclude_each_other_and_leave_nothing() -> None:
    locks, inside, most = KeyedLocks(), 0, 0

    async def work(key: str) -> None:
        nonlocal inside, most
        async with locks.holding(key):
            inside += 1
            most = max(most, inside)
            await asyncio.sleep(0)
            inside -= 1

    await asyncio.gather(*(work("a") for _ in range(20)))
    assert most == 1
    await asyncio.gather(work("a"), work("b"))
    assert most == 2
    waiting = asyncio.ensure_future(work("a"))
    async with locks.holding("a"):
        await asyncio.sleep(0)
        waiting.cancel()
    await asyncio.wait([waiting])
    assert not locks._locks


async def test_a_scope_ends_its_tasks_and_may_be_opened_again() -> None:
    scope = TaskScope("scope")
    for _ in range(2):
        await scope.open()
        task = scope.start(asyncio.sleep(60), "sleeper")
        await scope.close()
        assert task.cancelled()
    await scope.close()
    with pytest.raises(RuntimeError):
        scope.start(asyncio.sleep(60), "too late")
