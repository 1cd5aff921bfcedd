"""Deleting replicas that the store says are to go, until it succeeds."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from oddaemon.domain.cache import ReplicaState
from oddaemon.domain.errors import OpenDebridError
from oddaemon.domain.types import Bytes, NodeId, ReplicaId, Seconds
from oddaemon.ports.clock import Clock
from oddaemon.ports.store import Store
from oddaemon.services.at_work import AtWork
from oddaemon.services.stopping import Stopper

log = logging.getLogger(__name__)

AGAIN = Seconds(1)
"""Between two attempts."""


@dataclass(slots=True)
class Deleter:
    """Each replica in a task of its own; tells of the bytes that it freed."""

    store: Store
    clock: Clock
    view: AtWork
    stopper: Stopper
    wake: Callable[[], None]
    online: Callable[[NodeId], bool] = lambda _: True
    _deleting: set[ReplicaId] = field(default_factory=set)
    _undeleted: dict[ReplicaId, str] = field(default_factory=dict)
    """Why a deletion is still to be carried out: told once, not with every attempt."""
    _freed: dict[ReplicaId, asyncio.Future[Bytes]] = field(default_factory=dict)

    async def settled(self, replica_ids: Sequence[ReplicaId]) -> Mapping[ReplicaId, Bytes]:
        """Waits until these replicas, stored as being deleted, are gone; the bytes that each freed."""
        waits = {found: asyncio.get_running_loop().create_future() for found in replica_ids}
        self._freed.update(waits)
        for found, wait in waits.items():
            if await self.store.read(lambda tx, found=found: tx.cache.replica(found)) is None and not wait.done():  # type: ignore[misc]
                wait.set_result(Bytes(0))
        self.wake()
        try:
            return {found: await wait for found, wait in waits.items()}
        finally:
            for found in waits:
                self._freed.pop(found, None)

    def begin(self, group: asyncio.TaskGroup) -> None:
        """With all that is to go and is not being deleted yet."""
        for replica in list(self.view.replicas.values()):
            if replica.state is not ReplicaState.DELETING or replica.id in self._deleting:
                continue
            # what cannot be delivered waits until its node is back
            if self.online(replica.node_id):
                self._deleting.add(replica.id)
                self.view.gone([replica.id])
                group.create_task(self._delete(replica.id), name=f"delete {replica.id}")

    async def _delete(self, replica_id: ReplicaId) -> None:
        try:
            freed = await self.stopper.delete(replica_id)
        except OpenDebridError as error:
            if self._undeleted.get(replica_id) != error.message:
                self._undeleted[replica_id] = error.message
                facts = {"action": "delete_failed", "replica": str(replica_id), "error": error.message}
                log.warning("not deleted yet, and tried again", extra=facts)
            await self.clock.sleep(AGAIN)
        except Exception:
            log.exception("not deleted yet", extra={"action": "delete_crashed", "replica": str(replica_id)})
            await self.clock.sleep(AGAIN)
        else:
            self._undeleted.pop(replica_id, None)
            self.view.replicas.pop(replica_id, None)
            waiting = self._freed.get(replica_id)
            if waiting is not None and not waiting.done():
                waiting.set_result(freed)
        finally:
            self._deleting.discard(replica_id)
            self.wake()
