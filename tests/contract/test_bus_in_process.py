"""The bus of the daemon, and the one that tests use, hold the contract."""

from __future__ import annotations

import asyncio
import logging

import pytest

from oddaemon.domain.events import EVENT_TYPES
from oddaemon.eventbus.in_process import InProcessEventBus
from oddaemon.ports.event_bus import EventBus
from oddaemon.subscribers.audit_log import AuditLog
from oddaemon.testing.bus_contract import AT, BoundedBusContract, EventBusContract, Listener, created, settle
from oddaemon.testing.fakes import RecordingBus


class TestInProcessEventBus(BoundedBusContract):
    @pytest.fixture
    def bus(self) -> EventBus:
        return InProcessEventBus()


class TestRecordingBus(EventBusContract):
    @pytest.fixture
    def bus(self) -> EventBus:
        return RecordingBus()


async def test_failures_and_gaps_of_subscribers_are_logged(caplog: pytest.LogCaptureFixture) -> None:
    bus = InProcessEventBus()
    listener = Listener(fails_on=(5000,))
    running = asyncio.create_task(bus.run_subscriber(listener))
    await asyncio.sleep(0)
    bus.publish([created(seq) for seq in range(1, 5001)])
    await settle(lambda: 5000 in listener.seen)
    running.cancel()
    await asyncio.wait({running})
    actions = [getattr(record, "action", "") for record in caplog.records]
    assert actions == ["subscriber_gap", "subscriber_failed"]
    assert getattr(caplog.records[0], "dropped", 0) + len(listener.seen) == 5000


async def test_the_audit_log_has_a_line_for_every_durable_event(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    bus, audit = InProcessEventBus(), AuditLog()
    running = asyncio.create_task(bus.run_subscriber(audit))
    await asyncio.sleep(0)
    bus.publish([kind(at=AT, seq=1, data={"x": 1}) for kind in EVENT_TYPES.values()])
    durable = [name for name, kind in EVENT_TYPES.items() if kind.durable]
    await settle(lambda: len(caplog.records) == len(durable))
    running.cancel()
    await asyncio.wait({running})
    assert [getattr(record, "action", "") for record in caplog.records] == durable
    assert all(getattr(record, "data", None) == {"x": 1} for record in caplog.records)
