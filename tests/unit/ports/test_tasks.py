"""Clean-up that nothing cuts short."""

from __future__ import annotations

import asyncio

import pytest

from oddaemon.ports.tasks import to_the_end


async def test_it_waits_for_the_end_however_often_it_is_cancelled() -> None:
    go, ended = asyncio.Event(), asyncio.Event()

    async def work() -> None:
        await go.wait()
        ended.set()

    waiting = asyncio.create_task(to_the_end(asyncio.ensure_future(work())))
    for _ in range(3):
        await asyncio.sleep(0)
        waiting.cancel()
    await asyncio.sleep(0)
    assert not waiting.done()
    go.set()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert ended.is_set()


async def test_two_deadlines_that_pass_one_after_the_other_are_told_as_one() -> None:
    async def work() -> None:
        await asyncio.sleep(0.1)

    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.02), asyncio.timeout(0.01):
            await to_the_end(asyncio.ensure_future(work()))


async def test_without_a_cancellation_it_is_the_works_own_answer_or_error() -> None:
    async def answer() -> int:
        return 5

    async def error() -> int:
        raise OSError("full")

    assert await to_the_end(asyncio.ensure_future(answer())) == 5
    with pytest.raises(OSError, match="full"):
        await to_the_end(asyncio.ensure_future(error()))
