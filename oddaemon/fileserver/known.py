"""What one file process knows of links: asked of the daemon, and kept for a few seconds."""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass
from http import HTTPStatus

from oddaemon.domain.errors import NodeUnavailable, NotFound, NotReady, OpenDebridError, StorageMissing
from oddaemon.domain.link import LinkContent, LinkKind
from oddaemon.domain.link_token import LinkToken
from oddaemon.domain.types import ReplicaId
from oddaemon.fileserver.archive import Archive
from oddaemon.fileserver.response import Response, Variant, refusal, unavailable
from oddaemon.ports.storage import StorageProvider

Lookup = Callable[[LinkToken], Awaitable[LinkContent]]
"""What a link serves now. Raises NotFound (gone), NotReady (being fetched again), StorageMissing,
NodeUnavailable (the files are on another node, which is away), or TimeoutError (nobody can say)."""
Gone = Callable[[ReplicaId], None]
"""Told of a replica of which a recorded file is not there as it was recorded."""
Spawn = Callable[[Coroutine[None, None, None], str], object]
"""Starts a named task."""

STALE_SECONDS = 60.0
"""For how long what is known is still used while the daemon does not answer."""
MAX_KNOWN_FILES = 100_000
"""Over all links that are remembered, members of archives counted."""


@dataclass(slots=True, eq=False)
class Known:
    """A token that was verified, and what the daemon said of it."""

    token: LinkToken
    link: bytes
    content: LinkContent
    asked_at: float
    keys: Sequence[bytes]
    """Those of which one had signed it."""
    variant: Variant | None = None
    archive: Archive | None = None

    @property
    def weight(self) -> int:
        return 1 + len(self.content.files) + len(self.content.text) // 128


Answer = Response | Known
"""What a question to the daemon ends in: a refusal, or what is known now."""


class KnownLinks:
    """By token. Used from one event loop."""

    def __init__(
        self, *, storage: StorageProvider, keys: Sequence[bytes], lookup: Lookup, gone: Gone, spawn: Spawn,
        stale_seconds: float = STALE_SECONDS,
    ) -> None:
        self.keys = keys
        """One of them has to have signed a token."""
        self._storage = storage
        self._lookup = lookup
        self._gone = gone
        self._spawn = spawn
        self._stale_seconds = stale_seconds
        self._known: OrderedDict[str, Known] = OrderedDict()
        self._weight = 0
        self._asking: dict[str, asyncio.Future[Answer]] = {}

    def get(self, text: str) -> Known | None:
        return self._known.get(text)

    def rekey(self, keys: Sequence[bytes]) -> None:
        self.keys = keys
        self._known.clear()
        self._weight = 0

    def forget(self, replicas: Sequence[ReplicaId]) -> None:
        """What is known of these replicas is asked anew."""
        gone = set(replicas)
        for text in [text for text, known in self._known.items() if known.token.replica_id in gone]:
            self.drop(text)

    def drop(self, text: str) -> None:
        known = self._known.pop(text, None)
        if known is not None:
            self._weight -= known.weight

    def ask(self, text: str, token: LinkToken) -> asyncio.Future[Answer]:
        """One question at a time for a token, however many wait for it."""
        waiting = self._asking.get(text)
        if waiting is None:
            waiting = self._asking[text] = asyncio.get_running_loop().create_future()
            self._spawn(self._ask_daemon(text, token, waiting), f"fileserver.lookup.{token.link_id}")
        return waiting

    async def look_up(self, text: str, token: LinkToken) -> Answer:
        """What the daemon says now, which is known from then on."""
        asked_at, keys = time.monotonic(), self.keys
        try:
            content = await self._lookup(token)
            archive = None
            if any(file.modified_ns < 0 for file in content.files):
                self._gone(token.replica_id)
                raise NotReady("a file is not there")
            if token.kind is LinkKind.ZIP and content.is_elsewhere:
                archive = Archive(content.files)
            elif token.kind is LinkKind.ZIP:
                archive = await asyncio.to_thread(_archive, self._storage, token, content)
                if archive is None:
                    self._gone(token.replica_id)
                    raise NotReady("a file of this archive is not there")
        except NotFound:
            self.drop(text)
            return refusal(HTTPStatus.GONE, "what this link gave is not there any more")
        except (NotReady, StorageMissing, NodeUnavailable) as error:
            self.drop(text)
            return unavailable(error)
        except (TimeoutError, OSError, OpenDebridError):
            old = self._known.get(text)
            if old is not None and asked_at - old.asked_at < self._stale_seconds:
                return old
            return unavailable("the daemon does not answer")
        old = self._known.get(text)
        variant = old.variant if old is not None and old.content == content else None
        self.drop(text)
        known = Known(token, token.link_id.bytes, content, asked_at, keys, variant, archive)
        if keys is not self.keys:
            return known  # refused in `resume`
        self._known[text] = known
        self._weight += known.weight
        while self._weight > MAX_KNOWN_FILES and len(self._known) > 1:
            self.drop(next(iter(self._known)))
        return known

    async def _ask_daemon(self, text: str, token: LinkToken, answer: asyncio.Future[Answer]) -> None:
        result: Answer = unavailable("try again")
        try:
            result = await self.look_up(text, token)
        finally:
            self._asking.pop(text, None)
            if not answer.done():
                answer.set_result(result)


def _archive(storage: StorageProvider, token: LinkToken, content: LinkContent) -> Archive | None:
    """Blocks on the disk. None if a member is not there as it was recorded."""
    found = storage.stat(token.replica_id, [file.disk_path for file in content.files])
    whole = all(there is not None and there.size == file.size for there, file in zip(found, content.files, strict=True))
    return Archive(content.files) if whole else None
