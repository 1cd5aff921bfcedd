"""Figures about the whole: jobs, nodes, engines, rates, and what the parts count of themselves. No user's name, no
title."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from oddaemon.domain.errors import OpenDebridError
from oddaemon.domain.metrics import Counter, Metric, gauge
from oddaemon.domain.types import UserId
from oddaemon.domain.user import Principal, Proof, Role
from oddaemon.ports.metrics import MetricSource
from oddaemon.services.board import Board
from oddaemon.services.status import StatusService
from oddaemon.services.views import NodeView

STORE_SECONDS = 2.0
_DAEMON = Principal(user_id=UserId(UUID(int=0)), username="", role=Role.ADMIN, proof=Proof.LOCAL)
"""Itself: it sees everybody's jobs, to count them."""


@dataclass(slots=True, kw_only=True)
class MetricsService:
    status: StatusService
    board: Board
    served: Counter
    sources: Sequence[MetricSource]

    async def collect(self) -> Sequence[Metric]:
        """All of them, by name."""
        nodes = self.status.nodes()
        found = [*await self._stored(), *self._whole(nodes), *_nodes(nodes), self.served.metric()]
        found += [metric for source in self.sources for metric in source.metrics()]
        return sorted(found, key=lambda metric: metric.name)

    async def _stored(self) -> Sequence[Metric]:
        """What the store knows; all the others are wanted most when it does not answer."""
        up = functools.partial(gauge, "opendebrid_store_up", "1: the store answers.")
        try:
            async with asyncio.timeout(STORE_SECONDS):
                view = await self.status.status(_DAEMON)
        except (TimeoutError, OpenDebridError):
            return [up(0)]
        jobs = [({"state": state}, float(count)) for state, count in view.jobs.items() if state != "total"]
        return [up(1), gauge("opendebrid_jobs", "Jobs, by state.", jobs)]

    def _whole(self, nodes: Sequence[NodeView]) -> Sequence[Metric]:
        received = Counter("opendebrid_downloaded_bytes_total", "Bytes that downloads brought.")
        received.add(by=self.board.received)
        return [
            gauge("opendebrid_info", "What is running.", [({"version": self.status.version}, 1.0)]),
            gauge("opendebrid_start_time_seconds", "When it was started.", self.status.started_at.timestamp()),
            gauge("opendebrid_download_rate_bytes", "Bytes a second that come in.", sum(at.rate_down for at in nodes)),
            gauge("opendebrid_upload_rate_bytes", "Bytes a second that go out.", sum(at.rate_up for at in nodes)),
            received.metric(),
        ]


def _nodes(nodes: Sequence[NodeView]) -> Sequence[Metric]:
    each = [({"node": str(view.node.id)}, view) for view in nodes]
    engines = [
        ({**labels, "engine": str(engine.health.name)}, engine) for labels, view in each for engine in view.engines
    ]
    return [
        gauge("opendebrid_node_up", "1: the node takes work.", [(at, float(view.node.works)) for at, view in each]),
        gauge(
            "opendebrid_disk_free_bytes", "Free space where the downloads are.",
            [(at, float(view.node.disk.free)) for at, view in each],
        ),
        gauge(
            "opendebrid_disk_total_bytes", "Size of the disk where the downloads are.",
            [(at, float(view.node.disk.total)) for at, view in each],
        ),
        gauge("opendebrid_engine_up", "1: the engine works.", [(at, float(found.health.ok)) for at, found in engines]),
        gauge("opendebrid_engine_active", "Downloads it does.", [(at, float(found.active)) for at, found in engines]),
    ]  # fmt: skip
