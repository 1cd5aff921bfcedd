"""Tables on terminals of every width, and in files."""

from __future__ import annotations

import io
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import cast

import pytest

from odctl.cli import output as tables
from odctl.cli import show as view
from odctl.cli.output import Column, Output
from odctl.client.models import Job, Reason
from odctl.reasons import clock

COLUMNS = (
    Column(title="ID", show=lambda r: r["id"], right=True),
    Column(title="SIZE", show=lambda r: "123.4 MiB", right=True),
    Column(title="ETA", show=lambda r: "2h05m"),
    Column(title="NODE", show=lambda r: "a-node-with-a-name", wide=True),
    Column(title="NAME", show=lambda r: r["name"], flexible=True),
    Column(title="WHY", show=lambda r: r["why"], flexible=True),
)
ROWS = [
    {"id": 1, "name": "n" * 225, "why": "waits for the origin"},
    {"id": 20_000, "name": "short", "why": ""},
    {"id": 3, "name": "名前" * 40, "why": "y" * 100},
]


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def told(
    monkeypatch: pytest.MonkeyPatch, columns: int, form: str = "table", *, fields: tuple[str, ...] = (),
    out: io.StringIO | None = None,
) -> list[str]:  # fmt: skip
    size = SimpleNamespace(columns=columns, lines=24)
    monkeypatch.setattr("odctl.cli.output.shutil.get_terminal_size", lambda *_, **__: size)
    out = out or Terminal()
    Output(format=form, fields=fields, out=out, err=io.StringIO()).records(ROWS, COLUMNS)
    return out.getvalue().splitlines()


@pytest.mark.parametrize("form", ["table", "wide"])
@pytest.mark.parametrize("columns", [20, 30, 40, 60, 80, 120])
def test_no_row_is_wider_than_the_terminal(monkeypatch: pytest.MonkeyPatch, columns: int, form: str) -> None:
    lines = told(monkeypatch, columns, form)
    assert max(map(tables.width, lines)) <= columns
    assert lines[0].split()[0] == "ID"
    assert "NAME" in lines[0]


def test_what_makes_a_list_wide_goes_first_and_leaves_its_room_to_the_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    assert told(monkeypatch, 60, "wide")[0].split() == ["ID", "SIZE", "ETA", "NAME", "WHY"]
    assert told(monkeypatch, 36)[0].split() == ["ID", "SIZE", "NAME", "WHY"]
    assert tables.width(told(monkeypatch, 36)[1]) > 30


def test_fields_that_were_asked_for_are_shortened_and_all_there(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = told(monkeypatch, 30, fields=("name", "why", "id"))
    assert lines[0].split() == ["NAME", "WHY", "ID"]
    assert max(map(tables.width, lines)) <= 30


@pytest.mark.parametrize("form", ["table", "plain"])
def test_one_long_name_does_not_make_the_rows_of_a_file_long(monkeypatch: pytest.MonkeyPatch, form: str) -> None:
    lines = told(monkeypatch, 80, form, out=io.StringIO())
    short = next(line for line in lines if "short" in line)
    assert len(short) < 60
    assert lines[1].endswith(f"  {'n' * 225}  waits for the origin")
    # what stands before it can be cut out
    assert {line[5:7] for line in lines} == {"  "}
    assert [line[:5].strip() for line in lines] == ["ID", "1", "20000", "3"]


def test_a_wait_is_told_in_time_to_come() -> None:
    at = datetime.now(UTC) + timedelta(seconds=100)
    reason = Reason(code="RETRY", message=f"HTTP 500; next try {at:%H:%M:%S} UTC", retry_at=at)
    job = cast(Job, SimpleNamespace(error=None, state="queued", reason=reason, shown_state="queued"))
    (column,) = [column for column in view.JOB_COLUMNS if column.field == "reason"]
    assert str(column.show(job)).startswith("HTTP 500; next try in 1m")
    (watched,) = [column for column in view.redrawn(view.JOB_COLUMNS) if column.field == "reason"]
    assert watched.show(job) == f"HTTP 500; next try {clock(at)}"
    paused = Reason(code="PAUSED_UNTIL", message=f"paused until {at:%Y-%m-%d %H:%M} UTC", retry_at=at)
    job = cast(Job, SimpleNamespace(error=None, state="queued", reason=paused, shown_state="paused"))
    assert column.show(job) == f"paused until {clock(at)}"
    past = Reason(code="RETRY", message="x; next try 01:02:03 UTC", retry_at=at - timedelta(seconds=200))
    job = cast(Job, SimpleNamespace(error=None, state="queued", reason=past, shown_state="queued"))
    assert column.show(job) == "x; next try now"
