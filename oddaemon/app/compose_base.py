"""Builds what every other part of a controller stands on: clock, event bus, store and the settings in it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field

from oddaemon.app.current_settings import Current
from oddaemon.app.loaded import Loaded
from oddaemon.app.paths import Paths, store_location
from oddaemon.app.setting_specs import check_together, fixed_settings, setting_specs
from oddaemon.app.system_clock import SystemClock
from oddaemon.domain.admission import Limits
from oddaemon.domain.metrics import Histogram, Metric
from oddaemon.eventbus.in_process import InProcessEventBus
from oddaemon.ports.clock import Clock
from oddaemon.ports.metrics import MetricSource
from oddaemon.services.runtime_settings import RuntimeSettings
from oddaemon.store.copies import copied_to
from oddaemon.store.migrate import open_store
from oddaemon.store.sql_store import SqlStore

log = logging.getLogger(__name__)


@dataclass(slots=True)
class StoreTimes(MetricSource):
    """How long works on the store take: waiting, running, and the commit."""

    _seconds: Histogram = field(
        default_factory=lambda: Histogram("opendebrid_store_seconds", "How long a work on the store took.", "work")
    )

    def observe(self, work: str, seconds: float) -> None:
        self._seconds.observe(seconds, work)

    def metrics(self) -> Sequence[Metric]:
        return [self._seconds.metric()]


# without a repr, as the settings: a part that holds a method of these must not show what is secret
@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Base:
    paths: Paths
    clock: Clock
    bus: InProcessEventBus
    store: SqlStore
    store_times: StoreTimes
    current: Current
    """Follows `runtime`."""
    runtime: RuntimeSettings

    def limits(self) -> Limits:
        return self.current.limits


async def open_base(loaded: Loaded, paths: Paths, stack: AsyncExitStack) -> Base:
    clock, bus, store_times = SystemClock(), InProcessEventBus(), StoreTimes()
    location = store_location(loaded.settings, paths)
    if (copied := await asyncio.to_thread(copied_to, location)) is not None:
        where, note = copied
        log.warning(
            "this store was copied to another: is DATABASE_URL missing? To go on with this one, remove the note",
            extra={"action": "store.copied", "copied": where, "note": str(note)},
        )
    store = await open_store(
        location, publish=bus.publish, backups=paths.data_dir,
        max_connections=loaded.settings.database.max_connections,
    )  # fmt: skip
    stack.push_async_callback(store.close)
    store.observe = store_times.observe
    current = Current.of(loaded, await store.read(lambda tx: tx.settings.all()))
    runtime = RuntimeSettings(store, clock, setting_specs(loaded), fixed_settings(loaded), check=check_together)
    await runtime.load()
    runtime.on_change(lambda _: current.take(runtime.stored()))
    return Base(
        paths=paths, clock=clock, bus=bus, store=store, store_times=store_times, current=current, runtime=runtime
    )
