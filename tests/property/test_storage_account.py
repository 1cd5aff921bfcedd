"""What is charged for stored content, against a count of single bytes, and who has to wait for room."""

from __future__ import annotations

from uuid import UUID

import hypothesis.strategies as st
from hypothesis import given

from oddaemon.domain.storage_account import Holding, account
from oddaemon.domain.types import Bytes, EntryId, JobId, JobNumber

LIMITS = st.integers(0, 60).map(Bytes)


@st.composite
def some_holdings(draw: st.DrawFn) -> list[Holding]:
    sizes = {entry: draw(st.lists(st.integers(0, 9), min_size=1, max_size=4)) for entry in range(3)}
    found = []
    for number in range(1, draw(st.integers(0, 9)) + 1):
        entry = draw(st.integers(0, 2))
        parts = draw(st.sets(st.integers(0, len(sizes[entry]) - 1)))
        settled, running, grows = draw(st.booleans()), draw(st.booleans()), draw(st.booleans())
        found.append(
            Holding(
                job_id=JobId(UUID(int=number)), number=JobNumber(number), entry_id=EntryId(UUID(int=entry)),
                parts={part: sizes[entry][part] for part in parts}, here=Bytes(draw(st.integers(0, 9))),
                settled=settled, running=running and not settled, grows=grows and not settled,
            )
        )  # fmt: skip
    return found


def taken(holdings: list[Holding]) -> int:
    return sum({(one.entry_id, part): size for one in holdings for part, size in one.parts.items()}.values())


@given(some_holdings())
def test_without_a_limit_each_part_is_charged_once_and_nobody_waits(holdings: list[Holding]) -> None:
    found = account(holdings, Bytes(0))
    assert found.used == taken(holdings)
    assert not found.over


@given(some_holdings(), LIMITS)
def test_what_may_go_on_keeps_to_the_limit(holdings: list[Holding], limit: Bytes) -> None:
    found = account(holdings, limit)
    settled = [one for one in holdings if one.settled]
    going_on = [one for one in holdings if one.job_id not in found.over]
    assert all(one in going_on for one in settled)
    if limit:
        assert taken(going_on) <= max(limit, taken(settled))
    # and what waits cannot go on beside all else
    for one in holdings:
        if one.job_id in found.over:
            here = sum(other.here for other in holdings if other.job_id in found.over)
            assert taken([*going_on, one]) + here >= limit


@given(some_holdings(), LIMITS)
def test_the_order_in_which_the_jobs_are_read_does_not_matter(holdings: list[Holding], limit: Bytes) -> None:
    assert account(holdings, limit) == account(holdings[::-1], limit)


@given(some_holdings(), LIMITS)
def test_who_runs_goes_on_when_somebody_comes_to_wait(holdings: list[Holding], limit: Bytes) -> None:
    """A job that waits never pushes out one that runs."""
    running = [one for one in holdings if one.settled or one.running]
    before, after = account(running, limit), account(holdings, limit)
    assert {one.job_id for one in running if one.job_id in after.over} == set(before.over)


@given(some_holdings(), LIMITS)
def test_the_one_that_is_asked_about_comes_last_even_when_it_is_there(holdings: list[Holding], limit: Bytes) -> None:
    for one in holdings:
        others = [other for other in holdings if other is not one]
        found, without = account(holdings, limit, asked=one.job_id), account(others, limit)
        assert {job for job in found.over if job != one.job_id} == set(without.over)
        fits = not limit or found.used <= limit
        if one.job_id not in found.over and not one.grows and taken([one]) and without.used <= limit:
            assert fits
