"""Carries out copies: the files of a ready replica are brought to another node, piece by piece through this process, so
that neither node has to be able to reach the other.

What is to be copied stands in the store, as a replica that is `copying`; a controller that starts again goes on from
the bytes that are there. A copy is ready when each of its files has the size and the SHA-256 of the source's. One whose
bytes are wrong is fetched again a few times, then it goes, and the entry is what and where it was."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from datetime import timedelta

from oddaemon.domain.admission import Limits, NodeRoom, disk_full, node_offline, reserve_of
from oddaemon.domain.cache import OUT_OF_USE, EntryFile, Replica, ReplicaState, moved, serving
from oddaemon.domain.errors import OpenDebridError, Unavailable
from oddaemon.domain.events import CacheCopied, CacheCopyFailed
from oddaemon.domain.failure import Failure, FailureCode, Reason, ReasonCode
from oddaemon.domain.retry import waits
from oddaemon.domain.types import Bytes, NodeId, ReplicaId, Seconds
from oddaemon.ports.clock import Clock
from oddaemon.ports.node_client import MAX_WRITE, NodeClient
from oddaemon.ports.store import Store, Transaction
from oddaemon.services.at_work import AtWork
from oddaemon.services.board import Board
from oddaemon.services.hits import HitChecker, OnDisk
from oddaemon.services.replicas import Replicas
from oddaemon.services.works import reserve_copies

log = logging.getLogger(__name__)

AT_ONCE = 4
TELL_EVERY = Seconds(2)
"""Between two looks at how far a copy is, and at the disk it fills."""
AGAIN = timedelta(seconds=10)
"""Before what could not go on is tried again."""
ATTEMPTS = 3
"""That bring wrong bytes, or fail otherwise than for want of a node or of room."""
DIGEST = "sha256"


class _Gone(Exception):
    """The copy is not wanted any more."""


class _Waits(Exception):
    def __init__(self, reason: Reason) -> None:
        super().__init__(reason.message)
        self.reason = reason


class _Wrong(Exception):
    """An attempt that counts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Order:
    copy: Replica
    key: str
    source: Replica
    files: Sequence[EntryFile]

    @property
    def total(self) -> Bytes:
        return Bytes(sum(file.size or 0 for file in self.files))


