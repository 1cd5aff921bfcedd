"""Content and where it is: cache keys, cache entries, replicas, and the rule for when a hit is a hit."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Set
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from uuid import UUID

from oddaemon.domain.errors import WrongState
from oddaemon.domain.failure import Failure, Reason
from oddaemon.domain.types import Bytes, EngineName, EntryId, Handle, NodeId, ReplicaId, UserId


class KeyKind(StrEnum):
    HASH = "hash"
    URL = "url"
    CUSTOM_ID = "custom_id"


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheKey:
    """Identity of the bytes that a source yields (product.md section 4)."""

    engine: EngineName
    kind: KeyKind
    value: str
    owner: UserId | None = None
    """Set for private content: no one else ever gets it."""

    @property
    def full(self) -> str:
        """The form that is stored and shown, for example `aria2:hash:<40 hex>`."""
        text = f"{self.engine}:{self.kind}:{self.value}"
        return text if self.owner is None else f"{text}:@{self.owner}"

    def private_to(self, owner: UserId) -> CacheKey:
        return replace(self, owner=owner)


def parse_key(full: str) -> CacheKey:
    """The key whose full form this is, as it stands in the store. Raises ValueError for anything else."""
    engine, kind, rest = full.split(":", 2)
    value, at, owner = rest.partition(":@")
    return CacheKey(
        engine=EngineName(engine), kind=KeyKind(kind), value=value, owner=UserId(UUID(owner)) if at else None
    )


def hash_key(engine: EngineName, info_hash: str) -> CacheKey:
    """The key of a torrent, from its v1 info-hash in 40 lower-case hex digits."""
    return CacheKey(engine=engine, kind=KeyKind.HASH, value=info_hash)


def url_key(engine: EngineName, normalised: str, digest: str = "") -> CacheKey:
    """The key of what a URL yields: `normalised` as in `domain.url`, `digest` of the options that
    change the bytes."""
    value = url_cache_key(normalised)
    return CacheKey(engine=engine, kind=KeyKind.URL, value=f"{value}:{digest}" if digest else value)


def url_cache_key(normalised: str) -> str:
    """SHA-256 of a normalised URL, in hex."""
    return hashlib.sha256(normalised.encode()).hexdigest()


@dataclass(frozen=True, slots=True, kw_only=True)
class EntryFile:
    """One file of a cache entry. `index` counts from 1 and never changes."""

    index: int
    path: str
    """The name that people see: relative, `/`-separated, free of control characters; never used to open anything."""
    disk_path: str
    """Where it lies below the replica's directory."""
    size: Bytes | None = None
    content_type: str = "application/octet-stream"
    ready: bool = False
    """Verified on disk with its recorded size on a replica."""
    failed: str | None = None
    """Why this one cannot be had (a playlist's entry); the job completes without it."""
    sha256: str | None = None
    """Of the bytes that are ready, once a copy was made of them."""

    def made_ready(self, size: Bytes | None) -> EntryFile:
        """It is there. A digest of bytes that were not is none of it."""
        same = self.ready and size == self.size
        return replace(self, size=size, ready=True, sha256=self.sha256 if same else None)


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheEntry:
    """The content of one generation of one cache key, independent of who wants it."""

    id: EntryId
    key: str
    generation: int
    engine: EngineName
    created_at: datetime
    current: bool = True
    """Whether an add of this key joins it: the newest complete generation, or the first."""
    owner: UserId | None = None
    name: str | None = None
    total_size: Bytes | None = None
    files_known: bool = False
    complete_at: datetime | None = None
    last_used_at: datetime | None = None
    hits: int = 0
    pinned: bool = False
    kept: bool = False
    """`rm --keep-data`: stays without a claim until clean-up or `cache rm`."""
    replicas: int = 1
    """On so many nodes it is wished to lie while it is pinned."""


