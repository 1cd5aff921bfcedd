from __future__ import annotations

from oddaemon.domain.backoff import RestartBackoff
from oddaemon.domain.types import Seconds


def test_waits_double_up_to_half_a_minute() -> None:
    backoff = RestartBackoff()
    waits = [float(backoff.next_wait(ran_for=Seconds(59))) for _ in range(8)]
    assert waits == [1, 2, 4, 8, 16, 30, 30, 30]


def test_a_minute_of_health_begins_anew() -> None:
    backoff = RestartBackoff()
    for _ in range(5):
        backoff.next_wait(ran_for=Seconds(0))
    assert backoff.next_wait(ran_for=Seconds(60)) == Seconds(1)
    assert backoff.next_wait(ran_for=Seconds(0)) == Seconds(2)
