"""Work on single replicas beside the reconciler's loop: one step at a time on each, none of which can end the loop."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any

from oddaemon.domain.errors import OpenDebridError
from oddaemon.domain.types import ReplicaId

log = logging.getLogger(__name__)


@dataclass(slots=True)
class Steps:
    is_busy: Callable[[ReplicaId], bool]
    postponed: Callable[[], None]
    """Told of a step that was left out because another one was under way."""

    def spawn(
        self, group: asyncio.TaskGroup, replica_id: ReplicaId, work: Coroutine[Any, Any, None], what: str
    ) -> None:
        """Work on one replica beside the loop; skipped while other work on it is still under way."""
        if self.is_busy(replica_id):
            work.close()
            self.postponed()
            return
        group.create_task(self.guarded(replica_id, work, what), name=f"{what} {replica_id}")

    async def guarded(self, replica_id: ReplicaId, work: Coroutine[Any, Any, None], what: str) -> None:
        try:
            await work
        except OpenDebridError as error:
            log.warning(
                "step failed",
                extra={"action": "step_failed", "step": what, "replica": str(replica_id), "error": error.message},
            )
        except Exception:
            log.exception("step failed", extra={"action": "step_crashed", "step": what, "replica": str(replica_id)})
