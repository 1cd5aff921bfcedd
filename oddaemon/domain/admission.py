"""Why something waits, and where it may go: limits per user, node and engine, room on a disk, eligibility of nodes.

Pure bookkeeping: `Capacity` is filled with what runs, then asked and told one start after the other, so that two
downloads never pass a check that only one of them may pass.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from oddaemon.domain.failure import Reason, ReasonCode
from oddaemon.domain.node import NodeSnapshot
from oddaemon.domain.types import Bytes, EngineName, NodeId, Seconds, UserId
from oddaemon.domain.user import UserLimits


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """The values of the `limits.*` settings. 0 means no limit, except for the reserve."""

    per_user: int = 5
    per_node: int = 10
    min_disk_free: Bytes = Bytes(1 << 30)
    resume_free: Bytes = Bytes(256 << 20)
    """How far above the reserve the free space has to come before held downloads go on."""
    max_download_size: Bytes = Bytes(0)
    jobs_per_user: int = 0
    storage_per_user: Bytes = Bytes(0)
    storage_split: bool = False
    """Whether those who share content share its bytes, too; else each is charged all that they claim."""
    served_per_day: Bytes = Bytes(0)
    """Of one user's links."""
    requests_per_minute: int = 0
    """Of one user."""
    retries: int = 8
    """Attempts without a byte of progress before a passing failure becomes final."""
    retry_wait: Seconds = Seconds(5)
    """Before the first retry; doubled each time, up to `retry_wait_max`."""
    retry_wait_max: Seconds = Seconds(600)
    no_progress_timeout: Seconds = Seconds(7 * 86400)
    stall_yield: Seconds = Seconds(600)
    """After this long without a byte a download yields its slot to one that can run."""
    lru_enabled: bool = False
    lru_max_age: Seconds = Seconds(0)
    lru_until_free: Bytes = Bytes(0)
    queue_paused: bool = False
    """What runs goes on, nothing new starts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Allowance:
    """What one user may use. 0: no limit."""

    running: int = 0
    jobs: int = 0
    storage: Bytes = Bytes(0)
    served_per_day: Bytes = Bytes(0)
    requests_per_minute: int = 0


def allowance(limits: Limits, own: UserLimits | None = None) -> Allowance:
    """The limits of the settings, with the user's own in their place. Admins have no others than everybody else."""
    own = own or UserLimits()
    return Allowance(
        running=limits.per_user if own.running is None else own.running,
        jobs=limits.jobs_per_user if own.jobs is None else own.jobs,
        storage=limits.storage_per_user if own.storage is None else own.storage,
        served_per_day=limits.served_per_day if own.served_per_day is None else own.served_per_day,
        requests_per_minute=limits.requests_per_minute if own.requests_per_minute is None else own.requests_per_minute,
    )


def human_bytes(count: int) -> str:
    """`3.1 GiB` style text for sentences; 1024-based, one decimal."""
    value = float(count)
    for unit in ("B", "KiB", "MiB", "GiB", "TiB"):
        if abs(value) < 1024 or unit == "TiB":
            return f"{int(value)} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1024
    raise AssertionError


def human_time(seconds: float) -> str:
    """`45 s`, `12 min`, `36 h`, `7 days`: a time in sentences, to three figures."""
    for unit, length, least in (("days", 86400, 2), ("h", 3600, 1), ("min", 60, 1)):
        if seconds >= least * length:
            return f"{seconds / length:.3g} {unit}"
    return f"{seconds:.3g} s"


def reserve_of(node: NodeSnapshot, limits: Limits) -> Bytes:
    """What stays free on the node's disk."""
    own = node.limits.min_disk_free
    return limits.min_disk_free if own is None else own


def disk_full(node: NodeSnapshot, limits: Limits) -> Reason:
    return Reason(
        code=ReasonCode.NO_SPACE,
        message=f"node {node.name}: the disk is full, {human_bytes(node.disk.free)} free, "
        f"goes on at {human_bytes(reserve_of(node, limits) + limits.resume_free)}",
    )


def running_at_once(node: NodeSnapshot, limits: Limits) -> int:
    """How many downloads may run on the node; 0 means no limit."""
    own = node.limits.running
    return limits.per_node if own is None else own


def node_offline(node: NodeSnapshot) -> Reason:
    since = "" if node.offline_since is None else f" since {node.offline_since:%Y-%m-%d %H:%M} UTC"
    return Reason(code=ReasonCode.NODE_OFFLINE, message=f"node {node.name} is offline{since}")


