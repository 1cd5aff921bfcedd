"""The lists of the dashboard's other screens, without a screen."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from msgspec.structs import replace

from odctl.client.errors import OdctlError
from odctl.client.models import Hello
from odctl.dashboard import messages as m
from odctl.dashboard.listed import LINES_KEPT, RATES_KEPT
from odctl.dashboard.messages import Query
from odctl.dashboard.state import State, reduce


def entry(number: int) -> dict[str, Any]:
    return {"key": f"key{number}", "generation": 1}


def told(numbers: range, *, total: int = 10_000, query: Query | None = None) -> m.ListTold:
    items = tuple(entry(number) for number in numbers)
    return m.ListTold(list="cache", query=query or Query(), offset=numbers.start, items=items, total=total)


def after(*messages: Any, state: State | None = None) -> State:
    state = state or State()
    for message in messages:
        state = reduce(state, message)
    return state


def status(*nodes: dict[str, Any]) -> m.StatusTold:
    return m.StatusTold(status={"nodes": list(nodes)}, at=1.0)


def test_the_cursor_is_on_the_first_item_and_goes_with_its_item() -> None:
    state = after(told(range(50)))
    assert state.lists["cache"].current == entry(0)
    moved = after(m.ListMoved(list="cache", row=7), state=state)
    items = (entry(99), *(entry(number) for number in range(50)))
    later = after(m.ListTold(list="cache", query=Query(), offset=0, items=items, total=51), state=moved)
    assert (later.lists["cache"].row, later.lists["cache"].current) == (8, entry(7))


def test_where_the_item_left_nothing_is_under_the_cursor() -> None:
    state = after(told(range(50)), m.ListMoved(list="cache", row=7))
    without = tuple(entry(number) for number in range(50) if number != 7)
    gone = after(m.ListTold(list="cache", query=Query(), offset=0, items=without, total=49), state=state)
    assert gone.lists["cache"].current is None
    assert gone.lists["cache"].row == 7
    assert after(m.ListMoved(list="cache", row=8), state=gone).lists["cache"].current == entry(9)


def test_a_window_further_down_does_not_take_the_cursor() -> None:
    state = after(told(range(50)), m.ListMoved(list="cache", row=7), told(range(400, 450)))
    assert state.lists["cache"].current is None
    assert after(told(range(50)), state=state).lists["cache"].current == entry(7)


def test_another_question_begins_at_its_first_row_and_old_answers_do_not_count() -> None:
    other = Query(filter="pinned=true")
    state = after(told(range(50)), m.ListMoved(list="cache", row=7), m.ListAsked(list="cache", query=other))
    assert after(told(range(50)), state=state) is state
    error = OdctlError("no such field")
    refused = after(m.ListRefused(list="cache", query=other, error=error), state=state)
    assert refused.lists["cache"].refused is error
    assert refused.lists["cache"].total == 10_000
    right = after(told(range(3, 5), total=2, query=other), state=refused).lists["cache"]
    assert right.refused is None
    assert right.total == 2


def test_an_empty_list_has_nothing_under_the_cursor() -> None:
    listed = after(told(range(3), total=3), told(range(0), total=0)).lists["cache"]
    assert (listed.total, listed.row, listed.current) == (0, 0, None)


def test_lines_are_followed_until_the_cursor_goes_up() -> None:
    state = after(m.LinesTold(list="log", lines=tuple(range(10))))
    assert state.lists["log"].current.said == 9
    state = after(m.LinesTold(list="log", lines=(10,)), state=state)
    assert state.lists["log"].current.said == 10
    up = after(m.ListMoved(list="log", row=4), m.LinesTold(list="log", lines=(11, 12)), state=state)
    assert up.lists["log"].current.said == 4
    down = after(m.ListMoved(list="log", row=99), m.LinesTold(list="log", lines=(13,)), state=up)
    assert down.lists["log"].current.said == 13


def test_of_what_grows_the_oldest_goes_and_the_cursor_stays_on_its_line() -> None:
    state = after(m.LinesTold(list="events", lines=tuple(range(LINES_KEPT))), m.ListMoved(list="events", row=5))
    state = after(m.LinesTold(list="events", lines=("a", "b")), state=state)
    listed = state.lists["events"]
    assert (listed.total, listed.row, listed.current.said) == (LINES_KEPT, 3, 5)
    gone = after(m.LinesTold(list="events", lines=tuple("abcd")), state=state).lists["events"]
    assert gone.current is None
    anew = after(m.LinesTold(list="events", lines=("x",), anew=True), state=state).lists["events"]
    assert [line.said for line in anew.items] == ["x"]


def test_what_failed_is_kept_also_when_another_daemon_is_there() -> None:
    failed = m.Failed(what="pin", error=OdctlError("no"), at=datetime(2026, 1, 1, tzinfo=UTC))
    hello = Hello(
        server_version="1", api_major=1, api_minor=0, features=(), user="maya", role="admin", auth="peercred", node="n",
        epoch="e", now=None,
    )  # fmt: skip
    here = m.Connected(hello=hello, where="unix:///a", why="flag", at=1.0)
    state = after(here, told(range(3), total=3), failed)
    assert after(here, state=state).lists["cache"].total == 3
    other = after(replace(here, where="unix:///b"), state=state)
    assert other.lists["cache"].total is None
    assert other.lists["failures"].current.said is failed


@pytest.mark.parametrize("state", ["online", "draining"])
def test_the_rates_of_a_node_are_remembered_within_bounds(state: str) -> None:
    told = [status({"id": "nas", "state": state, "rate_down": number}) for number in range(RATES_KEPT + 5)]
    item = after(*told).lists["nodes"].current
    assert len(item.down) == RATES_KEPT
    assert item.down[-1] == RATES_KEPT + 4


def test_of_a_node_that_is_offline_no_rate_is_claimed() -> None:
    online, offline = ({"id": "nas", "state": word, "rate_down": 5} for word in ("online", "offline"))
    item = after(status(online), status(offline)).lists["nodes"].current
    assert item.down == (5,)
    assert item.node["state"] == "offline"
