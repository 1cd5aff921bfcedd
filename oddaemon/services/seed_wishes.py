"""Which jobs ask for what they have to be uploaded: told by their options."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from oddaemon.domain.job import Job, JobState
from oddaemon.domain.source import SourceKind
from oddaemon.domain.types import EntryId

SEED_RATIO, SEED_TIME = "seed-ratio", "seed-time"
SEED_OPTIONS = frozenset({SEED_RATIO, SEED_TIME})
SEEDING = "seeding"
"""What engines call it, as their own state of a replica."""


def seeders(jobs: Iterable[Job]) -> list[Job]:
    """Those of a torrent that have their files and ask for them to be uploaded."""
    return [
        job
        for job in jobs
        if job.state is JobState.COMPLETED and job.kind is not SourceKind.URL and wish_of(job.options)
    ]


def rival(jobs: Iterable[Job], entry_id: EntryId) -> bool:
    """Whether one of these jobs of the same torrent downloads another copy: an engine works on each torrent only once
    at a time, and seeding gives way."""
    return any(job.state is JobState.ACTIVE and job.entry_id != entry_id for job in jobs)


def wish_of(options: Mapping[str, str]) -> Mapping[str, str]:
    return {name: value for name, value in options.items() if name in SEED_OPTIONS}


def without_seeding(job: Job) -> Job:
    return replace(job, options={name: value for name, value in job.options.items() if name not in SEED_OPTIONS})
