"""What a watcher tells the daemon that it knows."""

from __future__ import annotations

from odproto.gen.opendebrid.common import v1 as common
from odproto.gen.opendebrid.control import v1 as pb

from odctl.client.pages import Page
from oddaemon.api.control.watch import MAX_KNOWN


def test_no_more_is_said_to_be_known_than_a_daemon_takes() -> None:
    jobs = [
        common.Job(id=number, rev=number + 1, state=common.JobState.COMPLETED) for number in range(1, MAX_KNOWN + 501)
    ]
    page = Page()
    page.apply(pb.WatchResponse(rev=1, snapshot=pb.Snapshot(jobs=jobs, total=len(jobs))))
    settled = page.settled()
    assert len(settled) == MAX_KNOWN
    assert settled == {number: number + 1 for number in range(1, MAX_KNOWN + 1)}
