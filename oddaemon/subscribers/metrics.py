"""Counts what happens: events by type, downloads that failed by reason, and how long an event takes to arrive."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

from oddaemon.domain.events import EVENT_TYPES, CacheHit, Event, JobFailed
from oddaemon.domain.metrics import Counter, Histogram, Metric
from oddaemon.ports.clock import Clock
from oddaemon.ports.event_bus import Subscriber
from oddaemon.ports.metrics import MetricSource
from oddaemon.ports.plugin import Parts, Plugin, Problem

# asking for progress would have it told just for this
_TYPES = frozenset(name for name, cls in EVENT_TYPES.items() if cls.durable)


@dataclass(slots=True)
class Metrics(Subscriber, MetricSource):
    clock: Clock
    _events: Counter = field(
        default_factory=lambda: Counter("opendebrid_events_total", "Events, by type.", ("type",))
    )
    _hits: Counter = field(
        default_factory=lambda: Counter("opendebrid_cache_hits_total", "Adds of content that was there already.")
    )
    _failed: Counter = field(
        default_factory=lambda: Counter("opendebrid_jobs_failed_total", "Jobs that failed, by code.", ("code",))
    )
    _lag: Histogram = field(
        default_factory=lambda: Histogram(
            "opendebrid_event_lag_seconds", "From a change to the delivery of its event."
        )
    )

    @property
    def name(self) -> str:
        return "metrics"

    @property
    def event_types(self) -> Collection[str]:
        return _TYPES

    async def handle(self, event: Event) -> None:
        self._events.add(event.type)
        self._lag.observe(max((self.clock.now() - event.at).total_seconds(), 0.0))
        if event.type == CacheHit.type:
            self._hits.add()
        elif event.type == JobFailed.type:
            self._failed.add(str(event.data.get("code") or "UNKNOWN"))

    def metrics(self) -> Sequence[Metric]:
        return [self._events.metric(), self._hits.metric(), self._failed.metric(), self._lag.metric()]


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricsSettings:
    """It has none."""


def check(settings: MetricsSettings) -> Sequence[Problem]:
    return []


def build(settings: MetricsSettings, parts: Parts) -> Subscriber:
    return Metrics(parts.clock)


PLUGIN: Plugin[Subscriber] = Plugin(name="metrics", settings_type=MetricsSettings, check=check, build=build)