@dataclass(frozen=True, slots=True)
class NodeWish:
    """Where a download may go: to this node, to one that has all of these labels."""

    node: NodeId | None = None
    labels: frozenset[tuple[str, str]] = frozenset()

    def allows(self, node: NodeSnapshot) -> bool:
        return self.node in (None, node.id) and node.has(dict(self.labels))

    @property
    def words(self) -> str:
        """The labels, for sentences."""
        told = ", ".join(f"{key}={value}" for key, value in sorted(self.labels))
        return f"the label{'s' if len(self.labels) > 1 else ''} {told}"


ANYWHERE = NodeWish()


@dataclass(slots=True, kw_only=True)
class NodeRoom:
    """One node's capacity while a plan is made. Mutable on purpose: each start takes its part."""

    node: NodeSnapshot
    running: int = 0
    running_by_engine: dict[EngineName, int] = field(default_factory=dict)
    reserved: int = 0
    """Sum of the remaining bytes of everything that runs here."""
    shunned: Reason | None = None
    """It refused what it was given a moment ago: taken only when no other can."""
    open_for: dict[EngineName, bool] = field(default_factory=dict, repr=False)
    candidate: Any = None
    """What a balancer is shown of it, until it takes something."""

    def above_reserve(self, limits: Limits) -> int:
        return self.node.disk.free - reserve_of(self.node, limits) - self.reserved

    def fits(self, engine: EngineName, remaining: Bytes | None, limits: Limits) -> bool:
        """Whether `refuses` has no reason."""
        if not self.takes(engine, limits):
            return False
        above = self.above_reserve(limits)
        return remaining == 0 or (above > 0 and (remaining is None or remaining <= above))

    def takes(self, engine: EngineName, limits: Limits) -> bool:
        """Whether it may take a download of no size; found out once after each that it took."""
        found = self.open_for.get(engine)
        if found is None:
            found = self.open_for[engine] = self.refuses(engine, Bytes(0), limits) is None
        return found

    def refuses(self, engine: EngineName, remaining: Bytes | None, limits: Limits) -> Reason | None:
        """Why a download that still needs `remaining` bytes (None: unknown) may not start here now."""
        name = self.node.name
        if not self.node.online:
            return node_offline(self.node)
        if self.node.draining:
            return Reason(code=ReasonCode.NO_NODE, message=f"node {name} is draining")
        health = next((found for found in self.node.engines if found.name == engine), None)
        if health is None:
            return Reason(code=ReasonCode.NO_NODE, message=f"node {name} does not have the engine {engine}")
        if not health.ok:
            return Reason(code=ReasonCode.ENGINE_DOWN, message=f"node {name}: {engine} is down: {health.message}")
        if not self.node.disk.present:
            return Reason(code=ReasonCode.STORAGE_MISSING, message=f"node {name}: the download disk is not mounted")
        if self.node.disk_low:
            return disk_full(self.node, limits)
        lacking = self._lacks_room(remaining, limits)
        if lacking is not None:
            return lacking
        of_engine = self.running_by_engine.get(engine, 0)
        if health.max_concurrent and of_engine >= health.max_concurrent:
            return Reason(
                code=ReasonCode.ENGINE_LIMIT,
                message=f"engine limit: {of_engine} of {health.max_concurrent} {engine} downloads running on {name}",
            )
        most = running_at_once(self.node, limits)
        if most and self.running >= most:
            return Reason(
                code=ReasonCode.NODE_LIMIT, message=f"node limit: {self.running} of {most} running on {name}"
            )
        return None

    def refuses_copy(self, remaining: Bytes, limits: Limits) -> Reason | None:
        """Why a copy that still needs `remaining` bytes may not be brought here now: it takes room, and no engine."""
        if not self.node.online:
            return node_offline(self.node)
        if not self.node.disk.present:
            return Reason(
                code=ReasonCode.STORAGE_MISSING, message=f"node {self.node.name}: the download disk is not mounted"
            )
        if self.node.disk_low:
            return disk_full(self.node, limits)
        return self._lacks_room(remaining, limits)

    def _lacks_room(self, remaining: Bytes | None, limits: Limits) -> Reason | None:
        above = self.above_reserve(limits)
        if (above > 0 or remaining == 0) and (remaining is None or remaining <= above):
            return None
        needs = "" if remaining is None else f", needs {human_bytes(remaining)}"
        return Reason(
            code=ReasonCode.WAITING_FOR_SPACE,
            message=f"node {self.node.name}: {human_bytes(max(0, above))} above the reserve{needs}",
        )

    def take(self, engine: EngineName, remaining: Bytes | None) -> None:
        self.running += 1
        self.running_by_engine[engine] = self.running_by_engine.get(engine, 0) + 1
        self.reserved += remaining or 0
        self.open_for.clear()
        self.candidate = None


