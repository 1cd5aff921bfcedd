"""Whose turn it is with an info-hash: aria2 works on each only once at a time, and fails the second (error 12)."""

from __future__ import annotations

import asyncio

from oddaemon.domain.types import ReplicaId


class Turns:
    """First come, first served is not promised: whoever wakes first takes the free hash."""

    def __init__(self) -> None:
        self._owners: dict[str, ReplicaId] = {}
        self._freed = asyncio.Event()

    def is_free(self, info_hash: str, owner: ReplicaId) -> bool:
        return self._owners.get(info_hash) in (None, owner)

    async def take(self, info_hash: str, owner: ReplicaId) -> None:
        """Waits until no other replica has it. Taking what one has already is no wait."""
        while not self.is_free(info_hash, owner):
            await self._freed.wait()
        self._owners[info_hash] = owner

    def release(self, owner: ReplicaId) -> None:
        held = [info_hash for info_hash, by in self._owners.items() if by == owner]
        for info_hash in held:
            del self._owners[info_hash]
        if held:
            freed, self._freed = self._freed, asyncio.Event()
            freed.set()
