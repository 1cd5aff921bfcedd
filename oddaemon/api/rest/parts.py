"""What the REST API is built from."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from oddaemon.domain.user import Principal
from oddaemon.ports.clock import Clock
from oddaemon.services.accounts import Accounts
from oddaemon.services.availability import AvailabilityService
from oddaemon.services.batches import Batches
from oddaemon.services.cache import CacheService
from oddaemon.services.downloads import DownloadService
from oddaemon.services.event_feed import EventFeed
from oddaemon.services.job_files import JobFiles
from oddaemon.services.job_finder import JobFinder
from oddaemon.services.keyed_adds import KeyedAdds
from oddaemon.services.link_serving import LinkServing
from oddaemon.services.links import LinkService
from oddaemon.services.metrics import MetricsService
from oddaemon.services.nodes import Nodes
from oddaemon.services.probing import Prober
from oddaemon.services.quotas import Quotas
from oddaemon.services.readiness import Readiness
from oddaemon.services.request_rate import RequestRate
from oddaemon.services.runtime_settings import RuntimeSettings
from oddaemon.services.status import StatusService


class Authenticator(Protocol):
    """Proof → principal. Both raise Unauthenticated for what proves nothing, whatever is wrong with it."""

    async def by_api_key(self, secret: str) -> Principal: ...

    async def by_access_token(self, token: str) -> Principal: ...


class Limiter(Protocol):
    """How many requests a user may make."""

    def admit(self, who: Principal) -> RequestRate | None:
        """Counts one request. None: there is no limit. It must not wait for anything. Raises TooManyRequests."""


class Unlimited(Limiter):
    def admit(self, who: Principal) -> RequestRate | None:
        return None


@dataclass(frozen=True, slots=True, kw_only=True)
class RestParts:
    authenticator: Authenticator
    accounts: Accounts
    quotas: Quotas
    downloads: DownloadService
    jobs: JobFinder
    job_files: JobFiles
    prober: Prober
    batches: Batches
    links: LinkService
    link_serving: LinkServing
    cache: CacheService
    nodes: Nodes
    settings: RuntimeSettings
    status: StatusService
    readiness: Readiness
    metrics: MetricsService
    metrics_public: Callable[[], bool]
    keyed_adds: KeyedAdds
    availability: AvailabilityService
    feed: EventFeed
    """Of the events that are rows."""
    live_feed: EventFeed
    """Of all events: while somebody reads it, figures are events, too."""
    clock: Clock
    version: str
    limiter: Limiter = field(default_factory=Unlimited)
    ending: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when the daemon shuts down: streams come to their end."""
    large: asyncio.Lock = field(default_factory=asyncio.Lock)
    """Held while a large body is read."""
    conditional: asyncio.Lock = field(default_factory=asyncio.Lock)
    """Held from the look at what `If-Match` names to the end of its change: of two such changes the second sees the
    first."""
    observe: Callable[[str, str, int, float], None] = lambda route, method, status, seconds: None
    """Told of every request that was answered."""
