"""What people read: small functions that need no command."""

from __future__ import annotations

from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any, cast

import pytest

from odctl.cli.commands import apikey, users, version
from odctl.cli.commands.cache import _count
from odctl.cli.show import JOB_COLUMNS, with_owners
from odctl.client.errors import Unreachable, UsageError
from odctl.client.models import Job, User, UserLimits


def titles(*owners: str, me: str = "") -> list[str]:
    jobs = [cast(Job, SimpleNamespace(user=owner)) for owner in owners]
    return [column.title for column in with_owners(JOB_COLUMNS, jobs, me) if not column.wide]


def test_whose_a_job_is_stands_where_it_is_not_plain() -> None:
    assert "USER" in titles("maya", "zoe")
    assert "USER" in titles("maya", "maya", me="admin")
    assert "USER" not in titles("maya", "maya", me="maya")
    assert "USER" not in titles("maya", "maya")
    assert "USER" not in titles(me="maya")


@pytest.mark.parametrize(
    ("limits", "told"),
    [
        ({}, "as the settings say"),
        ({"running": 2, "served_per_day": 0}, "running 2, served a day no limit; the others as the settings say"),
        (
            {"running": 1, "jobs": 2, "storage": 1 << 30, "served_per_day": 0, "requests_per_minute": 0},
            "running 1, jobs 2, stored 1.0 GiB, served a day no limit, requests a minute no limit",
        ),
    ],
)
def test_limits_of_one_s_own_are_named_and_no_others(limits: dict[str, Any], told: str) -> None:
    own = UserLimits(**(dict.fromkeys(UserLimits.__struct_fields__) | limits))
    assert users._limits(cast(User, SimpleNamespace(limits=own))) == told


def test_an_expiry_is_a_time_to_come() -> None:
    assert apikey._moment("2999-01-31") > datetime.now(UTC)
    with pytest.raises(UsageError, match="neither a duration nor a date"):
        apikey._moment("yesterday")
    with pytest.raises(UsageError, match="over already"):
        apikey._moment("2001-01-31")


def test_one_is_no_plural() -> None:
    assert (_count(0), _count(1), _count(2)) == ("0 entries", "1 entry", "2 entries")


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (Unreachable("none runs", absent=True), "not reachable"),
        (Unreachable("not allowed to use the socket"), "not allowed to use the socket"),
    ],
)
def test_a_daemon_that_one_may_not_use_is_there(
    monkeypatch: pytest.MonkeyPatch, error: Unreachable, told: str
) -> None:
    def call(work: object) -> None:
        raise error

    said: list[str] = []
    run = SimpleNamespace(call=call, output=SimpleNamespace(structured=False, line=said.append))
    monkeypatch.setattr(version, "invocation", lambda ctx: run)
    version.version(cast(Any, None))
    assert said[-1] == f"oddaemon  {told}"
