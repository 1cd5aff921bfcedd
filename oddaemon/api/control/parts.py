"""What the control API is built from."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from oddaemon.domain.types import Seconds
from oddaemon.ports.clock import Clock
from oddaemon.ports.event_bus import EventBus
from oddaemon.ports.log_book import LogBook
from oddaemon.ports.store import Store
from oddaemon.services.accounts import Accounts
from oddaemon.services.batches import Batches
from oddaemon.services.cache import CacheService
from oddaemon.services.downloads import DownloadService
from oddaemon.services.engine_reports import EngineReports
from oddaemon.services.job_files import JobFiles
from oddaemon.services.job_finder import JobFinder
from oddaemon.services.job_views import JobViews
from oddaemon.services.links import LinkService
from oddaemon.services.nodes import Nodes
from oddaemon.services.probing import Prober
from oddaemon.services.quotas import Quotas
from oddaemon.services.runtime_settings import RuntimeSettings
from oddaemon.services.status import StatusService


class Finding(Protocol):
    """One line of a diagnosis; `status` is ok, warn, fail or skip."""

    @property
    def check(self) -> str: ...
    @property
    def status(self) -> str: ...
    @property
    def detail(self) -> str: ...
    @property
    def hint(self) -> str: ...
    @property
    def fix(self) -> str: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class ControlParts:
    accounts: Accounts
    quotas: Quotas
    downloads: DownloadService
    jobs: JobFinder
    job_files: JobFiles
    reports: EngineReports
    prober: Prober
    batches: Batches
    links: LinkService
    nodes: Nodes
    cache: CacheService
    settings: RuntimeSettings
    status: StatusService
    views: JobViews
    store: Store
    bus: EventBus
    clock: Clock
    log_book: LogBook
    reload: Callable[[], tuple[list[str], list[str]]]
    """(changed keys, keys that need a restart). What it raises for settings that cannot be used has
    `mistakes`, one text each; then nothing has changed."""
    events_kept: Callable[[], Seconds]
    """For how long an event is kept."""
    shutdown: Callable[[], None]
    diagnose: Callable[[], Awaitable[Sequence[Finding]]]
    version: str
    node_id: str
    epoch: str
    """Changes with every start."""
    store_kind: str
    download_dir: str
    files_url: str
    http_url: str
