"""What those who claim a replica want of it together, and what its node is told of that."""

from __future__ import annotations

from collections.abc import Iterable, Sequence, Set

from oddaemon.domain.cache import CacheEntry, EntryFile, Replica
from oddaemon.domain.job import Hold, Job, JobState
from oddaemon.domain.selection import ALL
from oddaemon.domain.source import Source, SourceKind, parse_source, with_trackers
from oddaemon.domain.types import BytesPerSecond
from oddaemon.ports.node_client import Dispatch
from oddaemon.ports.store import Material, Transaction
from oddaemon.services.claims import wanted_by, wants_check
from oddaemon.services.materials import engine_options, with_credentials

TRACKERS = "trackers"
"""The option of aria2 that names further ones."""
MAX_NUMBERS = 100_000
"""More files than this no range of a selection names."""


def unfinished(jobs: Iterable[Job]) -> list[Job]:
    return [job for job in jobs if not job.finished]


def wanting(jobs: Iterable[Job]) -> list[Job]:
    """The claimants whose files a replica has to hold: those that are finished with it have theirs already."""
    return [job for job in jobs if job.state not in {JobState.FAILED, JobState.CANCELLED}]


def union_selection(
    jobs: Sequence[Job], files: Sequence[EntryFile], *, files_known: bool, can_select: bool
) -> Set[int] | None:
    """The files that a replica is to fill: what its queued and active claimants want. None: all of them.

    While the files are unknown, names cannot be told apart yet. An engine that can change a selection is then asked,
    by an empty set, to find out what there is and to wait; another one gets the numbers, if there are only numbers.
    """
    if files_known:
        wanted = frozenset[int]().union(*(wanted_by(job, files) for job in jobs))
        return None if len(wanted) == len(files) else wanted
    if any(job.selection == ALL for job in jobs):
        return None
    if can_select:
        return frozenset()
    numbers = [numbers_of(job.selection) for job in jobs]
    return None if None in numbers else frozenset[int]().union(*(found for found in numbers if found is not None))


def numbers_of(spec: str) -> frozenset[int] | None:
    """The indices that a selection names by number alone; None if it names anything else."""
    found: set[int] = set()
    for part in spec.split(","):
        first, dash, last = part.partition("-")
        if not (first.isdecimal() and (last.isdecimal() if dash else True)):
            return None
        found |= set(range(int(first), min(int(last or first), int(first) + MAX_NUMBERS) + 1))
    return frozenset(found)


def loosest(limits: Iterable[BytesPerSecond | None]) -> BytesPerSecond | None:
    """The loosest of the claimants' speed limits; None, no limit, is looser than any."""
    found = list(limits)
    return None if not found or None in found else max(limit for limit in found if limit is not None)


Rates = tuple[BytesPerSecond | None, BytesPerSecond | None]
"""Down, up."""


def rates_of(jobs: Sequence[Job]) -> Rates:
    """Of those that are not paused; of all when every one is."""
    jobs = [job for job in jobs if job.hold is not Hold.USER] or jobs
    return loosest(job.max_rate_down for job in jobs), loosest(job.max_rate_up for job in jobs)


def source_for(entry: CacheEntry, jobs: Sequence[Job]) -> Source:
    """The first claimant's source; a public torrent is looked for at the trackers of all of them."""
    source = parse_source(jobs[0].source)
    if source.kind is SourceKind.URL or entry.owner is not None:
        return source
    named = [parse_source(job.source).trackers + tuple(job.options.get(TRACKERS, "").split(",")) for job in jobs]
    return with_trackers(source, (tracker for some in named for tracker in some))


def order_for(
    tx: Transaction, replica: Replica, entry: CacheEntry, jobs: Sequence[Job], material: Material | None, *,
    can_select: bool, claims: Sequence[Job] | None = None,
) -> Dispatch:  # fmt: skip
    """What the replica's node is told to do for these jobs, the first of which names the source and the options.
    `claims` are all jobs of the entry, if they are at hand."""
    source = with_credentials(source_for(entry, jobs), material)
    files = tx.cache.files(entry.id) if entry.files_known else ()
    selection = union_selection(
        wanting(tx.jobs.of_entry(entry.id) if claims is None else claims),
        files,
        files_known=entry.files_known,
        can_select=can_select,
    )
    return Dispatch(
        replica_id=replica.id,
        engine=replica.engine,
        source=source,
        options=engine_options(jobs[0].options, material),
        torrent=material.torrent if material is not None else None,
        selection=selection,
        # an engine that nobody named was chosen because the origin sent a file
        may_be_page=any(job.engine_wish is not None for job in jobs),
        max_rate_down=rates_of(jobs)[0],
        max_rate_up=rates_of(jobs)[1],
        handle=replica.handle,
        afresh=replica.afresh,
        keep=frozenset(file.disk_path for file in files if file.ready),
        # once: what is broken off later goes on from where it was
        recheck=replica.handle is None and any(wants_check(job) for job in jobs),
    )
