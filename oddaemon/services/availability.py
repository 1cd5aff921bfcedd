"""Which sources would be there at once, were they added: from the store and the disks alone, nothing is asked outside.

What only others have is told when a setting allows it. It is not for everybody to know what others fetched.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from oddaemon.domain.cache import CacheEntry, CacheKey, EntryFile, is_hit
from oddaemon.domain.errors import InvalidArgument, OpenDebridError
from oddaemon.domain.source import SourceKind
from oddaemon.domain.types import Bytes
from oddaemon.domain.user import Principal, Scope, require
from oddaemon.ports.store import Store, Transaction
from oddaemon.services.discretion import Discretion
from oddaemon.services.hits import HitChecker
from oddaemon.services.orders import ARIA2, OrderReader, certain_engine, key_of
from oddaemon.services.views import AddOrder

MOST_SOURCES = 200
AT_ONCE = 8
"""Looks at disks at the same time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Availability:
    source: str
    available: bool | None = False
    """None: that can be known only by asking where the source points."""
    key: str | None = None
    name: str | None = None
    size: Bytes | None = None
    files: Sequence[EntryFile] = ()
    error: OpenDebridError | None = None
    """It is no source."""


@dataclass(slots=True)
class AvailabilityService:
    store: Store
    reader: OrderReader
    hits: HitChecker
    discretion: Discretion

    async def check(self, who: Principal, sources: Sequence[str]) -> Sequence[Availability]:
        """In their order. Every ready file of what is said to be available was looked at just now. Raises
        InvalidArgument for none or too many."""
        require(who, Scope.READ)
        if not 1 <= len(sources) <= MOST_SOURCES:
            raise InvalidArgument(f"give 1 to {MOST_SOURCES} sources", field="sources")
        turns = asyncio.Semaphore(AT_ONCE)

        async def one(text: str) -> Availability:
            async with turns:
                return await self._one(who, text)

        return await asyncio.gather(*(one(text) for text in sources))

    async def _one(self, who: Principal, text: str) -> Availability:
        try:
            source, _, _ = await self.reader.source(AddOrder(source=text))
        except OpenDebridError as error:
            return Availability(source=text, error=error)
        key = key_of(source, certain_engine(source) or ARIA2)
        # what a page holds, or which engine takes a URL, is not said by the URL
        unknown = source.kind is SourceKind.URL and certain_engine(source) is None
        if key is None:
            return Availability(source=source.shown, available=None)
        for asked in (key.private_to(who.user_id), key):
            found = await self._entry(who, asked)
            if found is not None:
                entry, files = found
                return Availability(
                    source=source.shown, available=True, key=entry.key, name=entry.name, size=entry.total_size,
                    files=files,
                )  # fmt: skip
        return Availability(source=source.shown, available=None if unknown else False, key=key.full)

    async def _entry(self, who: Principal, key: CacheKey) -> tuple[CacheEntry, Sequence[EntryFile]] | None:
        """The whole entry of that key, if the caller may know of it and it is there."""

        def known(tx: Transaction) -> CacheEntry | None:
            entry = tx.cache.current_entry(key.full)
            return entry if entry is not None and self.discretion.may_know(tx, who, entry) else None

        if await self.store.read(known) is None:
            return None
        seen = await self.hits.check(key)

        def whole(tx: Transaction) -> tuple[CacheEntry, Sequence[EntryFile]] | None:
            entry = tx.cache.current_entry(key.full)
            if entry is None or not seen.good.get(entry.id):
                return None
            files = tx.cache.files(entry.id)
            hit = is_hit(files, {file.index for file in files}, files_known=entry.files_known)
            return (entry, files) if hit else None

        return await self.store.read(whole)
