"""Persistence. Work on the store is a plain function of a transaction: it runs whole or not at all, without an await.

`Store.write(work)` runs `work(tx)` inside one write transaction and answers after the commit is durable; events that it
added with `tx.events.add` are published after the commit, in commit order. Works that arrive together share a commit
(each in its own savepoint, so that one that raises undoes only itself). A work may run again from the start if the
database asks for it: it must have no effect but through `tx`. It runs in a thread of the store's own, so it must not
touch what belongs to the event loop. A cancelled caller does not stop a work that has begun.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence, Set
from dataclasses import dataclass, field
from datetime import datetime
from typing import Generic, Protocol, TypeVar

from oddaemon.domain.admission import ANYWHERE, NodeWish
from oddaemon.domain.cache import CacheEntry, EntryFile, Replica, ReplicaState
from oddaemon.domain.filter_tree import EVERYTHING, Node
from oddaemon.domain.job import Hold, Job, JobState
from oddaemon.domain.link import Link, LinkState
from oddaemon.domain.query import SortKey
from oddaemon.domain.types import Bytes, EngineName, EntryId, JobId, JobNumber, LinkId, NodeId, ReplicaId, UserId
from oddaemon.ports.store_accounts import (
    ApiKeyRepository,
    InvitationRepository,
    KeyedAddRepository,
    ServedRepository,
    SessionRepository,
    UserRepository,
)
from oddaemon.ports.store_daemon import (
    EventRepository,
    JoinTokenRepository,
    NodeRepository,
    SecretRepository,
    SettingRepository,
)

T = TypeVar("T")
Row = TypeVar("Row")


@dataclass(frozen=True, slots=True, kw_only=True)
class Page(Generic[Row]):
    rows: Sequence[Row]
    total: int
    """Of all rows that match, whatever the limit."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """Filtered and sorted in the database. `sort` ends, for a stable order, with the job number."""

    where: Node = EVERYTHING
    """A settled filter."""
    sort: Sequence[SortKey] = ()
    offset: int = 0
    limit: int = 100
    user_id: UserId | None = None
    """Only this user's; None: everybody's (admins)."""
    finished_since: datetime | None = None
    """Leaves out what finished before."""
    live: Mapping[str, Mapping[EntryId, float | str]] = field(default_factory=dict)
    """What only memory knows of entries that are downloaded now, by field: it goes before what is stored of their
    unfinished jobs. In an order, jobs without a figure come last."""
    live_jobs: Mapping[str, Mapping[JobId, float | str | None]] = field(default_factory=dict)
    """Likewise of single jobs, which goes before that: `done` and `size` of those that want other files of an entry
    than the rest does (None: not known), and `reason`, the code of what a queued one waits for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Material:
    """What a download needs beside its URL, kept from the add's own transaction on: with the job until a replica
    exists, then with the replica. `secrets` are erased when the replica is ready."""

    torrent: bytes | None = None
    secrets: Mapping[str, str] | None = None
    erased: bool = False
    """There were secrets, and they are gone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EntryOverview:
    """A cache entry with what lists of it show."""

    entry: CacheEntry
    replicas: Sequence[Replica]
    jobs: Sequence[JobNumber]
    users: Sequence[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaimRow:
    """What the scheduler needs of an unfinished job that has an entry: a few columns, because there may be 10,000."""

    job_id: JobId
    number: JobNumber
    user_id: UserId
    entry_id: EntryId
    engine: EngineName
    active: bool
    hold: Hold
    priority: int
    size: Bytes | None
    node_wish: NodeId | None
    info_hash: str | None = None
    node_labels: frozenset[tuple[str, str]] = frozenset()

    @property
    def wish(self) -> NodeWish:
        if self.node_wish is None and not self.node_labels:
            return ANYWHERE
        return NodeWish(self.node_wish, self.node_labels)


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldRow:
    """What a user's storage is reckoned from: a job that claims an entry, in any state but cancelled."""

    job_id: JobId
    number: JobNumber
    user_id: UserId
    entry_id: EntryId
    state: JobState
    selection: str
    size: Bytes | None
    done: Bytes


