"""Calls about the cache."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from odctl.client import convert
from odctl.client.channel import Calls
from odctl.client.protocol import wire

PAGE = 200


class Cache:
    """Part of a DaemonClient. Every method raises OdctlError."""

    def __init__(self, calls: Calls) -> None:
        self._ask = calls.ask
        self._control = calls.control
        self._admin = calls.admin

    async def entries(self, *, where: str = "", sort: str = "", key: str = "") -> list[dict[str, Any]]:
        """All of them; with a key its generations, with every detail of where the bytes are."""
        found: list[dict[str, Any]] = []
        while True:
            page, total = await self.page(where=where, sort=sort, key=key, offset=len(found), limit=PAGE)
            found += page
            if not page or len(found) >= total:
                return found

    async def page(
        self, *, where: str = "", sort: str = "", key: str = "", offset: int = 0, limit: int = PAGE
    ) -> tuple[list[dict[str, Any]], int]:
        """Some of them, and how many there are."""
        request = wire.ListCacheRequest(filter=where, sort=sort, key=key, offset=offset, limit=limit)
        answer: wire.ListCacheResponse = await self._ask(self._control, "list_cache", request)
        found = []
        for item in answer.entries:
            entry = convert.cache_entry(item)
            found.append({**entry, "replicas": convert.cache_replicas(item)} if key else entry)
        return found, answer.total

    async def pin(self, keys: Sequence[str], *, unpin: bool, replicas: int | None = None) -> list[dict[str, Any]]:
        answer: wire.ListCacheResponse = await self._ask(
            self._control, "pin_cache", wire.PinCacheRequest(keys=list(keys), unpin=unpin, replicas=replicas)
        )
        return [convert.cache_entry(item) for item in answer.entries]

    async def copy(self, key: str, node: str) -> dict[str, Any]:
        """The entry, with its new replica; the bytes come in the background."""
        answer: wire.CopyCacheResponse = await self._ask(
            self._admin, "copy_cache", wire.CopyCacheRequest(key=key, node=node)
        )
        assert answer.entry is not None
        return {**convert.cache_entry(answer.entry), "replicas": convert.cache_replicas(answer.entry)}

    async def remove(self, keys: Sequence[str], *, dry_run: bool) -> dict[str, Any]:
        request = wire.RemoveCacheRequest(keys=list(keys), dry_run=dry_run)
        return _cleanup(await self._ask(self._admin, "remove_cache", request, 120.0))

    async def cleanup(
        self, *, older_s: float, until_free: int, node: str, dry_run: bool, verify: bool,
        only: Sequence[tuple[str, int]] | None = None,
    ) -> dict[str, Any]:  # fmt: skip
        """With `only`, keys and generations of a dry run, nothing else goes."""
        plan = None
        if only is not None:
            entries = [wire.CleanupPlanEntry(key=key, generation=generation) for key, generation in only]
            plan = wire.CleanupPlan(entries=entries)
        request = wire.CleanupCacheRequest(
            older_s=older_s, until_free=until_free, node=node, dry_run=dry_run, verify=verify, only=plan
        )
        return _cleanup(await self._ask(self._admin, "cleanup_cache", request, 600.0))


def _cleanup(answer: wire.CleanupResponse) -> dict[str, Any]:
    return {
        "items": [
            {
                "entry": convert.cache_entry(item.entry) if item.entry is not None else None,
                "freed_bytes": item.freed_bytes,
                "failure": convert.failure(item.error) if item.error is not None else None,
            }
            for item in answer.items
        ],
        "freed_bytes": answer.freed_bytes,
        "applied": answer.applied,
    }