class ReplicaState(StrEnum):
    WAITING = "waiting"
    FILLING = "filling"
    PAUSED = "paused"
    READY = "ready"
    FAILED = "failed"
    MISSING = "missing"
    DELETING = "deleting"
    REPLACED = "replaced"
    """Its node was away for too long, or refused it: another one is filled in its place. Its bytes stay until that one
    is ready."""
    COPYING = "copying"
    """The files of a ready replica are being brought here from its node. No engine knows of it."""


_W, _F, _P, _R, _X, _M, _D, _A, _C = (
    ReplicaState.WAITING,
    ReplicaState.FILLING,
    ReplicaState.PAUSED,
    ReplicaState.READY,
    ReplicaState.FAILED,
    ReplicaState.MISSING,
    ReplicaState.DELETING,
    ReplicaState.REPLACED,
    ReplicaState.COPYING,
)

REPLICA_TRANSITIONS: Mapping[ReplicaState, Set[ReplicaState]] = {
    _W: {_F, _P, _R, _X, _D, _A},
    _F: {_W, _P, _R, _X, _D, _A},
    _P: {_W, _F, _R, _X, _D, _A},
    _R: {_W, _M, _D, _C},
    _X: {_W, _R, _D},
    _M: {_W, _R, _X, _D, _A},
    _D: set(),
    _A: {_W, _R, _D},
    _C: {_R, _D},
}

OUT_OF_USE = frozenset({_D, _A, _C})
"""Nobody is served from these, and no engine brings anything to them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Replica:
    """A cache entry's presence on one node. Engines, nodes and the node protocol know replicas, never jobs or users."""

    id: ReplicaId
    entry_id: EntryId
    node_id: NodeId
    engine: EngineName
    created_at: datetime
    updated_at: datetime
    state: ReplicaState = ReplicaState.WAITING
    handle: Handle | None = None
    engine_state: str | None = None
    reason: Reason | None = None
    error: Failure | None = None
    attempts: int = 0
    """Failed attempts since the last byte of progress."""
    next_try_at: datetime | None = None
    done: Bytes = Bytes(0)
    """The most bytes ever seen: progress is what exceeds it."""
    wanted: Bytes | None = None
    """Size of the selected files, when known."""
    progress_at: datetime | None = None
    """When the last byte came."""
    afresh: bool = False
    """What is on disk is of another version: the next start empties the directory first."""
    placement: str = ""
    """Why it is on this node, and not on another."""


def moved(replica: Replica, to: ReplicaState, *, at: datetime, reason: Reason | None = None) -> Replica:
    """The replica in state `to`; raises WrongState if the table has no such step. Staying is always allowed."""
    if to is not replica.state and to not in REPLICA_TRANSITIONS[replica.state]:
        raise WrongState(f"replica {replica.id} is {replica.state}: it cannot become {to}")
    return replace(replica, state=to, updated_at=at, reason=reason)


def at_work(replicas: Iterable[Replica]) -> Replica | None:
    """Of an entry's replicas the one that changes for its unfinished jobs: what is being filled, or waits for that,
    before what is ready."""
    live = [found for found in replicas if found.state not in OUT_OF_USE]
    return min(live, key=lambda found: found.state is ReplicaState.READY, default=None)


def serving(replicas: Iterable[Replica], online: Callable[[NodeId], bool]) -> Replica | None:
    """Of an entry's replicas the one that its ready files are had from: a ready one on a node that can be reached,
    else a ready one; with none, what is being filled. All ready replicas of an entry have all of its ready files."""
    live = [found for found in replicas if found.state not in OUT_OF_USE]
    return min(
        live, key=lambda found: (found.state is not ReplicaState.READY, not online(found.node_id)), default=None
    )


def is_hit(files: Iterable[EntryFile], wanted: Set[int], *, files_known: bool) -> bool:
    """Whether every wanted file can be had at once (product.md section 3.6). At least one file has to be there."""
    if not files_known or not wanted:
        return False
    by_index = {file.index: file for file in files}
    chosen = [by_index.get(index) for index in wanted]
    return all(file is not None and (file.ready or file.failed is not None) for file in chosen) and any(
        file is not None and file.ready for file in chosen
    )
