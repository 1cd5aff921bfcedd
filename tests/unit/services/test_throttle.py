"""How often a password may be guessed."""

from __future__ import annotations

import pytest

from oddaemon.domain.errors import LoginThrottled
from oddaemon.services.throttle import (
    FORGOTTEN_AFTER,
    FREE,
    MAX_WAIT,
    MOST_KNOWN,
    Counted,
    Throttle,
    keys_of,
    network,
)
from oddaemon.testing.fakes import ManualClock

ANN = (Counted.ACCOUNT, "ann")
HERE = (Counted.ADDRESS, "192.0.2.7")


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def throttle(clock: ManualClock) -> Throttle:
    return Throttle(clock)


def refused(throttle: Throttle, *keys: tuple[Counted, str]) -> int:
    with pytest.raises(LoginThrottled) as caught:
        throttle.begin(*keys)
    assert caught.value.details == {"retry_after": caught.value.retry_after}
    return caught.value.retry_after


async def test_waits_double_up_to_a_minute(throttle: Throttle, clock: ManualClock) -> None:
    for _ in range(FREE[Counted.ACCOUNT]):
        throttle.begin(ANN)
    for wait in (1, 2, 4, 8, 16, 32, 60, 60):
        assert refused(throttle, ANN) == wait
        await clock.advance(wait - 0.5)
        assert refused(throttle, ANN) == 1
        await clock.advance(0.5)
        throttle.begin(ANN)
    throttle.begin((Counted.ACCOUNT, "bob"))


async def test_a_guesser_gets_no_more_than_the_waits_allow_in_a_day(throttle: Throttle, clock: ManualClock) -> None:
    """Whether it waits as told or tries every second, from however many addresses."""
    tries = 0
    for second in range(24 * 3600):
        try:
            throttle.begin(ANN, (Counted.ADDRESS, f"address {second}"))
            tries += 1
        except LoginThrottled:
            pass
        clock._monotonic += 1
    assert tries <= FREE[Counted.ACCOUNT] + 7 + 24 * 3600 / MAX_WAIT


async def test_what_is_refused_is_not_counted(throttle: Throttle, clock: ManualClock) -> None:
    for _ in range(FREE[Counted.ACCOUNT]):
        throttle.begin(ANN, HERE)
    for _ in range(100):
        assert refused(throttle, ANN, HERE) == 1
    # the address was not charged for them
    for _ in range(FREE[Counted.ADDRESS] - FREE[Counted.ACCOUNT]):
        throttle.begin(HERE)
    assert refused(throttle, HERE) == 1


async def test_a_success_forgives_the_account_and_not_the_address(throttle: Throttle, clock: ManualClock) -> None:
    for _ in range(FREE[Counted.ACCOUNT] - 1):
        throttle.begin(ANN, HERE)
    throttle.begin(ANN, HERE)
    throttle.succeeded(ANN, HERE)
    for _ in range(FREE[Counted.ACCOUNT]):
        throttle.begin(ANN)
    for _ in range(FREE[Counted.ADDRESS] - FREE[Counted.ACCOUNT] + 1):
        throttle.begin(HERE)
    assert refused(throttle, HERE)
    # logins that succeed are never too many
    for _ in range(1000):
        throttle.begin((Counted.ACCOUNT, "bob"), (Counted.ADDRESS, "203.0.113.1"))
        throttle.succeeded((Counted.ACCOUNT, "bob"), (Counted.ADDRESS, "203.0.113.1"))


async def test_quiet_is_forgotten(throttle: Throttle, clock: ManualClock) -> None:
    for _ in range(FREE[Counted.ACCOUNT]):
        throttle.begin(ANN)
    await clock.advance(FORGOTTEN_AFTER)
    for _ in range(FREE[Counted.ACCOUNT]):
        throttle.begin(ANN)
    assert refused(throttle, ANN) == 1


async def test_memory_is_bounded(throttle: Throttle) -> None:
    for number in range(MOST_KNOWN * 2):
        throttle.begin((Counted.ACCOUNT, f"user {number}"))
    assert len(throttle._tries) <= MOST_KNOWN


def test_what_a_login_is_counted_by() -> None:
    assert keys_of("ann", "") == (ANN,)
    assert keys_of("ann", "192.0.2.7") == (ANN, HERE)
    assert len(keys_of("x" * 10_000, "y" * 10_000)[0][1]) == 64


@pytest.mark.parametrize(
    ("address", "counted"),
    [
        ("192.0.2.7", "192.0.2.7"), ("::ffff:192.0.2.7", "192.0.2.7"), ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::1", "2001:db8:1:2::/64"), ("fe80::1%eth0", "fe80::/64"), ("nonsense", "nonsense"),
    ],
)  # fmt: skip
def test_an_ipv6_household_is_one_address(address: str, counted: str) -> None:
    assert network(address) == counted
