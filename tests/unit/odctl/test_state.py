"""What the dashboard knows, without Textual: every message of the list of jobs, and the cursor above all."""

from __future__ import annotations

import random

import pytest
from msgspec.structs import replace
from odproto.gen.opendebrid.common import v1 as common

from odctl.client import convert
from odctl.client.errors import ConnectionLost, UsageError
from odctl.client.models import Hello, Job
from odctl.dashboard import messages as m
from odctl.dashboard.messages import Message, Query
from odctl.dashboard.state import HISTORY, Phase, State, reduce

HELLO = Hello(
    server_version="9", api_major=1, api_minor=0, features=(), user="maya", role="user", auth="peercred", node="nas",
    epoch="e", now=None,
)  # fmt: skip


def job(number: int, **fields: object) -> Job:
    return replace(convert.job(common.Job(id=number, size=100, state=common.JobState.ACTIVE)), **fields)


def told(*numbers: int, offset: int = 0, total: int | None = None, query: Query | None = None) -> m.PageTold:
    jobs = tuple(job(number) for number in numbers)
    return m.PageTold(
        query=query or Query(), offset=offset, jobs=jobs, total=len(numbers) if total is None else total, at=1.0
    )


def after(*messages: Message, state: State | None = None) -> State:
    found = state or State()
    for message in messages:
        found = reduce(found, message)
    return found


def test_the_first_page_puts_the_cursor_on_its_first_job() -> None:
    state = after(told(9, 8, 7))
    assert (state.row, state.number, state.total) == (0, 9, 3)


def test_the_cursor_goes_with_its_job() -> None:
    state = after(told(9, 8, 7), m.MovedTo(row=1), told(10, 9, 8, 7))
    assert (state.row, state.number) == (2, 8)


def test_when_its_job_leaves_nothing_is_under_the_cursor_until_it_is_moved() -> None:
    state = after(told(9, 8, 7), m.MovedTo(row=1), told(9, 7))
    assert (state.number, state.job, state.chosen) == (None, None, ())
    state = after(told(9, 7), state=state)
    assert state.number is None
    assert after(m.MovedTo(row=1), state=state).number == 7


def test_what_leaves_while_the_window_moves_is_under_no_cursor_either() -> None:
    state = after(told(*range(30, 20, -1), total=30), m.MovedTo(row=9))
    state = after(told(*range(25, 21, -1), *range(20, 10, -1), offset=5, total=29), state=state)
    assert (state.number, state.chosen) == (None, ())


def test_what_is_not_among_the_known_rows_is_not_met_and_still_under_the_cursor() -> None:
    state = after(told(*range(30, 20, -1), total=30))
    state = after(told(*range(10, 0, -1), offset=20, total=30), state=state)
    assert (state.number, state.job, state.chosen) == (30, None, ())
    assert after(told(*range(30, 20, -1), total=30), state=state).chosen == (30,)


def test_what_was_removed_by_hand_makes_place_for_the_next() -> None:
    state = after(told(9, 8, 7), m.MovedTo(row=1), m.MarkToggled(), m.MovedTo(row=1))
    state = after(m.JobsRemoved(numbers=frozenset({8})), state=state)
    assert (state.row, state.number, state.total, dict(state.marks)) == (1, 7, 2, {})


def test_a_row_that_is_not_known_yet_is_aimed_at() -> None:
    state = after(told(*range(100, 90, -1), total=100), m.MovedTo(row=99))
    assert (state.row, state.number) == (99, None)
    state = after(told(*range(10, 0, -1), offset=90, total=100), state=state)
    assert (state.row, state.number) == (99, 1)


def test_a_page_that_does_not_reach_the_row_leaves_it_aimed_at() -> None:
    state = after(told(*range(100, 90, -1), total=100), m.MovedTo(row=99))
    state = after(told(*range(100, 90, -1), total=100), state=state)
    assert state.number is None
    assert after(told(*range(10, 0, -1), offset=90, total=100), state=state).number == 1


def test_another_question_begins_at_its_first_row_and_hears_no_answer_to_the_last() -> None:
    other = Query(filter="state=failed")
    state = after(told(9, 8, 7), m.MovedTo(row=2), m.Asked(query=other))
    assert (state.row, state.number) == (0, None)
    state = after(told(9, 8, 7), state=state)
    assert state.number is None
    state = after(told(4, 3, query=other), state=state)
    assert (state.number, state.total) == (4, 2)


def test_a_question_that_is_refused_says_so_until_another_one_is_answered() -> None:
    wrong = Query(filter="colour=red")
    error = UsageError("no such field")
    state = after(told(9), m.Asked(query=wrong), m.QueryRefused(query=wrong, error=error))
    assert state.refused is error
    assert [known.id for known in state.window.jobs] == [9]
    assert after(m.QueryRefused(query=Query(), error=error), state=after(told(9))).refused is error
    state = after(m.Asked(query=Query()), told(9), state=state)
    assert (state.refused, state.number) == (None, 9)