class JobRepository(Protocol):
    def take_number(self) -> JobNumber:
        """The next job number; never given twice, whatever is removed. Undone with its transaction."""

    def insert(self, job: Job) -> Job:
        """The job with its `rev`."""

    def update(self, job: Job) -> Job:
        """Stores every field; the job with its new `rev`. Raises NotFound."""

    def update_all(self, jobs: Sequence[Job]) -> Sequence[Job]:
        """As `update`, of each: thousands may start together."""

    def delete(self, job_id: JobId) -> None:
        """With its material and links."""

    def get(self, job_id: JobId) -> Job | None: ...

    def by_numbers(self, numbers: Collection[int]) -> Sequence[Job]: ...

    def by_info_hash(self, info_hash: str) -> Sequence[Job]:
        """Jobs whose cache key is of this torrent, in number order."""

    def last_of(self, user_id: UserId) -> Job | None:
        """The user's job with the highest number."""

    def of_entry(self, entry_id: EntryId) -> Sequence[Job]:
        """In number order."""

    def unfinished_of(self, entry_id: EntryId) -> Sequence[Job]:
        """Of the entry's jobs those that are queued or active, in number order."""

    def of_entries(self, entry_ids: Collection[EntryId]) -> Mapping[EntryId, Sequence[Job]]: ...

    def unresolved(self, now: datetime, *, limit: int) -> Sequence[Job]:
        """Queued, held or not, without an entry, not waiting for a next try: engine or key are still to be found.
        The first of each user in number order, then the second of each, and so on."""

    def claims(self) -> Sequence[ClaimRow]:
        """Every queued or active job that has an entry, in number order."""

    def count_unfinished(self, user_id: UserId) -> int: ...

    def held_by(self, user_id: UserId) -> Sequence[HeldRow]:
        """In number order."""

    def held_in(self, entry_ids: Collection[EntryId]) -> Sequence[HeldRow]:
        """Of these entries, whoever claims them."""

    def most_held(self, user_id: UserId) -> Bytes:
        """The sum over `held_by` of each job's size, or of what it has done where that is not known. The bytes of jobs
        that share content are counted for each."""

    def record_progress(self, figures: Sequence[tuple[JobId, Bytes, Bytes | None]]) -> None:
        """Bytes done and size of unfinished jobs, many at once. Not a change that watchers resume from: no new `rev`.
        Finished and unknown jobs are passed over."""

    def holds_ending(self, before: datetime) -> Sequence[Job]:
        """Held by their user until a time that has passed."""

    def next_hold_end(self, after: datetime) -> datetime | None:
        """When the next user's hold ends by itself."""

    def page(self, query: Query) -> Page[Job]: ...

    def page_numbers(self, query: Query) -> Page[JobNumber]:
        """As `page`, numbers only."""

    def count_by_state(self, user_id: UserId | None = None) -> Mapping[JobState, int]: ...

    def count_paused(self, user_id: UserId | None = None) -> int:
        """Those of the queued ones that their owner holds."""

    def highest_rev(self) -> int: ...


class CacheRepository(Protocol):
    def insert_entry(self, entry: CacheEntry) -> None:
        """Raises AlreadyExists when a current entry of that key exists and this one is current."""

    def update_entry(self, entry: CacheEntry) -> None: ...

    def delete_entry(self, entry_id: EntryId) -> None:
        """With its files. Its replicas have to be gone."""

    def entry(self, entry_id: EntryId) -> CacheEntry | None: ...

    def entries(self, entry_ids: Collection[EntryId]) -> Mapping[EntryId, CacheEntry]: ...

    def current_entry(self, key: str) -> CacheEntry | None:
        """The generation that an add of this key joins."""

    def generations(self, key: str) -> Sequence[CacheEntry]:
        """All generations of a key, oldest first."""

    def put_files(self, entry_id: EntryId, files: Sequence[EntryFile]) -> None:
        """Inserts or replaces by index; other indices stay."""

    def files(self, entry_id: EntryId) -> Sequence[EntryFile]:
        """In index order."""

    def files_of(self, entry_ids: Collection[EntryId]) -> Mapping[EntryId, Sequence[EntryFile]]: ...

    def insert_replica(self, replica: Replica) -> None: ...

    def insert_replicas(self, replicas: Sequence[Replica]) -> None:
        """As `insert_replica`, of each."""

    def update_replica(self, replica: Replica) -> None:
        """Raises NotFound."""

    def update_replicas(self, replicas: Sequence[Replica]) -> None:
        """As `update_replica`, of each."""

    def delete_replica(self, replica_id: ReplicaId) -> None:
        """With its material."""

    def replica(self, replica_id: ReplicaId) -> Replica | None: ...

    def replicas_with(self, replica_ids: Collection[ReplicaId]) -> Mapping[ReplicaId, Replica]:
        """Those of these replicas that there are."""

    def replicas_of(self, entry_id: EntryId) -> Sequence[Replica]: ...

    def replicas_of_all(self, entry_ids: Collection[EntryId]) -> Mapping[EntryId, Sequence[Replica]]:
        """As `replicas_of`, of each."""

    def replicas_in(self, states: Collection[ReplicaState]) -> Sequence[Replica]: ...

    def replicas_at_work(self) -> Sequence[Replica]:
        """Every replica that is not ready, and the ready ones of entries that an unfinished job claims."""

    def ready_with(self, options: Collection[str]) -> Sequence[Replica]:
        """The ready replicas of entries of which a completed job was given one of these options."""

    def all_replicas(self) -> Sequence[Replica]: ...

    def claimless(self) -> Sequence[CacheEntry]:
        """Entries that no job in any state but cancelled claims, least recently used first."""

    def wishing(self) -> Sequence[CacheEntry]:
        """Pinned entries that are wished to lie on more than one node."""

    def overviews(self, query: Query, *, key: str | None = None) -> Page[EntryOverview]:
        """`jobs` and `users` of `query.user_id` only,
        unless it is None."""

    def touch(self, entry_id: EntryId, at: datetime, *, hit: bool) -> None:
        """Last use, and one more hit."""


