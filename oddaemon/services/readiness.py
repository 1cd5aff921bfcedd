"""Whether the daemon can do its work, and what is missing if not. Names parts of it, never a user or a title."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from oddaemon.domain.errors import OpenDebridError
from oddaemon.domain.types import Bytes, NodeId, Seconds
from oddaemon.ports.store import Store
from oddaemon.services.board import Board

STORE_SECONDS = 2.0
STORE_ROOM = Bytes(1 << 20)
"""With less on its disk the store takes nothing."""
STUCK_SECONDS = 60.0
"""The reconciler has not come round for so long."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Missing:
    part: str
    """store, reconciler, engines, disk or files"""
    message: str


@dataclass(slots=True, kw_only=True)
class Readiness:
    store: Store
    store_folder: Path | None
    """Where its files are. None: at a database server."""
    board: Board
    local: NodeId
    stalled_for: Callable[[], Seconds]
    file_processes_missing: Callable[[], int]

    async def missing(self) -> Sequence[Missing]:
        """Nothing, when all is well. Answers within seconds whatever does not."""
        found = [*await self._store(), *self._node()]
        if self.stalled_for() > STUCK_SECONDS:
            found.append(Missing(part="reconciler", message=f"did not come round for {self.stalled_for():.0f} s"))
        if count := self.file_processes_missing():
            found.append(Missing(part="files", message=f"file processes that are down: {count}"))
        return found

    async def _store(self) -> Sequence[Missing]:
        try:
            async with asyncio.timeout(STORE_SECONDS):
                await self.store.read(lambda tx: tx.settings.all())
        except TimeoutError:
            return [Missing(part="store", message=f"did not answer in {STORE_SECONDS:g} s")]
        except OpenDebridError as error:
            return [Missing(part="store", message=error.message)]
        if self.store_folder is None:
            return []
        free = (await asyncio.to_thread(shutil.disk_usage, self.store_folder)).free
        return [] if free >= STORE_ROOM else [Missing(part="store", message="the disk that holds it is full")]

    def _node(self) -> Sequence[Missing]:
        node = self.board.nodes.get(self.local)
        if node is None:
            return [Missing(part="engines", message="were not asked yet")]
        found = [Missing(part="engines", message=f"{item.name} is down") for item in node.engines if not item.ok]
        if not node.disk.present:
            found.append(Missing(part="disk", message="the download disk is not mounted"))
        return found
