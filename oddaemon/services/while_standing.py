"""Work that takes long, for as long as its caller's access lasts."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from typing import Any, TypeVar

from oddaemon.domain.errors import StoreError
from oddaemon.domain.types import Seconds
from oddaemon.domain.user import Principal
from oddaemon.ports.clock import Clock
from oddaemon.ports.store import Store
from oddaemon.services.standing import check_stands

log = logging.getLogger(__name__)

T = TypeVar("T")

LOOK_EVERY = Seconds(0.5)


async def while_it_stands(store: Store, clock: Clock, who: Principal, work: Coroutine[Any, Any, T]) -> T:
    """What the work answers or raises. Within a second of the end of what let its caller in it is cancelled, and
    Unauthenticated is raised."""
    task = asyncio.ensure_future(work)
    try:
        while not task.done():
            await asyncio.wait({task}, timeout=LOOK_EVERY)
            if not task.done():
                await _check(store, clock, who)
        return task.result()
    finally:
        if not task.done():
            task.cancel()
            await asyncio.wait({task})


async def _check(store: Store, clock: Clock, who: Principal) -> None:
    try:
        await store.read(lambda tx: check_stands(tx, who, clock.now()))
    except StoreError as error:
        # a store that does not answer has not said that anybody's access ended
        log.info("access not looked up", extra={"action": "access_unknown", "error": error.message})