class MaterialRepository(Protocol):
    def put_for_job(self, job_id: JobId, material: Material) -> None: ...

    def of_job(self, job_id: JobId) -> Material | None: ...

    def jobs_with(self, job_ids: Collection[JobId]) -> Set[JobId]:
        """Those of these jobs that have some."""

    def put_for_replica(self, replica_id: ReplicaId, material: Material) -> None: ...

    def of_replica(self, replica_id: ReplicaId) -> Material | None: ...

    def drop_of_job(self, job_id: JobId) -> None: ...

    def erase_secrets(self, replica_id: ReplicaId) -> None:
        """Leaves `erased` behind."""


class LinkRepository(Protocol):
    def insert(self, link: Link) -> None: ...

    def get(self, link_id: LinkId) -> Link | None: ...

    def of_job(self, job_id: JobId) -> Sequence[Link]: ...

    def of_user(
        self, user_id: UserId | None, *, now: datetime, offset: int, limit: int, state: LinkState | None = None
    ) -> Page[Link]:
        """A user's links, or everybody's, newest first; with a state those that are in it now."""

    def alive(self, user_id: UserId | None, now: datetime) -> Sequence[LinkId]:
        """A user's links, or everybody's, that neither expired nor were revoked."""

    def revoke(self, link_ids: Collection[LinkId], at: datetime) -> None: ...

    def revoked(self, now: datetime) -> Sequence[tuple[LinkId, datetime]]:
        """Revoked links that have not expired, with their expiry: what the file processes must refuse. A removed
        job's links stay here until they expire."""

    def add_usage(self, usage: Mapping[LinkId, tuple[int, Bytes]], at: datetime) -> None:
        """Adds accesses and bytes; unknown links are passed over."""

    def take_use(self, link_id: LinkId) -> bool:
        """Takes one of the uses that are left; False when there is none, or no limit. Of any number of takers at once
        no more succeed than uses were left."""

    def trim(self, expired_before: datetime) -> int: ...


class Transaction(Protocol):
    """One unit of work. The repositories of a read transaction are the same; writing through them raises."""

    @property
    def jobs(self) -> JobRepository: ...
    @property
    def cache(self) -> CacheRepository: ...
    @property
    def materials(self) -> MaterialRepository: ...
    @property
    def users(self) -> UserRepository: ...
    @property
    def api_keys(self) -> ApiKeyRepository: ...
    @property
    def sessions(self) -> SessionRepository: ...
    @property
    def invitations(self) -> InvitationRepository: ...
    @property
    def links(self) -> LinkRepository: ...
    @property
    def served(self) -> ServedRepository: ...
    @property
    def settings(self) -> SettingRepository: ...
    @property
    def secrets(self) -> SecretRepository: ...
    @property
    def events(self) -> EventRepository: ...
    @property
    def keyed_adds(self) -> KeyedAddRepository: ...
    @property
    def nodes(self) -> NodeRepository: ...
    @property
    def join_tokens(self) -> JoinTokenRepository: ...

    def quarantined(self) -> int:
        """How many damaged rows were put aside since the store was made."""


class Store(Protocol):
    @property
    def access_rev(self) -> int:
        """Grows with every commit of a change to users, API keys or sessions, before its writer is answered."""

    @property
    def content_rev(self) -> int:
        """As `access_rev`, of cache entries, their files and replicas. That one was used again is no such change."""

    async def write(self, work: Callable[[Transaction], T]) -> T:
        """See the module's docstring. Raises what `work` raises, and StoreError."""

    async def read(self, work: Callable[[Transaction], T]) -> T:
        """One consistent view; never waits for writers."""

    async def tidy(self) -> None:
        """Gives room that deleted rows leave in the store's file back to the disk, a little at a time: other works come
        in between."""

    async def keep(self) -> None:
        """Until cancelled, or for as long as there is something to do for it: holds on to the store. A database that
        goes away is waited for. Raises StoreLocked when another daemon has taken the store meanwhile: then this one
        can store nothing any more."""

    async def close(self) -> None:
        """Finishes what is queued."""