def test_marks_are_of_jobs_and_go_one_down() -> None:
    state = after(told(9, 8, 7), m.MarkToggled(), m.MarkToggled())
    assert (set(state.marks), state.row, state.chosen) == ({9, 8}, 2, (9, 8))
    state = after(told(7, 8, 9), m.MovedTo(row=2), m.MarkToggled(), state=state)
    assert set(state.marks) == {8}
    assert after(m.MarksCleared(), state=state).chosen == (9,)


def test_marks_do_not_outlive_their_filter() -> None:
    state = after(told(9, 8), m.MarkToggled())
    assert set(after(m.Asked(query=Query(sort="name")), state=state).marks) == {9}, "the same jobs in another order"
    state = after(m.Asked(query=Query(filter="id=8")), told(8, query=Query(filter="id=8")), state=state)
    assert state.chosen == (8,)


def test_what_was_marked_at_another_daemon_is_none_of_this_ones() -> None:
    here = m.Connected(hello=HELLO, where="unix:///a", why="auto", at=2.0)
    state = after(here, told(9, 8), m.MarkToggled(), replace(here, where="unix:///b"))
    assert (state.chosen, state.total) == ((), None)
    assert after(told(9, 4), state=state).chosen == (9,)
    assert set(after(here, told(9, 8), m.MarkToggled(), here).marks) == {9}, "the same daemon again"


def test_a_range_is_marked_from_the_last_mark_to_the_cursor() -> None:
    state = after(told(9, 8, 7, 6, 5), m.MarkToggled(), m.MovedTo(row=3), m.RangeMarked())
    assert set(state.marks) == {9, 8, 7, 6}
    assert set(after(m.AllMarked(sizes={1: 5}), state=state).marks) == {9, 8, 7, 6, 1}


def test_an_answer_is_shown_at_once_unless_the_list_knows_better() -> None:
    state = after(told(9, 8))
    newer = job(9, name="new", rev=5)
    state = after(m.JobsTold(jobs=(newer,)), state=state)
    assert state.job is newer
    assert after(m.JobsTold(jobs=(job(9, name="old", rev=4),)), state=state).job is newer


def test_what_is_frozen_stays_and_comes_back_to_what_was_told_meanwhile() -> None:
    state = after(told(9, 8), m.FreezeToggled(), told(10, 9, 8))
    assert [known.id for known in state.window.jobs] == [9, 8]
    assert [known.id for known in after(m.FreezeToggled(), state=state).window.jobs] == [10, 9, 8]


def test_a_lost_connection_keeps_what_was_known_and_since_when_it_is_gone() -> None:
    error = ConnectionLost()
    state = after(
        m.Connecting(where="unix:///a", at=1.0), m.Connected(hello=HELLO, where="unix:///a", why="auto", at=2.0),
        told(9), m.Lost(error=error, at=5.0, retry_at=6.0), m.Connecting(where="unix:///a", at=6.0),
        m.Lost(error=error, at=7.0, retry_at=9.0),
    )  # fmt: skip
    connection = state.connection
    assert (connection.phase, connection.since, connection.retry_at) == (Phase.LOST, 5.0, 9.0)
    assert (state.total, connection.hello, connection.heard_at, state.live) == (1, HELLO, 1.0, False)
    state = after(m.Connected(hello=HELLO, where="unix:///a", why="auto", at=10.0), state=state)
    assert (state.live, state.connection.error) == (True, None)


def test_rates_are_remembered_for_a_while() -> None:
    state = State()
    for second in range(HISTORY + 10):
        state = after(m.StatusTold(status={"rates": {"down": second, "up": 1}}, at=float(second)), state=state)
    assert len(state.down) == HISTORY
    assert state.down[-1] == HISTORY + 9


@pytest.mark.parametrize("seed", range(20))
def test_no_key_ever_meets_another_job_than_was_under_the_cursor(seed: int) -> None:
    """Whatever the daemon tells between two moves: under the cursor is what was there, or nothing."""
    chance = random.Random(seed)
    numbers = list(range(1, 40))
    state = after(told(*numbers[:20], total=len(numbers)))
    for _ in range(300):
        if chance.random() < 0.3:
            state = after(m.MovedTo(row=chance.randrange(len(numbers) + 3)), state=state)
        aimed = state.number
        if chance.random() < 0.5:
            chance.shuffle(numbers)
        if chance.random() < 0.3 and len(numbers) > 3:
            numbers.remove(chance.choice(numbers))
        offset = chance.choice([0, 0, 5, 15])
        page = told(*numbers[offset : offset + 20], offset=offset, total=len(numbers))
        state = after(page, state=state)
        if aimed is not None:
            assert state.number in (aimed, None)
            assert state.job is None or state.job.id == aimed
