"""Workers are online while they tell, and offline after three heartbeats of silence: in the eyes of a clock that a test
moves."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path

import pytest

from oddaemon.domain.admission import Limits
from oddaemon.domain.node import DiskUsage, EngineHealth, Liveness, NodeLimits, NodeSnapshot
from oddaemon.domain.types import Bytes, EngineName, NodeId, Seconds
from oddaemon.services.board import Board
from oddaemon.services.node_watch import NodeWatch
from oddaemon.store.migrate import open_store
from oddaemon.store.sql_store import SqlStore
from oddaemon.testing.fakes import START, ManualClock

HERE, NAS = NodeId("here"), NodeId("nas")
SEEN = NodeSnapshot(
    id=NAS, name="nas", is_controller=False, online=True, disk=DiskUsage(total=Bytes(100), free=Bytes(50)),
    engines=(EngineHealth(name=EngineName("aria2"), ok=True),),
)  # fmt: skip


@dataclass(slots=True)
class Setting:
    store: SqlStore
    clock: ManualClock = field(default_factory=ManualClock)
    changes: list[int] = field(default_factory=list)
    back: list[NodeId] = field(default_factory=list)
    watch: NodeWatch = field(init=False)

    async def restart(self) -> None:
        """A new process over the same store."""
        self.watch = NodeWatch(
            store=self.store, clock=self.clock, board=Board(), limits=lambda: Limits(min_disk_free=Bytes(1)),
            changed=lambda: self.changes.append(1), local=HERE,
            life=lambda: Liveness(heartbeat_every=Seconds(5), grace=Seconds(60)), back=self.back.append,
        )  # fmt: skip
        await self.watch.begin()

    async def listens(self, seconds: float) -> None:
        for _ in range(int(seconds)):
            await self.clock.advance(1)
            await self.watch.listen()

    @property
    def online(self) -> bool:
        return self.watch.board.nodes[NAS].online

    async def events(self) -> list[str]:
        return [event.type for event in await self.store.read(lambda tx: tx.events.after(0, limit=100))]


@pytest.fixture
async def setting(tmp_path: Path) -> AsyncIterator[Setting]:
    store = await open_store(tmp_path / "opendebrid.db", publish=lambda _: None)
    built = Setting(store)
    await built.restart()
    yield built
    await store.close()


async def test_three_missed_heartbeats_and_not_two(setting: Setting) -> None:
    await setting.watch.heard(SEEN)
    await setting.listens(14)
    assert setting.online
    assert setting.watch.offline_since(NAS) is None
    await setting.listens(2)
    assert not setting.online
    assert setting.watch.offline_since(NAS) == START + timedelta(seconds=15)
    assert await setting.events() == ["node.online", "node.offline"]
    await setting.watch.heard(SEEN)
    assert setting.online
    assert setting.back == [NAS, NAS]
    assert await setting.events() == ["node.online", "node.offline", "node.online"]


async def test_a_controller_that_slept_did_not_listen(setting: Setting) -> None:
    await setting.watch.heard(SEEN)
    await setting.listens(10)
    await setting.clock.advance(3600)
    await setting.watch.listen()
    await setting.listens(4)
    assert setting.online
    await setting.listens(2)
    assert not setting.online


async def test_a_restart_takes_no_worker_for_gone_before_it_has_listened(setting: Setting) -> None:
    await setting.watch.heard(SEEN)
    await setting.watch.leave()
    await setting.clock.advance(86400)
    await setting.restart()
    since = setting.clock.now()
    assert not setting.online
    assert setting.watch.offline_since(NAS) == since
    await setting.listens(10)
    assert await setting.events() == ["node.online"]
    await setting.listens(5)
    assert await setting.events() == ["node.online", "node.offline"]
    assert setting.watch.offline_since(NAS) == since


async def test_the_age_of_the_last_word_starts_anew_with_nothing_but_a_word(setting: Setting) -> None:
    await setting.watch.heard(SEEN)
    await setting.clock.advance(100)
    await setting.watch.listen()  # nobody listened: its silence counts from now, and its last word is as old as it is
    assert setting.watch.heard_ago(NAS) == Seconds(100)
    await setting.restart()
    assert setting.watch.heard_ago(NAS) is None
    await setting.listens(20)
    assert not setting.online
    assert setting.watch.heard_ago(NAS) is None
    await setting.watch.heard(SEEN)
    assert setting.watch.heard_ago(NAS) == Seconds(0)


async def test_the_grace_ends_by_the_time_that_passes_not_by_the_clock_that_is_set(setting: Setting) -> None:
    await setting.watch.heard(SEEN)
    await setting.listens(15)
    setting.clock.jump(86400)
    await setting.listens(59)
    assert not setting.watch.is_past_grace(NAS)
    await setting.listens(1)
    assert setting.watch.is_past_grace(NAS)
    await setting.watch.heard(SEEN)
    assert not setting.watch.is_past_grace(NAS)


async def test_what_an_admin_set_is_not_a_nodes_to_change(setting: Setting) -> None:
    await setting.watch.heard(SEEN)
    limits = NodeLimits(running=2)
    assert await setting.watch.set(NAS, lambda node: replace(node, draining=True, limits=limits)) is not None
    await setting.watch.heard(replace(SEEN, disk=DiskUsage(total=Bytes(100), free=Bytes(0))))
    found = setting.watch.board.nodes[NAS]
    assert found.draining
    assert found.limits == limits
    assert found.disk_low
    await setting.restart()
    assert setting.watch.board.nodes[NAS].draining
    setting.watch.forget(NAS)
    assert setting.watch.offline_since(NAS) is None
