"""What errors say by themselves."""

from __future__ import annotations

from oddaemon.domain.errors import LoginThrottled, TooManyRequests


def test_one_second_is_no_seconds() -> None:
    assert LoginThrottled(retry_after=1).hint == TooManyRequests(retry_after=1).hint == "try again in 1 second"
    assert LoginThrottled(retry_after=30).hint == "try again in 30 seconds"
