"""Requests a minute: never more than the limit in any 60 seconds, and no longer refused than need be."""

from __future__ import annotations

import random
from uuid import UUID

import pytest

from oddaemon.domain.errors import TooManyRequests
from oddaemon.domain.types import Seconds, UserId
from oddaemon.domain.user import Principal, Proof, Role
from oddaemon.services.request_rate import RequestLimiter, RequestRate
from oddaemon.testing.fakes import ManualClock

ALICE, BOB = UserId(UUID(int=1)), UserId(UUID(int=2))


def principal(
    user: UserId = ALICE, proof: Proof = Proof.API_KEY, uid: int | None = None, role: Role = Role.ADMIN
) -> Principal:
    return Principal(user_id=user, username="somebody", role=role, proof=proof, uid=uid)


async def test_the_limit_is_told_before_and_when_it_is_reached() -> None:
    clock = ManualClock()
    limiter = RequestLimiter(clock, most=lambda _: 2)
    assert limiter.admit(principal()) == RequestRate(limit=2, remaining=1, reset=Seconds(60))
    await clock.advance(12.5)
    assert limiter.admit(principal()) == RequestRate(limit=2, remaining=0, reset=Seconds(47.5))
    with pytest.raises(TooManyRequests) as refused:
        limiter.admit(principal())
    assert (refused.value.limit, refused.value.retry_after) == (2, 48)
    assert refused.value.details == {"limit": 2, "retry_after": 48}
    limiter.admit(principal(BOB))
    await clock.advance(refused.value.retry_after)
    limiter.admit(principal())


async def test_a_changed_limit_holds_at_once() -> None:
    clock, most = ManualClock(), {ALICE: 5}
    limiter = RequestLimiter(clock, most=lambda user: most[user])
    for _ in range(5):
        limiter.admit(principal())
        await clock.advance(10)
    most[ALICE] = 2
    with pytest.raises(TooManyRequests) as refused:
        limiter.admit(principal())
    assert refused.value.retry_after == 40  # the last but one has to be a minute old
    most[ALICE] = 6
    limiter.admit(principal())
    most[ALICE] = 0
    for _ in range(20):
        assert limiter.admit(principal()) is None


@pytest.mark.parametrize("seed", range(10))
async def test_no_minute_has_more_than_the_limit_and_retry_after_is_the_truth(seed: int) -> None:
    dice, clock = random.Random(seed), ManualClock()
    limit, taken = dice.randint(1, 20), list[float]()
    limiter = RequestLimiter(clock, most=lambda _: limit)
    for _ in range(500):
        await clock.advance(dice.choice((0, 0.1, 1, 7)))
        if limiter.count(ALICE) == limit:
            with pytest.raises(TooManyRequests) as refused:
                limiter.admit(principal())
            assert 1 <= refused.value.retry_after <= 60
            if dice.random() < 0.8:
                continue
            await clock.advance(refused.value.retry_after)
        rate = limiter.admit(principal())
        taken.append(clock.monotonic())
        within = [at for at in taken if clock.monotonic() - at < 59.999]
        assert len(within) <= limit
        assert rate is not None
        assert rate.remaining == limit - len(within)
        assert limiter.count(ALICE) == len(within)


def test_everybody_is_counted_but_the_operator() -> None:
    limiter = RequestLimiter(ManualClock(), most=lambda _: 1, operators=(0, 1000))
    counted = [
        principal(proof=Proof.PEER_UID, uid=1001), principal(proof=Proof.PEER_UID, uid=1001, role=Role.USER),
        principal(), principal(proof=Proof.ACCESS_TOKEN), principal(uid=1000),
    ]  # fmt: skip
    limiter.admit(counted[0])
    for who in counted:
        with pytest.raises(TooManyRequests):
            limiter.admit(who)
    operator = [principal(proof=Proof.PEER_UID, uid=0), principal(proof=Proof.PEER_UID, uid=1000)]
    for who in [*operator, principal(proof=Proof.LOCAL)] * 3:
        assert limiter.admit(who) is None
