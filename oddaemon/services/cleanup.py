"""LRU clean-up by age and by wanted free space, now and then, when the settings ask for it (off by default)."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass

from oddaemon.domain.admission import Limits
from oddaemon.domain.errors import OpenDebridError
from oddaemon.domain.types import Bytes, Seconds
from oddaemon.ports.clock import Clock
from oddaemon.services.cache import CacheService

log = logging.getLogger(__name__)

INTERVAL = Seconds(60)


@dataclass(slots=True)
class Cleanup:
    cache: CacheService
    clock: Clock
    limits: Callable[[], Limits]
    """Asked anew each time: the settings may change while the daemon runs."""
    interval: Seconds = INTERVAL

    async def run(self) -> None:
        """Until cancelled. A round that fails is logged, and the next one follows."""
        while True:
            await self.clock.sleep(self.interval)
            try:
                await self.once()
            except OpenDebridError as error:
                log.warning("clean-up failed", extra={"action": "cleanup_failed", "error": error.message})
            except Exception:
                log.exception("clean-up failed", extra={"action": "cleanup_crashed"})

    async def once(self) -> Bytes:
        """One round; the bytes that it freed."""
        limits = self.limits()
        freed = 0
        if limits.lru_enabled and limits.lru_max_age > 0:
            freed += await self._evict("unused for too long", older=limits.lru_max_age)
        if limits.lru_enabled and limits.lru_until_free > 0:
            freed += await self._evict("the disk needs room", until_free=limits.lru_until_free)
        return Bytes(freed)

    async def _evict(self, why: str, *, older: Seconds | None = None, until_free: Bytes | None = None) -> Bytes:
        done = await self.cache.evict(older=older, until_free=until_free, why=why)
        if done.items:
            log.info(
                "cache cleaned up",
                extra={"action": "cache_cleanup", "why": why, "entries": len(done.items), "bytes": int(done.freed)},
            )
        return done.freed