@dataclass(slots=True, kw_only=True)
class UserTurns:
    """How many downloads each user runs, and whose turn it is: fewest running first, then longest not served."""

    limits: Limits
    own: Mapping[UserId, UserLimits] = field(default_factory=dict)
    running: dict[UserId, int] = field(default_factory=dict)
    served: dict[UserId, int] = field(default_factory=dict)
    measuring: set[UserId] = field(default_factory=set)
    """Whose are downloads that run and whose size nobody has seen yet."""

    def refuses(self, user: UserId) -> Reason | None:
        count, most = self.running.get(user, 0), self._most(user)
        if most and count >= most:
            return Reason(code=ReasonCode.USER_LIMIT, message=f"user limit: {count} of {most} running")
        return None

    def _most(self, user: UserId) -> int:
        # asked for each of 10,000 waiting jobs
        return allowance(self.limits, self.own[user]).running if user in self.own else self.limits.per_user

    def refuses_unknown(self, user: UserId) -> Reason | None:
        """What is of unknown size begins one after the other when its user's storage is limited: many at once would be
        complete before anybody had seen that together they are too much."""
        if user not in self.measuring or not allowance(self.limits, self.own.get(user)).storage:
            return None
        message = "storage limit: of another download it is not known yet how large it is"
        return Reason(code=ReasonCode.STORAGE_LIMIT, message=message)

    def take(self, user: UserId) -> None:
        self.running[user] = self.running.get(user, 0) + 1

    def rank(self, user: UserId) -> tuple[int, int]:
        return (self.running.get(user, 0), self.served.get(user, 0))


@dataclass(slots=True)
class _Open:
    """The nodes that may take a download of one engine."""

    rooms: dict[NodeId, NodeRoom]
    shunned: bool
    lowest: int
    """No node has less room than that."""


@dataclass(slots=True)
class Places:
    """Where downloads may go while a plan is made. What a start takes changes one node: the others are not looked at
    again for the next of thousands."""

    rooms: Mapping[NodeId, NodeRoom]
    limits: Limits
    _open: dict[tuple[EngineName, NodeWish], _Open] = field(default_factory=dict)

    def fitting(self, engine: EngineName, remaining: Bytes | None, wish: NodeWish = ANYWHERE) -> list[NodeRoom]:
        """The nodes that may take the download, without reasons. One that refused another a moment ago only when there
        is none else."""
        if wish.node is not None:
            room = self.rooms.get(wish.node)
            fits = room is not None and wish.allows(room.node) and room.fits(engine, remaining, self.limits)
            return [room] if room is not None and fits else []
        there = self._of(engine, wish)
        fitting = list(there.rooms.values())
        if there.lowest <= 0 or (remaining is not None and remaining > there.lowest):
            fitting = [room for room in fitting if room.fits(engine, remaining, self.limits)]
        return ([room for room in fitting if room.shunned is None] or fitting) if there.shunned else fitting

    def take(self, node_id: NodeId, engine: EngineName, remaining: Bytes | None) -> None:
        room = self.rooms[node_id]
        room.take(engine, remaining)
        for (name, _), there in self._open.items():
            if node_id not in there.rooms:
                continue
            if not room.takes(name, self.limits):
                del there.rooms[node_id]
            there.lowest = min(there.lowest, room.above_reserve(self.limits))

    def _of(self, engine: EngineName, wish: NodeWish) -> _Open:
        found = self._open.get((engine, wish))
        if found is None:
            rooms = {
                node_id: room for node_id, room in self.rooms.items()
                if wish.allows(room.node) and room.takes(engine, self.limits)
            }  # fmt: skip
            found = self._open[engine, wish] = _Open(
                rooms,
                any(room.shunned is not None for room in rooms.values()),
                min((room.above_reserve(self.limits) for room in rooms.values()), default=0),
            )
        return found


def why_dropped(
    rooms: Mapping[NodeId, NodeRoom], engine: EngineName, remaining: Bytes | None, limits: Limits,
    wish: NodeWish = ANYWHERE,
) -> dict[NodeId, Reason]:  # fmt: skip
    """The reason of every node that may not take the download, or that others go before."""
    dropped: dict[NodeId, Reason] = {}
    for node_id, room in rooms.items():
        if wish.node not in (None, node_id):
            dropped[node_id] = Reason(code=ReasonCode.NO_NODE, message=f"node {wish.node} was asked for")
            continue
        if not wish.allows(room.node):
            message = f"node {room.node.name} does not have {wish.words}"
            dropped[node_id] = Reason(code=ReasonCode.NO_NODE, message=message)
            continue
        reason = room.refuses(engine, remaining, limits) or room.shunned
        if reason is not None:
            dropped[node_id] = reason
    return dropped
