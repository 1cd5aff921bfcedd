"""What people call jobs: numbers, ranges, UUIDs, info-hashes, `@last`. Nobody comes by another's job."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from oddaemon.domain.errors import InvalidArgument, NotFound, OpenDebridError
from oddaemon.domain.job import Job
from oddaemon.domain.types import JobId
from oddaemon.domain.user import Principal
from oddaemon.ports.store import Transaction

MAX_NAMED = 10_000
"""In one call."""
_NUMBER = re.compile(r"\d{1,18}", re.ASCII)
_RANGE = re.compile(r"(\d{1,18})-(\d{1,18})", re.ASCII)
_HASH = re.compile(r"[0-9a-fA-F]{40}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    jobs: Sequence[Job] = ()
    errors: Sequence[tuple[str, OpenDebridError]] = ()


def visible(who: Principal, job: Job) -> bool:
    return who.is_admin or job.user_id == who.user_id


def own(tx: Transaction, who: Principal, job_id: JobId) -> Job:
    """The job, if it is the caller's or the caller is an admin. A stranger's job looks like none."""
    job = tx.jobs.get(job_id)
    if job is None or not visible(who, job):
        raise NotFound("no such job", hint="odctl ls shows your jobs")
    return job


def find(tx: Transaction, who: Principal, text: str) -> Found:
    """The caller's jobs that `text` names, and an error for each part that names none. A stranger's job looks exactly
    like one that does not exist."""
    check_bounds([text])
    jobs: dict[JobId, Job] = {}
    errors: list[tuple[str, OpenDebridError]] = []
    for part in [piece.strip() for piece in text.split(",")]:
        try:
            found = [job for job in _of_part(tx, who, part) if visible(who, job)]
        except OpenDebridError as error:
            errors.append((part, error))
            continue
        if found:
            jobs |= {job.id: job for job in found}
        else:
            errors.append((part, NotFound(f"there is no job {part[:80]!r}", hint="odctl ls shows your jobs")))
    return Found(jobs=list(jobs.values()), errors=errors)


def check_bounds(texts: Sequence[str]) -> None:
    """Raises InvalidArgument when one call names so many jobs, here or not, that looking for them keeps others from
    reading."""
    count = 0
    for text in texts:
        for part in text.split(","):
            match = _RANGE.fullmatch(part.strip())
            count += 1 if match is None else max(1, int(match[2]) - int(match[1]) + 1)
            if count > MAX_NAMED:
                raise InvalidArgument(
                    f"more than {MAX_NAMED} jobs are named", field="id", hint="use a filter, or send them in parts"
                )


def named(tx: Transaction, who: Principal, text: str) -> Job:
    """The one job that an id names. Raises NotFound, or InvalidArgument when it names several."""
    found = find(tx, who, text)
    if found.errors:
        error = found.errors[0][1]
        if isinstance(error, InvalidArgument):
            error.hint = "give a number, a UUID, a hash or @last"
        raise error
    if len(found.jobs) != 1:
        raise InvalidArgument(f"{text!r} names {len(found.jobs)} jobs; one is needed", field="id")
    return found.jobs[0]


def _of_part(tx: Transaction, who: Principal, part: str) -> Sequence[Job]:
    if part == "@last":
        last = tx.jobs.last_of(who.user_id)
        return [] if last is None else [last]
    if _NUMBER.fullmatch(part):
        return tx.jobs.by_numbers([int(part)])
    if match := _RANGE.fullmatch(part):
        first, last_number = int(match[1]), int(match[2])
        if first > last_number:
            raise InvalidArgument(f"{part!r} is not a range of jobs", field="id", hint="write 128-131")
        return tx.jobs.by_numbers(range(first, last_number + 1))
    if _HASH.fullmatch(part):
        return tx.jobs.by_info_hash(part.lower())
    try:
        job = tx.jobs.get(JobId(UUID(part)))
    except ValueError as error:
        raise InvalidArgument(
            f"{part[:80]!r} is not a job", field="id", hint="give a number, a range 128-131, a UUID, a hash or @last"
        ) from error
    return [] if job is None else [job]