@dataclass(slots=True)
class Copier:
    """`failed` is told of a copy that was given up."""

    store: Store
    clock: Clock
    board: Board
    view: AtWork
    replicas: Replicas
    hits: HitChecker
    node: Callable[[NodeId | None], NodeClient]
    rooms: Callable[[], Mapping[NodeId, NodeRoom]]
    limits: Callable[[], Limits]
    wake: Callable[[], None]
    failed: Callable[[Replica], None]
    _tasks: dict[ReplicaId, asyncio.Task[None]] = field(default_factory=dict)
    _writing: set[ReplicaId] = field(default_factory=set)

    def begin(self, group: asyncio.TaskGroup) -> None:
        """With what is to be copied and is not being copied yet; what is not wanted any more ends."""
        for replica_id, task in self._tasks.items():
            # a write that is under way would make the directory again behind the deletion: it ends by itself
            if not self._is_wanted(replica_id) and replica_id not in self._writing:
                task.cancel()
        now = self.clock.now()
        for replica in list(self.view.replicas.values()):
            if replica.state is not ReplicaState.COPYING or replica.id in self._tasks or len(self._tasks) >= AT_ONCE:
                continue
            if self.board.online(replica.node_id) and not waits(replica.next_try_at, replica.updated_at, now):
                self._tasks[replica.id] = group.create_task(self._copy(replica.id), name=f"copy {replica.id}")

    def _is_wanted(self, replica_id: ReplicaId) -> bool:
        found = self.view.replicas.get(replica_id)
        return found is not None and found.state is ReplicaState.COPYING

    async def _copy(self, replica_id: ReplicaId) -> None:
        try:
            async with self.replicas.alone(replica_id):
                await self._attempt(replica_id)
        except _Gone:
            pass
        except Exception:
            log.exception("copying failed", extra={"action": "copy_crashed", "replica": str(replica_id)})
            await self.clock.sleep(Seconds(AGAIN.total_seconds()))
        finally:
            self._tasks.pop(replica_id, None)
            self.wake()

    async def _attempt(self, replica_id: ReplicaId) -> None:
        """Whatever it meets is stored with the replica."""
        try:
            await self._bring(replica_id)
        except _Waits as wait:
            await self._put_off(replica_id, wait.reason)
        except Unavailable as error:
            await self._put_off(replica_id, Reason(code=ReasonCode.RETRY, message=error.message))
        except OpenDebridError as error:
            await self._again(replica_id, error.message)
        except _Wrong as error:
            await self._again(replica_id, str(error))

    async def _bring(self, replica_id: ReplicaId) -> None:
        order = await self.store.read(lambda tx: self._order(tx, replica_id))
        self._check_room(order)
        source, target = self.node(order.source.node_id), self.node(order.copy.node_id)
        await self._look_at_source(source, order)
        brought, told = Bytes(0), self.clock.monotonic()
        digests: dict[int, str] = {}
        for file in order.files:
            digests[file.index] = file.sha256 or await self._digest(source, order, file)
            [there] = await target.stat(replica_id, [file.disk_path])
            offset = there.size if there is not None and there.size <= (file.size or 0) else Bytes(0)
            if there is None or offset != there.size:
                await self._write(target, replica_id, file, 0, b"")
            reading = source.read(order.source.id, file.disk_path, offset=offset, length=(file.size or 0) - offset)
            async with aclosing(reading) as parts:
                waiting = bytearray()
                async for part in parts:
                    waiting += part
                    while len(waiting) >= MAX_WRITE:
                        await self._write(target, replica_id, file, offset, bytes(waiting[:MAX_WRITE]))
                        del waiting[:MAX_WRITE]
                        offset = Bytes(offset + MAX_WRITE)
                        if self.clock.monotonic() - told >= TELL_EVERY:
                            told = self.clock.monotonic()
                            await self._tell(order, Bytes(brought + offset))
                await self._write(target, replica_id, file, offset, bytes(waiting))
                offset = Bytes(offset + len(waiting))
            if offset != file.size:
                raise _Wrong(f"{file.path}: {order.source.node_id} gave {offset} of {file.size} bytes")
            brought = Bytes(brought + offset)
            digests[file.index] = await self._compared(source, target, order, file, digests[file.index])
        await self._finish(order, digests, await target.verify(replica_id, order.files))

    def _order(self, tx: Transaction, replica_id: ReplicaId) -> _Order:
        copy = tx.cache.replica(replica_id)
        entry = tx.cache.entry(copy.entry_id) if copy is not None else None
        if copy is None or entry is None or copy.state is not ReplicaState.COPYING:
            raise _Gone
        others = [found for found in tx.cache.replicas_of(entry.id) if found.state not in OUT_OF_USE]
        source = serving([found for found in others if found.state is ReplicaState.READY], self.board.online)
        if source is None:
            if not others:
                raise _Wrong("no other copy is left that it could be made from")
            raise _Waits(Reason(code=ReasonCode.QUEUED, message="the content is not complete on any node"))
        if not self.board.online(source.node_id):
            raise _Waits(node_offline(self.board.nodes[source.node_id]))
        files = [file for file in tx.cache.files(entry.id) if file.ready]
        return _Order(copy=copy, key=entry.key, source=source, files=files)

    def _check_room(self, order: _Order) -> None:
        rooms, copy = dict(self.rooms()), order.copy
        room = rooms.get(copy.node_id)
        if room is None:
            raise _Gone  # its node was removed
        for filling in self.view.filling():
            if filling.node_id == copy.node_id:
                room.take(filling.engine, self.view.remaining(filling))
        reserve_copies(self.view, rooms, but=copy.id)
        reason = room.refuses_copy(Bytes(max(0, order.total - copy.done)), self.limits())
        if reason is not None:
            raise _Waits(reason)

    async def _look_at_source(self, source: NodeClient, order: _Order) -> None:
        sizes = await source.verify(order.source.id, order.files)
        bad = frozenset(file.index for file in order.files if sizes.get(file.index) != file.size)
        if not bad:
            return
        entry_id = order.copy.entry_id
        seen = OnDisk(bad={entry_id: bad}, replica=order.source.id)
        await self.store.write(lambda tx: self.hits.record(tx, seen, self.clock.now()))
        raise _Waits(Reason(code=ReasonCode.FILES_MISSING, message=f"files are gone on {order.source.node_id}"))

    async def _write(
        self, target: NodeClient, replica_id: ReplicaId, file: EntryFile, offset: int, data: bytes
    ) -> None:  # fmt: skip
        if not self._is_wanted(replica_id):
            raise _Gone
        self._writing.add(replica_id)
        try:
            await target.write(replica_id, file.disk_path, offset=offset, data=data)
        finally:
            self._writing.discard(replica_id)

    async def _digest(self, source: NodeClient, order: _Order, file: EntryFile) -> str:
        """Of the source's bytes; stored with the entry's file."""
        digest = await source.checksum(order.source.id, file.disk_path, DIGEST)

        def work(tx: Transaction) -> None:
            for known in tx.cache.files(order.copy.entry_id):
                if (known.index, known.disk_path, known.size, known.ready) == (
                    file.index, file.disk_path, file.size, True,
                ):  # fmt: skip
                    tx.cache.put_files(order.copy.entry_id, [replace(known, sha256=digest)])

        await self.store.write(work)
        return digest

    async def _compared(
        self, source: NodeClient, target: NodeClient, order: _Order, file: EntryFile, wanted: str
    ) -> str:  # fmt: skip
        """The digest that both have. Raises _Wrong, with the wrong bytes gone."""
        found = await target.checksum(order.copy.id, file.disk_path, DIGEST)
        if found == wanted:
            return wanted
        if file.sha256 is not None and found == await self._digest(source, order, file):
            return found  # what was recorded was of other bytes
        await self._write(target, order.copy.id, file, 0, b"")
        raise _Wrong(f"{file.path}: what arrived does not have the SHA-256 of what {order.source.node_id} has")

    async def _tell(self, order: _Order, done: Bytes) -> None:
        node, limits = self.board.nodes.get(order.copy.node_id), self.limits()
        if node is not None and node.disk.free < reserve_of(node, limits):
            raise _Waits(disk_full(node, limits))

        def work(tx: Transaction) -> Replica:
            current, at = tx.cache.replica(order.copy.id), self.clock.now()
            if current is None or current.state is not ReplicaState.COPYING:
                raise _Gone
            told = replace(
                current, done=done, wanted=order.total, reason=None, next_try_at=None, progress_at=at, updated_at=at
            )
            tx.cache.update_replica(told)
            return told

        # no plan is due for that
        self.view.replicas[order.copy.id] = await self.store.write(work)

    async def _finish(
        self, order: _Order, digests: Mapping[int, str], sizes: Mapping[int, Bytes | None]
    ) -> None:  # fmt: skip
        short = [file.path for file in order.files if sizes.get(file.index) != file.size]
        if short:
            raise _Wrong(f"{short[0]} does not have its size")

        def work(tx: Transaction, noted: list[Replica]) -> None:
            at, current = self.clock.now(), tx.cache.replica(order.copy.id)
            if current is None or current.state is not ReplicaState.COPYING:
                return
            files = [file for file in tx.cache.files(current.entry_id) if file.ready]
            if _likeness(files) != _likeness(order.files) or any(
                file.sha256 not in (None, digests[file.index]) for file in files
            ):
                return  # the content has changed meanwhile: the next round compares anew
            ready = replace(
                moved(current, ReplicaState.READY, at=at), done=order.total, wanted=order.total, attempts=0,
                error=None, next_try_at=None, progress_at=at,
            )  # fmt: skip
            tx.cache.update_replica(ready)
            material = tx.materials.of_replica(order.source.id)
            if material is not None:
                tx.materials.put_for_replica(ready.id, material)
            facts = {"key": order.key, "node": ready.node_id, "from": order.source.node_id, "bytes": int(order.total)}
            tx.events.add(CacheCopied(at=at, data=facts))
            noted.append(ready)

        await self.replicas.write(work)

    async def _put_off(self, replica_id: ReplicaId, reason: Reason) -> None:
        await self._change(replica_id, lambda found: replace(found, reason=reason))

    async def _again(self, replica_id: ReplicaId, message: str) -> None:
        """An attempt failed; the last one ends the copy."""
        log.warning("a copy failed", extra={"action": "copy_failed", "replica": str(replica_id), "error": message})
        error = Failure(code=FailureCode.CHECKSUM, message=message)
        reason = Reason(code=ReasonCode.RETRY, message=message)
        await self._change(
            replica_id, lambda found: replace(found, reason=reason, error=error, attempts=found.attempts + 1)
        )

    async def _change(self, replica_id: ReplicaId, change: Callable[[Replica], Replica]) -> None:
        def work(tx: Transaction, noted: list[Replica]) -> Replica | None:
            found, at = tx.cache.replica(replica_id), self.clock.now()
            if found is None or found.state is not ReplicaState.COPYING:
                return None
            changed = replace(change(found), next_try_at=at + AGAIN, updated_at=at)
            if changed.attempts >= ATTEMPTS:
                changed = moved(changed, ReplicaState.DELETING, at=at, reason=changed.reason)
                entry = tx.cache.entry(found.entry_id)
                why = changed.error.message if changed.error is not None else ""
                facts = {"key": entry.key if entry is not None else "", "node": found.node_id, "why": why}
                tx.events.add(CacheCopyFailed(at=at, data=facts))
            tx.cache.update_replica(changed)
            noted.append(changed)
            return changed

        changed = await self.replicas.write(work)
        if changed is not None and changed.state is ReplicaState.DELETING:
            self.failed(changed)


def _likeness(files: Sequence[EntryFile]) -> list[tuple[int, str, Bytes | None]]:
    return [(file.index, file.disk_path, file.size) for file in files]
