"""Adds that are sent again: carried out once, answered the same, also after a restart in the middle of one.

Before anything is added, key, digest and the ids of the jobs to be are stored; after it, the answer. Whoever comes
again before there is one goes on with the same ids: a job that is there already is not added a second time.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from weakref import WeakValueDictionary

from oddaemon.domain.errors import Conflict, StoreError
from oddaemon.domain.keyed_add import KeyedAdd
from oddaemon.domain.types import JobId, UserId
from oddaemon.domain.user import Principal, Scope, require
from oddaemon.ports.clock import Clock
from oddaemon.ports.store import Store, Transaction
from oddaemon.services import ids

KEPT = timedelta(days=1)

Locks = WeakValueDictionary[tuple[UserId, str], asyncio.Lock]


@dataclass(frozen=True, slots=True)
class Answered:
    text: str
    final: bool = True
    """Nothing of it failed in passing: asked again, it is answered the same. Otherwise what failed is tried again."""


@dataclass(slots=True)
class KeyedAdds:
    store: Store
    clock: Clock
    _locks: Locks = field(default_factory=WeakValueDictionary)

    async def once(
        self, who: Principal, key: str, *, digest: str, count: int,
        carry_out: Callable[[Sequence[JobId]], Awaitable[Answered]],
    ) -> str:  # fmt: skip
        """What `carry_out` answered, now or within the last day. It gets the ids that its `count` jobs have to have;
        when it raises, the key is free again, but for a store that cannot say what it kept. Raises Conflict for a key
        that was used for something else."""
        require(who, Scope.JOBS)
        lock = self._locks.setdefault((who.user_id, key), asyncio.Lock())
        async with lock:
            added = await self._begun(who, key, digest, count)
            if added.digest != digest:
                raise Conflict(
                    "this idempotency key was used for another request", hint="give every request a key of its own"
                )
            if added.answer is not None:
                return added.answer
            try:
                answered = await carry_out(added.job_ids)
            except StoreError:
                raise
            except Exception:
                await self.store.write(lambda tx: tx.keyed_adds.delete(who.user_id, key))
                raise
            if answered.final:
                await self.store.write(lambda tx: tx.keyed_adds.put(replace(added, answer=answered.text)))
            return answered.text

    async def _begun(self, who: Principal, key: str, digest: str, count: int) -> KeyedAdd:
        now = self.clock.now()
        fresh = KeyedAdd(
            user_id=who.user_id, key=key, digest=digest, created_at=now,
            job_ids=tuple(ids.new_job_id() for _ in range(count)),
        )  # fmt: skip

        def begin(tx: Transaction) -> KeyedAdd:
            found = tx.keyed_adds.get(who.user_id, key)
            if found is not None and found.created_at > now - KEPT:
                return found
            tx.keyed_adds.put(fresh)
            return fresh

        return await self.store.write(begin)

    async def trim(self) -> int:
        """Forgets those of more than a day ago; how many."""
        before = self.clock.now() - KEPT
        return await self.store.write(lambda tx: tx.keyed_adds.trim(before))
