"""Decides what starts next and where: limits and room decide who may, the balancer ranks nodes, users take turns."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, field, replace

from oddaemon.domain.admission import (
    ANYWHERE,
    Limits,
    NodeRoom,
    NodeWish,
    Places,
    UserTurns,
    running_at_once,
    why_dropped,
)
from oddaemon.domain.failure import Reason, ReasonCode
from oddaemon.domain.job import Hold
from oddaemon.domain.node import NodeSnapshot
from oddaemon.domain.types import Bytes, EngineName, EntryId, JobId, NodeId, ReplicaId, UserId
from oddaemon.domain.user import UserLimits
from oddaemon.ports.load_balancer import Candidate, LoadBalancer
from oddaemon.ports.store import ClaimRow

SAME_TORRENT = Reason(
    code=ReasonCode.SAME_TORRENT, message="another download of the same torrent has to end first"
)
TOLD = 10
"""Of so many nodes a placement says why it is not they."""
QUEUE_PAUSED = Reason(code=ReasonCode.QUEUE_PAUSED, message="the queue is paused")


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """One entry that has unfinished claims, as the scheduler sees it."""

    entry_id: EntryId
    engine: EngineName
    remaining: Bytes | None
    replica_id: ReplicaId | None = None
    node_id: NodeId | None = None
    """Set when there is a replica: it stays where its bytes are."""
    running: bool = False
    unmeasured: bool = False
    """It runs, and its size has not been looked at yet."""
    blocked: Reason | None = None
    """Why it cannot start whatever the room: a wait between attempts, a replica that is still being removed."""
    last_resort: bool = False
    """It yielded its slot for want of seeds: everything else goes first."""
    info_hash: str | None = None
    """An engine works on each only once at a time: several users have a private torrent each for themselves."""

    @property
    def may_surprise(self) -> bool:
        """It may be there before its size is known. A magnet tells it before the first byte, but may be long in doing
        so: nothing waits for that."""
        return self.remaining is None and self.info_hash is None and (self.unmeasured or not self.running)


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    work: Work
    node_id: NodeId
    placement: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """`active` are the claims that hold a slot; every other claim has a reason. `stop` are running works without a
    claim that may run."""

    starts: Sequence[Start] = ()
    stop: Set[EntryId] = frozenset()
    active: Set[JobId] = frozenset()
    reasons: Mapping[JobId, Reason] = field(default_factory=dict)
    positions: Mapping[JobId, int] = field(default_factory=dict)


@dataclass(slots=True)
class Scheduler:
    """Remembers only whose turn it was."""

    balancer: LoadBalancer
    _turn: int = 0
    _served: dict[UserId, int] = field(default_factory=dict)

    def plan(
        self, claims: Sequence[ClaimRow], works: Mapping[EntryId, Work], rooms: Mapping[NodeId, NodeRoom],
        limits: Limits, *, own: Mapping[UserId, UserLimits] | None = None, over: Mapping[JobId, Reason] | None = None,
    ) -> Schedule:  # fmt: skip
        """The next steps. `rooms` hold no running work yet; they are filled here. `own` are limits of single users,
        `over` what each claim waits for that may not run whoever's turn it is."""
        turns = UserTurns(limits=limits, own=own or {}, served=self._served)
        active, stop, waiting, reasons = self._keep_running(claims, works, rooms, turns, over or {})
        places = Places(rooms, limits)
        starts: list[Start] = []
        positions: dict[JobId, int] = {}
        by_entry: dict[EntryId, list[ClaimRow]] = {}
        closed: dict[tuple[EngineName, NodeWish], Reason] = {}
        torrents = {(work.node_id, work.info_hash) for work in works.values() if work.running and work.info_hash}
        for claim in waiting:
            by_entry.setdefault(claim.entry_id, []).append(claim)
        started: set[EntryId] = set()
        for position, claim in enumerate(self._in_turn(waiting, works, turns, reasons), start=1):
            positions[claim.job_id] = position
            if claim.job_id in active or claim.job_id in reasons:
                continue
            work = works[claim.entry_id]
            if claim.entry_id in started or work.running:
                self._activate(claim, work, turns, active)
                continue
            start, reason = self._try(work, claim, places, turns, closed, torrents)
            if start is None:
                reasons[claim.job_id] = reason
                continue
            starts.append(start)
            started.add(claim.entry_id)
            self._activate(claim, work, turns, active)
        # those who joined what starts now wait only for their own limit
        for entry_id in started:
            for claim in by_entry[entry_id]:
                if claim.job_id in active:
                    continue
                refused = turns.refuses(claim.user_id)
                if refused is None:
                    reasons.pop(claim.job_id, None)
                    self._activate(claim, works[entry_id], turns, active)
                else:
                    reasons[claim.job_id] = refused
        return Schedule(
            starts=starts, stop=stop, active=active,
            reasons={job: reason for job, reason in reasons.items() if job not in active}, positions=positions,
        )  # fmt: skip

    def _keep_running(
        self, claims: Sequence[ClaimRow], works: Mapping[EntryId, Work], rooms: Mapping[NodeId, NodeRoom],
        turns: UserTurns, over: Mapping[JobId, Reason],
    ) -> tuple[set[JobId], set[EntryId], list[ClaimRow], dict[JobId, Reason]]:  # fmt: skip
        """What runs and may go on keeps its slot; the rest waits."""
        active: set[JobId] = set()
        kept: set[EntryId] = set()
        running_claims: list[ClaimRow] = []
        waiting: list[ClaimRow] = []
        reasons: dict[JobId, Reason] = {}
        for claim in claims:
            work = works.get(claim.entry_id)
            if work is None:
                continue
            if claim.hold is Hold.USER:
                reasons[claim.job_id] = Reason(code=ReasonCode.PAUSED, message="paused")
            elif claim.job_id in over:
                reasons[claim.job_id] = over[claim.job_id]
            elif work.running and claim.active:
                running_claims.append(claim)
            else:
                waiting.append(claim)
        # more than the limit are there when it was lowered: the last of them have to wait
        for claim in sorted(running_claims, key=lambda claim: (-claim.priority, claim.number)):
            if turns.refuses(claim.user_id) is None:
                self._keep(claim, works[claim.entry_id], turns, active)
                kept.add(claim.entry_id)
            else:
                waiting.append(claim)
        running = {entry_id for entry_id, work in works.items() if work.running}
        for entry_id in running:
            work = works[entry_id]
            room = rooms.get(work.node_id) if work.node_id is not None else None
            if room is not None:
                room.take(work.engine, work.remaining)
        # a claim that may run keeps its work running, also when it did not hold a slot before
        still_waiting: list[ClaimRow] = []
        for claim in waiting:
            if claim.entry_id in running and turns.refuses(claim.user_id) is None:
                self._keep(claim, works[claim.entry_id], turns, active)
                kept.add(claim.entry_id)
            else:
                still_waiting.append(claim)
        return active, running - kept, still_waiting, reasons

    def _in_turn(
        self, waiting: Iterable[ClaimRow], works: Mapping[EntryId, Work], turns: UserTurns,
        reasons: dict[JobId, Reason],
    ) -> Iterable[ClaimRow]:  # fmt: skip
        """Waiting claims, users in turn, within a user by priority and age. The next one is looked for only after
        the caller has decided on the last."""
        queues: dict[UserId, list[tuple[bool, int, int, ClaimRow]]] = {}
        for claim in waiting:
            late = works[claim.entry_id].last_resort
            queues.setdefault(claim.user_id, []).append((late, -claim.priority, claim.number, claim))
        for queue in queues.values():
            queue.sort(key=lambda item: item[:3], reverse=True)
        heap = [(*turns.rank(user), str(user), user) for user in queues]
        heapq.heapify(heap)
        while heap:
            _, _, key, user = heapq.heappop(heap)
            queue = queues[user]
            refused = turns.refuses(user)
            if refused is not None:
                for *_, claim in reversed(queue):
                    reasons.setdefault(claim.job_id, refused)
                    yield claim
                continue
            *_, claim = queue.pop()
            yield claim
            if queue:
                heapq.heappush(heap, (*turns.rank(user), key, user))

    def _keep(self, claim: ClaimRow, work: Work, turns: UserTurns, active: set[JobId]) -> None:
        active.add(claim.job_id)
        turns.take(claim.user_id)
        if work.may_surprise:
            turns.measuring.add(claim.user_id)

    def _activate(self, claim: ClaimRow, work: Work, turns: UserTurns, active: set[JobId]) -> None:
        self._keep(claim, work, turns, active)
        self._turn += 1
        self._served[claim.user_id] = self._turn

    def _try(
        self, work: Work, claim: ClaimRow, places: Places, turns: UserTurns,
        closed: dict[tuple[EngineName, NodeWish], Reason], torrents: set[tuple[NodeId | None, str]],
    ) -> tuple[Start | None, Reason]:  # fmt: skip
        if turns.limits.queue_paused:
            return None, QUEUE_PAUSED
        if work.blocked is not None:
            return None, work.blocked
        unknown = turns.refuses_unknown(claim.user_id) if work.may_surprise else None
        if unknown is not None:
            return None, unknown
        wish = claim.wish if work.node_id is None else NodeWish(work.node_id)
        if wish.node is not None and wish.node not in places.rooms:
            # a node that was removed is waited for by nobody
            wish = replace(wish, node=None)
        shut = closed.get((work.engine, wish))
        if shut is not None:
            return None, shut
        node_id, placement, reason = self.choose(work.engine, work.remaining, places, wish)
        if node_id is None:
            # room only shrinks during a plan: what does not depend on the size need not be asked 10,000 times
            if reason.code is not ReasonCode.WAITING_FOR_SPACE:
                closed[work.engine, wish] = reason
            return None, reason
        if work.info_hash is not None:
            if (node_id, work.info_hash) in torrents:
                return None, SAME_TORRENT
            torrents.add((node_id, work.info_hash))
        places.take(node_id, work.engine, work.remaining)
        return Start(work=work, node_id=node_id, placement=placement), reason

    def choose(
        self, engine: EngineName, remaining: Bytes | None, places: Places, wish: NodeWish = ANYWHERE
    ) -> tuple[NodeId | None, str, Reason]:
        """The best node and a sentence on why; or None and the reason that is closest to letting it start."""
        rooms, limits = places.rooms, places.limits
        fitting = places.fitting(engine, remaining, wish)
        if not fitting:
            dropped = why_dropped(rooms, engine, remaining, limits, wish)
            if wish.node is not None and wish.node in dropped:
                return None, "", dropped[wish.node]
            if wish.labels:
                dropped = {node_id: why for node_id, why in dropped.items() if wish.allows(rooms[node_id].node)}
                if not dropped:
                    return None, "", Reason(code=ReasonCode.NO_NODE, message=f"no node has {wish.words}")
            nowhere = Reason(code=ReasonCode.NO_NODE, message=f"no node has the engine {engine}")
            best = max(dropped.values(), key=lambda reason: _CLOSENESS.get(reason.code, 0), default=nowhere)
            return None, "", best
        candidates = [room.candidate or _candidate(room, limits) for room in fitting]
        ranking = self.balancer.rank(engine, remaining, candidates)
        why = ranking.reason + aside(rooms, fitting, engine, remaining, limits, wish)
        return ranking.order[0], why, Reason(code=ReasonCode.QUEUED, message=why)


