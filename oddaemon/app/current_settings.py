"""The settings as they are now: what was loaded, with what is stored; and how they are read again."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any

from oddaemon.app.loaded import Loaded, differences
from oddaemon.app.setting_specs import fixed_settings
from oddaemon.app.settings import Settings
from oddaemon.app.tls import Certificate
from oddaemon.domain.admission import Limits
from oddaemon.domain.node import Liveness
from oddaemon.services.links import LinkPolicy
from oddaemon.services.runtime_settings import Fixed, RuntimeSettings


def limits_of(settings: Settings) -> Limits:
    """The values that the services need, as the services name them."""
    chosen = settings.limits
    return Limits(
        per_user=chosen.per_user_concurrent,
        per_node=chosen.per_node_concurrent,
        min_disk_free=chosen.min_disk_free,
        resume_free=chosen.resume_margin,
        max_download_size=chosen.max_download_size,
        jobs_per_user=chosen.jobs_per_user,
        storage_per_user=chosen.storage_per_user,
        storage_split=chosen.storage_shared == "split",
        served_per_day=chosen.served_per_day,
        requests_per_minute=chosen.requests_per_minute,
        retries=chosen.retries,
        retry_wait=chosen.retry_wait,
        no_progress_timeout=chosen.no_progress_timeout,
        stall_yield=chosen.stall_yield,
        lru_enabled=chosen.lru_enabled,
        lru_max_age=chosen.lru_max_age,
        lru_until_free=chosen.lru_until_free,
        queue_paused=settings.scheduler.paused,
    )


def liveness_of(settings: Settings) -> Liveness:
    return Liveness(heartbeat_every=settings.nodes.heartbeat_every, grace=settings.nodes.grace)


def link_policy_of(settings: Settings) -> LinkPolicy:
    return LinkPolicy(expiry=settings.limits.link_expiry, maximum=settings.limits.link_expiry_max)


@dataclass(slots=True, repr=False)
class Current:
    started: Loaded
    """What the daemon was started with: whatever is not live stays so."""
    base: Loaded
    settings: Settings
    limits: Limits

    @classmethod
    def of(cls, loaded: Loaded, stored: Mapping[str, Any]) -> Current:
        settings = loaded.with_stored(stored).settings
        return cls(started=loaded, base=loaded, settings=settings, limits=limits_of(settings))

    def take(self, stored: Mapping[str, Any]) -> None:
        self.settings = self.base.with_stored(stored).settings
        self.limits = limits_of(self.settings)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reload:
    """Call it: reads file, environment and certificate again. The keys that changed, and those of them that only a
    restart brings about. Raises BadSettings or BadCertificate, and then nothing has changed."""

    current: Current
    runtime: RuntimeSettings
    certificate: Certificate | None
    wake: Callable[[], None]

    def __call__(self) -> tuple[list[str], list[str]]:
        new = self.current.base.again()
        if self.certificate is not None:
            self.certificate.read_again()
        changed, _ = differences(self.current.base, new)
        _, needs_restart = differences(self.current.started, new)
        self.current.base = new
        self.runtime.refix(_in_force(self.current.started, new, needs_restart))
        self.current.take(self.runtime.stored())
        self.wake()
        return sorted(changed), sorted(needs_restart)


def _in_force(started: Loaded, new: Loaded, needs_restart: Collection[str]) -> Mapping[str, Fixed]:
    """What is shown is what the daemon does: a value that only a restart brings about is not yet in force."""
    before, after = fixed_settings(started), fixed_settings(new)
    kept = {path: found for path, found in after.items() if path not in needs_restart}
    return kept | {path: before[path] for path in needs_restart if path in before}
