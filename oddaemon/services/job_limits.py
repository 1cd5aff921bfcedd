"""What a user may have: whether a job is within it."""

from __future__ import annotations

from oddaemon.domain.admission import Limits, allowance
from oddaemon.domain.errors import LimitExceeded
from oddaemon.domain.job import Job
from oddaemon.ports.store import Transaction
from oddaemon.services.stored import check_room, never_fits


def check_limits(tx: Transaction, job: Job, limits: Limits) -> None:
    """Whether the job's user may have it, as it is stored now. Raises LimitExceeded, which undoes the work."""
    owner = tx.users.get(job.user_id)
    most = allowance(limits, None if owner is None else owner.limits).jobs
    if most and not job.finished and tx.jobs.count_unfinished(job.user_id) > most:
        raise LimitExceeded(
            f"you have {most} unfinished downloads, and that is the limit",
            hint="wait for one to end, or remove one: odctl rm JOB", limit=most,
        )  # fmt: skip
    failure = None if job.finished else never_fits(tx, job, limits)
    if failure is not None:
        raise LimitExceeded(failure.message, hint="choose fewer of its files: --files 1,3-5")
    check_room(tx, job, limits)
