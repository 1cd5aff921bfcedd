"""What is said of the time without a connection."""

from __future__ import annotations

from odctl.client.models import Job
from odctl.dashboard.returning import changes, said
from odctl.dashboard.state import Window
from tests.support.jobs import job


def jobs(**revisions: int) -> tuple[Job, ...]:
    return tuple(job(int(name[1:]), name, "active", rev=rev) for name, rev in revisions.items())


def test_what_changed_came_and_went_is_counted_once() -> None:
    before = Window.of(0, jobs(j1=1, j2=2, j3=3))
    assert changes(before, 0, jobs(j1=1, j2=2, j3=3)) == 0
    assert changes(before, 0, jobs(j1=1, j2=9, j4=4)) == 3
    assert changes(before, 50, jobs(j2=9, j4=4)) == 1


def test_it_is_a_sentence() -> None:
    assert [said(count) for count in (0, 1, 3)] == [
        "reconnected, no changes", "reconnected, 1 change", "reconnected, 3 changes",
    ]  # fmt: skip
