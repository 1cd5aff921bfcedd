"""What follows a failed attempt (product.md section 5, invariant 10). Pure."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from oddaemon.domain.admission import Limits
from oddaemon.domain.cache import Replica, ReplicaState, moved
from oddaemon.domain.failure import Failure, Reason, ReasonCode, Retry
from oddaemon.domain.types import Bytes, Seconds

SPACE_WAIT = Seconds(30)
"""Between looks at a disk on which a write failed although it reported room (a quota, for example)."""


SET_BACK = timedelta(minutes=1)
"""How far what is stored has to lie ahead of a clock that was read a moment earlier for the clock to be wrong."""


def wait_before(attempt: int, limits: Limits, retry_after: Seconds | None) -> Seconds:
    """How long to wait after the `attempt`th failure, counted from 1. The origin's wish wins when it is longer."""
    grown = limits.retry_wait * 2 ** min(attempt - 1, 30)
    return Seconds(max(min(grown, limits.retry_wait_max), retry_after or 0))


def waits(next_try_at: datetime | None, written_at: datetime, now: datetime) -> bool:
    """Whether the next attempt is still to come. A wait that was written well after now was measured by a clock that
    has been set back since: nobody can tell how much of it is left, and it is over."""
    return next_try_at is not None and now < next_try_at and written_at <= now + SET_BACK


def waiting_reason(failure: Failure, until: datetime) -> Reason:
    return Reason(code=ReasonCode.RETRY, message=f"{failure.message}; next try {until:%H:%M:%S} UTC", retry_at=until)


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """The replica after the failure. `final`: its claimants fail with it. `held`: they are held for want of space."""

    replica: Replica
    final: bool = False
    held: bool = False


def after_failure(replica: Replica, failure: Failure, *, done: Bytes, limits: Limits, at: datetime) -> Verdict:
    """What becomes of a replica whose attempt ended in `failure` with `done` bytes there.

    Progress is what exceeds the most bytes ever seen, so an origin that starts from zero each time cannot be retried
    for ever.
    """
    progressed = done > replica.done
    attempts = (0 if progressed else replica.attempts) + 1
    replica = replace(replica, done=max(done, replica.done), progress_at=at if progressed else replica.progress_at)
    if failure.retry is Retry.WAIT_FOR_SPACE:
        until = at + timedelta(seconds=SPACE_WAIT)
        reason = Reason(code=ReasonCode.NO_SPACE, message=failure.message, retry_at=until)
        waiting = moved(replica, ReplicaState.WAITING, at=at, reason=reason)
        return Verdict(replica=replace(waiting, next_try_at=until), held=True)
    if failure.retry is Retry.LASTING or attempts > limits.retries:
        failed = moved(replica, ReplicaState.FAILED, at=at)
        return Verdict(replica=replace(failed, attempts=attempts, error=failure, next_try_at=None), final=True)
    until = at + timedelta(seconds=wait_before(attempts, limits, failure.retry_after))
    waiting = moved(replica, ReplicaState.WAITING, at=at, reason=waiting_reason(failure, until))
    return Verdict(
        replica=replace(
            waiting,
            attempts=attempts,
            next_try_at=until,
            error=failure,
            afresh=replica.afresh or failure.retry is Retry.AFRESH,
        )
    )
