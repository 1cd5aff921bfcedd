"""What a job waits for is told in the reader's own time, in the list of the dashboard, too."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from msgspec.structs import replace
from odproto.gen.opendebrid.common import v1 as common

from odctl.client import convert
from odctl.client.models import Reason
from odctl.dashboard.columns import note_of
from odctl.reasons import clock, in_local_time


def test_the_dashboard_says_the_readers_time_not_utc() -> None:
    at = datetime.now(UTC) + timedelta(days=2)
    reason = Reason(code="HOST", message=f"host said 429, next try {at:%Y-%m-%d %H:%M} UTC", retry_at=at)
    job = replace(convert.job(common.Job(id=1, state=common.JobState.QUEUED)), reason=reason)
    assert note_of(job) == in_local_time(reason) == f"host said 429, next try {clock(at)}"
    held = replace(reason, message=f"paused until {at:%H:%M:%S} UTC")
    assert in_local_time(held, when=lambda at: "soon") == f"paused until {clock(at)}"
    assert in_local_time(replace(reason, retry_at=None)) == reason.message
