"""What every EventBus promises, as tests. A subclass gives the fixture `bus`.

    class TestMyBus(EventBusContract):
        @pytest.fixture
        def bus(self) -> EventBus: ...

`BoundedBusContract` adds what holds for a bus whose queues have an end: every one that a daemon uses.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Sequence
from datetime import UTC, datetime
from typing import TypeVar

import pytest

from oddaemon.domain.events import Event, JobChanged, JobCreated, JobProgress
from oddaemon.ports.event_bus import EventBus, Gap, Overflow, Subscriber, Subscription

T = TypeVar("T")
AT = datetime(2026, 1, 2, tzinfo=UTC)
PATIENCE = 60.0


def created(seq: int) -> JobCreated:
    return JobCreated(at=AT, seq=seq)


def numbers(items: Sequence[Event | Gap]) -> list[int]:
    return [item.seq for item in items if isinstance(item, Event)]


async def within(answer: Awaitable[T]) -> T:
    return await asyncio.wait_for(answer, PATIENCE)


async def take(source: AsyncIterator[Event | Gap], count: int) -> list[Event | Gap]:
    return [await within(anext(source)) for _ in range(count)]


async def rest(subscription: Subscription) -> list[Event | Gap]:
    """What is left in a closed subscription."""
    return await within(_all(subscription))


async def _all(subscription: Subscription) -> list[Event | Gap]:
    return [item async for item in subscription]


class Listener(Subscriber):
    """Remembers what it was given; `fails_on` sequence numbers make it raise."""

    def __init__(self, types: Collection[str] = (), fails_on: Collection[int] = ()) -> None:
        self.seen: list[int] = []
        self._types = types
        self._fails_on = fails_on

    @property
    def name(self) -> str:
        return "listener"

    @property
    def event_types(self) -> Collection[str]:
        return self._types

    async def handle(self, event: Event) -> None:
        self.seen.append(event.seq)
        if event.seq in self._fails_on:
            raise RuntimeError("on purpose")


async def settle(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE):
        while not condition():  # noqa: ASYNC110  what is waited for has no event of its own
            await asyncio.sleep(0)


class EventBusContract:
    @pytest.fixture
    def bus(self) -> EventBus:
        raise TypeError("the subclass gives this fixture")

    async def test_order_is_that_of_publication(self, bus: EventBus) -> None:
        async with bus.subscribe() as first, bus.subscribe() as second:
            bus.publish([created(1), created(2)])
            bus.publish([])
            bus.publish([created(3)])
            assert numbers(await take(aiter(first), 3)) == [1, 2, 3]
            assert numbers(await take(aiter(second), 3)) == [1, 2, 3]

    async def test_only_from_now_on(self, bus: EventBus) -> None:
        bus.publish([created(1)])
        async with bus.subscribe() as late:
            bus.publish([created(2)])
            assert numbers(await take(aiter(late), 1)) == [2]

    async def test_only_the_types_that_were_asked_for(self, bus: EventBus) -> None:
        async with bus.subscribe(("job.created", "job.progress")) as chosen:
            bus.publish([JobChanged(at=AT, seq=1), created(2), JobProgress(at=AT)])
            assert [type(item) for item in await take(aiter(chosen), 2)] == [JobCreated, JobProgress]
            assert bus.listening("job.created")

    async def test_a_waiting_reader_is_woken(self, bus: EventBus) -> None:
        async with bus.subscribe() as subscription:
            reading = asyncio.create_task(take(aiter(subscription), 1))
            await asyncio.sleep(0)
            bus.publish([created(1)])
            assert numbers(await within(reading)) == [1]

    async def test_closing_ends_a_waiting_reader(self, bus: EventBus) -> None:
        subscription = bus.subscribe()
        reading = asyncio.create_task(_all(subscription))
        await asyncio.sleep(0)
        subscription.close()
        assert await within(reading) == []

    async def test_what_was_queued_before_closing_can_be_read(self, bus: EventBus) -> None:
        subscription = bus.subscribe()
        bus.publish([created(1), created(2)])
        subscription.close()
        subscription.close()
        bus.publish([created(3)])
        assert numbers(await rest(subscription)) == [1, 2]

    async def test_a_reader_that_is_cancelled_takes_nothing_with_it(self, bus: EventBus) -> None:
        async with bus.subscribe() as subscription:
            reading = asyncio.create_task(take(aiter(subscription), 1))
            await asyncio.sleep(0)
            reading.cancel()
            with pytest.raises(asyncio.CancelledError):
                await reading
            bus.publish([created(1)])
            assert numbers(await take(aiter(subscription), 1)) == [1]

    async def test_leaving_unsubscribes(self, bus: EventBus) -> None:
        with pytest.raises(RuntimeError):
            async with bus.subscribe() as subscription:
                raise RuntimeError
        bus.publish([created(1)])
        assert await rest(subscription) == []

    async def test_a_subscriber_that_raises_gets_the_next_event(self, bus: EventBus) -> None:
        listener = Listener(fails_on=(2,))
        running = asyncio.create_task(bus.run_subscriber(listener))
        await asyncio.sleep(0)
        bus.publish([created(1), created(2), created(3)])
        await settle(lambda: listener.seen == [1, 2, 3])
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await within(running)
        bus.publish([created(4)])
        await asyncio.sleep(0)
        assert listener.seen == [1, 2, 3]

    async def test_a_subscriber_gets_its_types_alone(self, bus: EventBus) -> None:
        listener = Listener(types=("job.created",))
        running = asyncio.create_task(bus.run_subscriber(listener))
        await asyncio.sleep(0)
        bus.publish([JobChanged(at=AT, seq=1), created(2)])
        await settle(lambda: listener.seen == [2])
        running.cancel()
        await asyncio.wait({running})

    async def test_a_subscriber_that_hangs_delays_nobody(self, bus: EventBus) -> None:
        class Hanging(Listener):
            async def handle(self, event: Event) -> None:
                await asyncio.Event().wait()

        other = Listener()
        running = [asyncio.create_task(bus.run_subscriber(found)) for found in (Hanging(), other)]
        await asyncio.sleep(0)
        for seq in range(1, 51):
            bus.publish([created(seq)])
        await settle(lambda: other.seen == list(range(1, 51)))
        for task in running:
            task.cancel()
        await asyncio.wait(running)


class BoundedBusContract(EventBusContract):
    async def test_a_full_queue_drops_its_oldest_if_that_was_asked_for(self, bus: EventBus) -> None:
        subscription = bus.subscribe(capacity=3, overflow=Overflow.DROP_OLDEST)
        bus.publish([created(seq) for seq in range(1, 11)])
        subscription.close()
        assert await rest(subscription) == [created(8), created(9), created(10)]

    async def test_a_full_queue_tells_of_a_gap_where_it_is(self, bus: EventBus) -> None:
        async with bus.subscribe(capacity=3) as subscription:
            bus.publish([created(seq) for seq in range(1, 6)])
            reader = aiter(subscription)
            assert await take(reader, 3) == [Gap(3), created(4), created(5)]
            bus.publish([created(6)])
            assert await take(reader, 1) == [created(6)]

    async def test_a_gap_counts_everything_that_was_dropped(self, bus: EventBus) -> None:
        subscription = bus.subscribe(capacity=10)
        bus.publish([created(seq) for seq in range(1, 1001)])
        subscription.close()
        gap, *left = await rest(subscription)
        assert isinstance(gap, Gap)
        assert gap.dropped + len(left) == 1000
        assert numbers(left) == list(range(1001 - len(left), 1001))

    async def test_a_slow_subscription_costs_the_others_nothing(self, bus: EventBus) -> None:
        async with bus.subscribe(capacity=1) as slow, bus.subscribe(capacity=100) as quick:
            bus.publish([created(seq) for seq in range(1, 101)])
            assert numbers(await take(aiter(quick), 100)) == list(range(1, 101))
            assert await take(aiter(slow), 2) == [Gap(99), created(100)]

    @pytest.mark.parametrize("capacity", [0, -1])
    async def test_a_queue_holds_at_least_one_event(self, bus: EventBus, capacity: int) -> None:
        with pytest.raises(ValueError, match="at least one"):
            bus.subscribe(capacity=capacity)

    async def test_types_may_be_named_by_their_beginning(self, bus: EventBus) -> None:
        async with bus.subscribe(("job.cre*",)) as some, bus.subscribe(("*",)) as every:
            bus.publish([JobChanged(at=AT, seq=1), created(2)])
            assert numbers(await take(aiter(some), 1)) == [2]
            assert numbers(await take(aiter(every), 2)) == [1, 2]

    async def test_who_listens_is_known(self, bus: EventBus) -> None:
        assert not bus.listening("job.progress")
        async with bus.subscribe(("job.created",)):
            assert not bus.listening("job.progress")
            async with bus.subscribe(("job.*",)):
                assert bus.listening("job.progress")
            assert not bus.listening("job.progress")
        async with bus.subscribe():
            assert bus.listening("job.progress")
        assert not bus.listening("job.created")

    async def test_a_subscriber_goes_on_after_a_gap(self, bus: EventBus) -> None:
        release = asyncio.Event()

        class Slow(Listener):
            async def handle(self, event: Event) -> None:
                await release.wait()
                await super().handle(event)

        listener = Slow()
        running = asyncio.create_task(bus.run_subscriber(listener))
        await asyncio.sleep(0)
        bus.publish([created(seq) for seq in range(1, 5001)])
        release.set()
        await settle(lambda: 5000 in listener.seen)
        assert listener.seen == sorted(listener.seen)
        assert len(listener.seen) < 5000
        running.cancel()
        await asyncio.wait({running})
