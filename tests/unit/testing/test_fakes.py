"""The fakes do what the ports promise."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

from oddaemon.domain.events import CacheEvicted, Event, JobCreated
from oddaemon.domain.types import Seconds
from oddaemon.testing.fakes import START, ManualClock, RecordingBus


async def test_sleepers_wake_in_the_order_of_their_times_each_at_its_own() -> None:
    clock = ManualClock()
    woken: list[tuple[str, float]] = []

    async def sleeper(name: str, *durations: float) -> None:
        for duration in durations:
            await clock.sleep(Seconds(duration))
            woken.append((name, clock.monotonic()))

    async with asyncio.TaskGroup() as group:
        group.create_task(sleeper("a", 3, 3))
        group.create_task(sleeper("b", 1, 1, 1.5))
        await clock.until_asleep(2)
        await clock.advance(4)
        assert woken == [("b", 1), ("b", 2), ("a", 3), ("b", 3.5)]
        assert clock.now() == START + timedelta(seconds=4)
        await clock.advance(2)
    assert woken[-1] == ("a", 6)
    assert clock.sleepers == 0


async def test_a_cancelled_sleeper_is_forgotten() -> None:
    clock = ManualClock()
    task = asyncio.ensure_future(clock.sleep(Seconds(5)))
    await clock.until_asleep()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert clock.sleepers == 0


def test_the_wall_clock_may_jump_and_durations_do_not_notice() -> None:
    clock = ManualClock()
    clock.jump(-3600)
    assert clock.now() == START - timedelta(hours=1)
    assert clock.monotonic() == Seconds(0)


async def test_the_bus_remembers_and_delivers_by_type() -> None:
    bus = RecordingBus()
    created, evicted = JobCreated(at=START), CacheEvicted(at=START)
    seen: list[object] = []
    async with bus.subscribe([CacheEvicted.type]) as subscription:
        bus.publish([created, evicted])
        async for event in subscription:
            seen.append(event)
            subscription.close()
    bus.publish([evicted])
    assert seen == [evicted]
    assert bus.types == ["job.created", "cache.evicted", "cache.evicted"]


async def test_a_subscriber_that_raises_gets_the_next_event() -> None:
    class Clumsy:
        name = "clumsy"
        event_types = ()
        seen: list[Event]

        def __init__(self) -> None:
            self.seen = []

        async def handle(self, event: Event) -> None:
            self.seen.append(event)
            raise RuntimeError("clumsy")

    bus, subscriber = RecordingBus(), Clumsy()
    task = asyncio.ensure_future(bus.run_subscriber(subscriber))
    await asyncio.sleep(0)
    bus.publish([JobCreated(at=START), CacheEvicted(at=START)])
    for _ in range(10):
        await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert len(subscriber.seen) == 2