def _candidate(room: NodeRoom, limits: Limits) -> Candidate:
    """As the room is now: kept until it takes something."""
    found = room.candidate = Candidate(
        id=room.node.id, is_local=room.node.is_controller, active=room.running,
        max_concurrent=running_at_once(room.node, limits),
        available=Bytes(max(0, room.above_reserve(limits))), weight=weight_of(room.node),
    )  # fmt: skip
    return found


def aside(
    rooms: Mapping[NodeId, NodeRoom], fitting: Sequence[NodeRoom], engine: EngineName, remaining: Bytes | None,
    limits: Limits, wish: NodeWish,
) -> str:  # fmt: skip
    """Why it is none of the others: of each, or of the first of many."""
    if len(fitting) == len(rooms):
        return ""
    taken = {room.node.id for room in fitting}
    others = [node_id for node_id in rooms if node_id not in taken]
    if not others:
        return ""
    if wish.node is not None:
        return " (it was asked for)"
    told = why_dropped({node_id: rooms[node_id] for node_id in others[:TOLD]}, engine, remaining, limits, wish)
    more = f"; {len(others) - TOLD} more" if len(others) > TOLD else ""
    return f" (not: {'; '.join(reason.message for reason in told.values())}{more})"


def weight_of(node: NodeSnapshot) -> float:
    """What an admin set, else the node's label `weight`; 1 when there is none, or none that is a positive number."""
    if node.limits.weight is not None:
        return node.limits.weight
    try:
        weight = float(node.all_labels.get("weight", "1"))
    except ValueError:
        return 1.0
    return weight if 0 < weight < 1e6 else 1.0


_CLOSENESS = {
    ReasonCode.NO_NODE: 1,
    ReasonCode.NODE_OFFLINE: 2,
    ReasonCode.STORAGE_MISSING: 3,
    ReasonCode.ENGINE_DOWN: 4,
    ReasonCode.NO_SPACE: 5,
    ReasonCode.WAITING_FOR_SPACE: 6,
    ReasonCode.ENGINE_LIMIT: 7,
    ReasonCode.NODE_LIMIT: 8,
}
