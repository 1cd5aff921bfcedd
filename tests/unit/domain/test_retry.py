"""What follows a failed attempt: waits, ends and holds (product.md section 5, invariant 10)."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest

from oddaemon.domain.admission import Limits
from oddaemon.domain.cache import Replica, ReplicaState
from oddaemon.domain.failure import Failure, FailureCode, Retry
from oddaemon.domain.retry import after_failure, wait_before, waits
from oddaemon.domain.types import Bytes, EngineName, EntryId, NodeId, ReplicaId, Seconds

AT = datetime(2026, 1, 1, tzinfo=UTC)
LIMITS = Limits(retries=3, retry_wait=Seconds(5), retry_wait_max=Seconds(60))
REPLICA = Replica(
    id=ReplicaId(UUID(int=1)),
    entry_id=EntryId(UUID(int=2)),
    node_id=NodeId("here"),
    engine=EngineName("aria2"),
    created_at=AT,
    updated_at=AT,
    state=ReplicaState.FILLING,
    done=Bytes(100),
)


def failure(retry: Retry = Retry.PASSING, after: float | None = None) -> Failure:
    return Failure(
        code=FailureCode.NETWORK, message="reset", retry=retry, retry_after=None if after is None else Seconds(after)
    )


def test_waits_double_up_to_the_longest_and_heed_the_origin() -> None:
    waits = [float(wait_before(attempt, LIMITS, None)) for attempt in range(1, 7)]
    assert waits == [5.0, 10.0, 20.0, 40.0, 60.0, 60.0]
    assert float(wait_before(1, LIMITS, Seconds(120))) == 120.0


def test_a_passing_failure_ends_after_so_many_attempts_without_a_byte() -> None:
    replica, ends = REPLICA, []
    for _ in range(4):
        verdict = after_failure(replica, failure(), done=Bytes(100), limits=LIMITS, at=AT)
        ends.append(verdict.final)
        replica = replace(verdict.replica, state=ReplicaState.FILLING)
    assert ends == [False, False, False, True]


def test_progress_starts_the_count_anew_and_only_beyond_the_most_ever_seen() -> None:
    tried = replace(REPLICA, attempts=3)
    assert after_failure(tried, failure(), done=Bytes(101), limits=LIMITS, at=AT).replica.attempts == 1
    assert after_failure(tried, failure(), done=Bytes(100), limits=LIMITS, at=AT).final


def test_a_lasting_failure_ends_at_once_and_a_full_disk_never_does() -> None:
    assert after_failure(REPLICA, failure(Retry.LASTING), done=Bytes(0), limits=LIMITS, at=AT).final
    full = after_failure(
        replace(REPLICA, attempts=99), failure(Retry.WAIT_FOR_SPACE), done=Bytes(0), limits=LIMITS, at=AT
    )
    assert (full.held, full.final, full.replica.attempts) == (True, False, 99)


def test_bytes_of_another_version_are_thrown_away_at_the_next_start() -> None:
    assert after_failure(REPLICA, failure(Retry.AFRESH), done=Bytes(0), limits=LIMITS, at=AT).replica.afresh


def test_a_machine_that_was_off_for_weeks_does_not_end_a_retry() -> None:
    later = AT + timedelta(days=30)
    assert not after_failure(REPLICA, failure(), done=Bytes(100), limits=LIMITS, at=later).final


@pytest.mark.parametrize(
    ("written", "until", "still"),
    [
        (0, 10, True),
        (0, 0, False),
        (0, None, False),
        (-100, 10, True),
        # written by somebody who looked at the clock a moment later than we did
        (5, 10, True),
        # the clock was set back since
        (3600, 3610, False),
    ],
)
def test_a_wait_lasts_until_its_end_or_until_the_clock_is_set_back(
    written: int, until: int | None, still: bool
) -> None:
    def at(seconds: int) -> datetime:
        return AT + timedelta(seconds=seconds)

    assert waits(None if until is None else at(until), at(written), AT) is still
