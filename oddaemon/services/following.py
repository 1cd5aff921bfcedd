"""Follows what runs: compares what the store says is being filled with what the engines say, and takes the next step on
each difference. What an engine works on that nobody wants is stopped."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from oddaemon.domain.admission import Limits, NodeRoom, allowance, human_bytes, human_time
from oddaemon.domain.cache import Replica, ReplicaState
from oddaemon.domain.errors import OpenDebridError, Unavailable
from oddaemon.domain.events import Event, JobProgress
from oddaemon.domain.failure import Reason, ReasonCode
from oddaemon.domain.types import Bytes, EngineName, NodeId, ReplicaId, Seconds
from oddaemon.ports.clock import Clock
from oddaemon.ports.engine import FillState, FillStatus
from oddaemon.ports.node_client import NodeClient, NodeStatuses
from oddaemon.ports.store import Store, Transaction
from oddaemon.services.at_work import AtWork
from oddaemon.services.board import Board
from oddaemon.services.completing import Completer
from oddaemon.services.filling import Filler
from oddaemon.services.node_watch import NodeWatch
from oddaemon.services.replicas import Replicas
from oddaemon.services.seeding import Seeding
from oddaemon.services.steering import Steerer
from oddaemon.services.steps import Steps
from oddaemon.services.stopping import Stopper
from oddaemon.services.stored import largest_of_user
from oddaemon.services.tracker import Tracker

log = logging.getLogger(__name__)

REMOTE_BUSY = Seconds(1)
"""Between two looks at a worker on which something runs; what it reports itself is looked at at once."""
REMOTE_IDLE = Seconds(5)
"""At one on which nothing should run."""
FIGURES = Seconds(2)
"""Between two looks at the single files of a download whose jobs want different ones."""
NEVER = Seconds(-1e9)
QUIET = Seconds(30)
"""Without a byte for so long, a download that runs says so."""
UNWANTED = Seconds(5)
"""How long a replica may go on running after the last job that waited for it has ended."""
GROWING = Seconds(1)
"""Between two looks at how far a download of unknown size has come."""
LOST_LIMIT = 5
"""How often an engine may forget a replica without a byte of progress before that counts as a failed attempt."""
SLOT_CODES = frozenset({
    ReasonCode.USER_LIMIT, ReasonCode.NODE_LIMIT, ReasonCode.ENGINE_LIMIT, ReasonCode.WAITING_FOR_SPACE,
    ReasonCode.SAME_TORRENT,
})  # fmt: skip
"""Why somebody waits for what a stalled download holds: a slot, the room that is kept for it, or its torrent."""


@dataclass(slots=True)
class _Mark:
    """The last progress that was seen of a running replica."""

    done: Bytes
    at: Seconds
    lost: int = 0


@dataclass(slots=True)
class Follower:
    store: Store
    clock: Clock
    nodes: Callable[[], Sequence[NodeClient]]
    board: Board
    replicas: Replicas
    filler: Filler
    stopper: Stopper
    tracker: Tracker
    completer: Completer
    steerer: Steerer
    seeding: Seeding
    limits: Callable[[], Limits]
    publish: Callable[[Sequence[Event]], None]
    listening: Callable[[str], bool]
    """Whether anybody wants events of a type: progress is not even put into words for nobody."""
    view: AtWork
    watch: NodeWatch
    steps: Steps
    replan: Callable[[], None]
    """Asks for a plan soon: what is charged to somebody has changed."""
    _marks: dict[ReplicaId, _Mark] = field(default_factory=dict)
    _sized: dict[ReplicaId, Bytes] = field(default_factory=dict)
    """The size of each that was last looked at for whether it fits."""
    _grown: dict[ReplicaId, Seconds] = field(default_factory=dict)
    _figured: dict[ReplicaId, Seconds] = field(default_factory=dict)
    _unwanted_since: dict[ReplicaId, Seconds] = field(default_factory=dict)
    _reserved: dict[NodeId, dict[ReplicaId, int]] = field(default_factory=dict)
    """What each download on a node still needs, while that node is looked at."""
    _sums: dict[NodeId, int] = field(default_factory=dict)
    _asked_at: dict[NodeId, Seconds] = field(default_factory=dict)
    _asking: set[NodeId] = field(default_factory=set)
    _news: set[NodeId] = field(default_factory=set)
    _unreached: set[NodeId] = field(default_factory=set)
    """Nodes of which the log says so."""

    def forget(self, replica_id: ReplicaId) -> None:
        """It does not run any more: what was seen of it means nothing for its next start."""
        self._marks.pop(replica_id, None)
        self.board.quiet.pop(replica_id, None)
        self._unwanted_since.pop(replica_id, None)
        self._sized.pop(replica_id, None)
        self._grown.pop(replica_id, None)
        self._figured.pop(replica_id, None)

    def follow(self, group: asyncio.TaskGroup) -> None:
        """One look at everything that runs. Each node is asked beside the loop and beside the others: one that hangs,
        or is away, holds up nobody."""
        now = self.clock.monotonic()
        self._news, news = set(), self._news
        at_work = {found.node_id for found in self.view.filling()}
        for node in self.nodes():
            if node.node_id in self._asking:
                self._news |= news & {node.node_id}
                continue
            age = now - self._asked_at.get(node.node_id, NEVER)
            local = node.node_id == self.watch.local
            pause = REMOTE_BUSY if node.node_id in at_work else REMOTE_IDLE
            if local or node.node_id in news or age >= pause:
                self._asking.add(node.node_id)
                self._asked_at[node.node_id] = now
                group.create_task(self._follow(group, node), name=f"follow {node.node_id}")

    def news(self, node_id: NodeId) -> None:
        """The node has something to tell: it is asked with the next look."""
        self._news.add(node_id)

    async def _follow(self, group: asyncio.TaskGroup, node: NodeClient) -> None:
        try:
            await self._look_at(group, node)
        except OpenDebridError as error:
            facts = {"action": "follow_failed", "node": node.node_id, "error": error.message}
            log.warning("a look at a node failed", extra=facts)
        except Exception:
            log.exception("a look at a node failed", extra={"action": "follow_crashed", "node": node.node_id})
        finally:
            self._asking.discard(node.node_id)

    async def _look_at(self, group: asyncio.TaskGroup, node: NodeClient) -> None:
        # what begins while the node is asked is not in its answer, and not lost either
        asked = [
            found.id for found in self.view.filling()
            if found.node_id == node.node_id and not self.replicas.is_busy(found.id)
        ]  # fmt: skip
        try:
            answer = await node.statuses()
        except Unavailable as error:
            if node.node_id not in self._unreached:
                self._unreached.add(node.node_id)
                facts = {"action": "node_unreached", "node": node.node_id, "error": error.message}
                log.info("node not reached", extra=facts)
            self.watch.mute(node.node_id)
            if not self.board.online(node.node_id):
                self.board.stand_still(asked)
            return
        self._unreached.discard(node.node_id)
        self.watch.answered(node.node_id)
        answer = self._believed(node, answer)
        self.watch.watch_disk(node.node_id)  # the reserve itself may have been changed
        trouble = self.watch.trouble(node.node_id)
        changed: list[Event] = []
        told = self.listening(JobProgress.type)
        self._reserved.pop(node.node_id, None)
        for replica_id in asked:
            replica = self.view.replicas.get(replica_id)
            if replica is None or replica.state is not ReplicaState.FILLING or self.replicas.is_busy(replica_id):
                continue
            if trouble is not None:
                reason, hold = trouble
                self.steps.spawn(group, replica.id, self.stopper.stop(replica.id, reason, hold=hold), "stop")
                continue
            before = self.board.statuses.get(replica.id)
            self._compare(group, replica, answer)
            if told and replica.id in answer.statuses and answer.statuses[replica.id] != before:
                changed += self._progress_events(replica)
        self.publish(changed)
        self._sweep(group, node, answer)
        await self.seeding.begin_missing(group, node, answer)

    def _believed(self, node: NodeClient, answer: NodeStatuses) -> NodeStatuses:
        """What a node says of replicas that are another's is passed over."""
        foreign = [
            replica_id for replica_id in answer.statuses
            if (known := self.view.replicas.get(replica_id)) is not None and known.node_id != node.node_id
        ]  # fmt: skip
        if not foreign:
            return answer
        facts = {"action": "foreign_replicas", "node": node.node_id, "replicas": [str(one) for one in foreign]}
        log.warning("a node tells of replicas that are not its own", extra=facts)
        statuses = {key: value for key, value in answer.statuses.items() if key not in foreign}
        return replace(answer, statuses=statuses)

    def _compare(self, group: asyncio.TaskGroup, replica: Replica, answer: NodeStatuses) -> None:
        """What should be filling against what the engine says."""
        status = answer.statuses.get(replica.id)
        if status is None:
            if replica.engine not in answer.down:
                self._lost(group, replica)
            return
        before = self.board.statuses.get(replica.id)
        self.board.received += max(status.done - (replica.done if before is None else before.done), 0)
        self.board.statuses[replica.id] = status
        self.board.replica_of[replica.entry_id] = replica.id
        if status.state is FillState.COMPLETE and self._too_large(replica, status):
            # it was there before anybody had seen how large it is
            self.steps.spawn(group, replica.id, self._check_size(replica, status.total or status.done), "too large")
        elif status.state is FillState.COMPLETE:
            self.steps.spawn(group, replica.id, self.completer.completed(replica, status), "complete")
        elif status.state is FillState.FAILED:
            self.steps.spawn(group, replica.id, self.tracker.failed(replica, status), "fail")
        elif status.state is FillState.PAUSED:
            self.steps.spawn(group, replica.id, self._resume(replica), "resume")
        else:
            self._running(group, replica, status)

    def _too_large(self, replica: Replica, status: FillStatus) -> bool:
        size = status.total or status.done
        return self._sized.get(replica.id) != size and self._is_above(replica, size, self.limits())

    def _is_above(self, replica: Replica, size: Bytes, limits: Limits) -> bool:
        """Whether it may be too large for somebody who waits for it: `Tracker.too_large` says for whom."""
        users = {claim.user_id for claim in self.view.by_entry.get(replica.entry_id, ())}
        of_users = [largest_of_user(limits, self.view.own.get(user), len(users)) for user in users]
        return any(limit and size > limit for limit in [limits.max_download_size, *of_users])

    async def _check_size(self, replica: Replica, size: Bytes) -> None:
        await self.tracker.too_large(replica, size)
        self._sized[replica.id] = size

    async def _resume(self, replica: Replica) -> None:
        for node in self.nodes():
            if node.node_id == replica.node_id:
                await node.resume(replica.engine, replica.id)

    def _lost(self, group: asyncio.TaskGroup, replica: Replica) -> None:
        """The engine does not know it: it was restarted, or we were."""
        mark = self._marks.setdefault(replica.id, _Mark(done=replica.done, at=self.clock.monotonic()))
        mark.lost += 1
        self.board.statuses.pop(replica.id, None)
        if mark.lost > LOST_LIMIT:
            mark.lost = 0
            status = FillStatus(replica_id=replica.id, state=FillState.FAILED, done=replica.done)
            self.steps.spawn(group, replica.id, self.tracker.failed(replica, status), "fail")
        else:
            self.steps.spawn(group, replica.id, self.filler.recover(replica.id), "recover")

    def _running(self, group: asyncio.TaskGroup, replica: Replica, status: FillStatus) -> None:
        limits, now = self.limits(), self.clock.monotonic()
        # a check of what is there begins below it, and its bytes are progress too
        mark = self._marks.setdefault(replica.id, _Mark(done=min(replica.done, status.done), at=now))
        if status.done > mark.done or status.state is FillState.QUEUED:
            # what waits for its turn inside its engine has not stalled
            self._marks[replica.id] = _Mark(done=status.done, at=now)
            self.board.quiet.pop(replica.id, None)
        elif now - mark.at >= QUIET:
            self.board.quiet[replica.id] = Seconds(now - mark.at)
        if replica.entry_id not in self.view.by_entry:
            self._unwanted(group, replica, Seconds(now))
        elif status.files_rev and self.board.files_seen.get(replica.id) != status.files_rev:
            self.steps.spawn(group, replica.id, self.tracker.files_changed(replica, status), "files")
        elif status.total is not None and self._sized.get(replica.id) != status.total:
            self._measure(group, replica, status.total, status.done, limits)
        elif status.total is None and self._grows(group, replica, status.done, limits):
            pass
        elif replica.entry_id in self.view.reselect:
            self.view.reselect.discard(replica.entry_id)
            self.steps.spawn(group, replica.id, self.steerer.selection_changed(replica), "select")
        elif len(self.view.by_entry[replica.entry_id]) > 1 and now - self._figured.get(replica.id, NEVER) >= FIGURES:
            self._figured[replica.id] = Seconds(now)
            self.steps.spawn(group, replica.id, self.tracker.figures(replica), "figures")
        elif status.done <= mark.done:
            self._stalled(group, replica, status, Seconds(now - mark.at), limits)

    def _unwanted(self, group: asyncio.TaskGroup, replica: Replica, now: Seconds) -> None:
        """Every job that waited for it has ended while it still runs. Usually the engine is done in a moment too."""
        if now - self._unwanted_since.setdefault(replica.id, now) >= UNWANTED:
            del self._unwanted_since[replica.id]
            self.steps.spawn(group, replica.id, self.stopper.stop(replica.id, None), "stop")

    def _measure(self, group: asyncio.TaskGroup, replica: Replica, total: Bytes, done: Bytes, limits: Limits) -> None:
        """The size became known while it runs: it has to fit like any other."""
        self._sized[replica.id] = total
        if self._limited(replica, limits):
            self.replan()
        if self._is_above(replica, total, limits):
            self.steps.spawn(group, replica.id, self.tracker.too_large(replica, total), "too large")
            if len(self.view.by_entry[replica.entry_id]) == 1:
                return
        node = self.board.nodes.get(replica.node_id)
        if node is None:
            return
        remaining = Bytes(max(0, total - done))
        room = NodeRoom(node=node, reserved=self._reserved_by_others(replica, remaining))
        above = room.above_reserve(limits)
        if remaining > above:
            message = (
                f"node {room.node.name}: {human_bytes(max(0, above))} above the reserve, needs {human_bytes(remaining)}"
            )
            reason = Reason(code=ReasonCode.WAITING_FOR_SPACE, message=message)
            self.view.replicas[replica.id] = replace(replica, wanted=total)
            self.steps.spawn(group, replica.id, self._hold_for_room(replica, total, reason), "hold")
        else:
            self.view.replicas[replica.id] = replace(replica, wanted=total)

    def _reserved_by_others(self, replica: Replica, remaining: Bytes) -> int:
        """On the replica's node. Added up once for each look at a node: thousands may be measured in one."""
        parts = self._reserved.get(replica.node_id)
        if parts is None:
            there = [found for found in self.view.filling() if found.node_id == replica.node_id]
            parts = {found.id: self.view.remaining(found) or 0 for found in there}
            self._reserved[replica.node_id] = parts
            self._sums[replica.node_id] = sum(parts.values())
        others = self._sums[replica.node_id] - parts.get(replica.id, 0)
        parts[replica.id], self._sums[replica.node_id] = remaining, others + remaining
        return others

    def _limited(self, replica: Replica, limits: Limits) -> bool:
        """Whether it counts for a limit of what somebody stores."""
        claims = self.view.by_entry.get(replica.entry_id, ())
        return any(allowance(limits, self.view.own.get(claim.user_id)).storage for claim in claims)

    def _grows(self, group: asyncio.TaskGroup, replica: Replica, done: Bytes, limits: Limits) -> bool:
        """Nobody knows how large it will be: as far as it has come it has to be allowed. Whether it is looked at."""
        now = self.clock.monotonic()
        if now - self._grown.get(replica.id, NEVER) < GROWING:
            return False
        self._grown[replica.id] = Seconds(now)
        if self._limited(replica, limits):
            self.replan()
        if not limits.max_download_size or done <= limits.max_download_size:
            return False
        self.steps.spawn(group, replica.id, self.tracker.too_large(replica, done), "too large")
        return True

    async def _hold_for_room(self, replica: Replica, total: Bytes, reason: Reason) -> None:
        def work(tx: Transaction) -> None:
            current = tx.cache.replica(replica.id)
            if current is not None:
                tx.cache.update_replica(replace(current, wanted=total))

        await self.store.write(work)
        await self.stopper.stop(replica.id, reason)

    def _stalled(
        self, group: asyncio.TaskGroup, replica: Replica, status: FillStatus, idle: Seconds, limits: Limits
    ) -> None:
        since = replica.progress_at or replica.created_at
        silent = (self.clock.now() - since).total_seconds()
        # the wall clock alone proves nothing: the machine was off, or its clock was set
        if idle >= min(limits.stall_yield, limits.no_progress_timeout):
            if min(silent, idle) > limits.no_progress_timeout or (
                silent > limits.no_progress_timeout and status.done <= replica.done
            ):
                self.steps.spawn(group, replica.id, self.tracker.no_progress(replica, Seconds(silent)), "no progress")
            elif any(reason.code in SLOT_CODES for reason in self.board.reasons.values()):
                code = ReasonCode.NO_SEEDS if status.seeders == 0 else ReasonCode.STALLED
                what = "no seeds" if code is ReasonCode.NO_SEEDS else "not one byte"
                reason = Reason(code=code, message=f"{what} for {human_time(idle)}; it yielded its slot")
                self.steps.spawn(group, replica.id, self.stopper.stop(replica.id, reason), "yield")

    def _progress_events(self, replica: Replica) -> list[Event]:
        at, status = self.clock.now(), self.board.statuses[replica.id]
        figures = {"done": int(status.done), "size": status.total, "rate_down": int(status.rate_down)}
        return [
            JobProgress(
                at=at,
                job_id=claim.job_id,
                job_number=claim.number,
                user_id=claim.user_id,
                node_id=replica.node_id,
                data=figures,
            )
            for claim in self.view.by_entry.get(replica.entry_id, ())
        ]

    def _sweep(self, group: asyncio.TaskGroup, node: NodeClient, answer: NodeStatuses) -> None:
        """What an engine works on although nobody wants it to: brought back by a restart, or never told to stop."""
        for replica_id, status in answer.statuses.items():
            known = self.view.replicas.get(replica_id)
            if known is not None and known.state is ReplicaState.FILLING:
                continue
            if known is not None and known.state is ReplicaState.PAUSED and status.state is FillState.PAUSED:
                continue
            if known is not None and known.state is ReplicaState.REPLACED and status.state is FillState.COMPLETE:
                self.steps.spawn(group, replica_id, self.completer.completed(known, status), "returned")
            elif not self.replicas.is_busy(replica_id):
                self.steps.spawn(group, replica_id, self._stray(node, replica_id, status), "stray")

    async def _stray(self, node: NodeClient, replica_id: ReplicaId, status: FillStatus) -> None:
        async with self.replicas.alone(replica_id):
            replica = await self.store.read(lambda tx: tx.cache.replica(replica_id))
            if replica is not None and replica.node_id != node.node_id:
                return
            if replica is not None and replica.state is ReplicaState.FILLING:
                self.view.note(replica)
                return
            if replica is not None and replica.state is ReplicaState.READY:
                await self.seeding.follow(node, replica, status)
                return
            if replica is not None and replica.state is ReplicaState.PAUSED and status.state is FillState.PAUSED:
                return
            self.board.statuses.pop(replica_id, None)
            engine = replica.engine if replica is not None else await self._engine_of(node, replica_id)
            if engine is None:
                return
            await node.cancel(engine, replica_id)

    async def _engine_of(self, node: NodeClient, replica_id: ReplicaId) -> EngineName | None:
        """A replica that the store has no row of: every engine of the node is told."""
        known = self.board.nodes.get(node.node_id)
        for health in known.engines if known is not None else ():
            if health.ok:
                await node.cancel(health.name, replica_id)
        return None
