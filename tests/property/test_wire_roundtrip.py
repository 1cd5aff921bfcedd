"""Jobs on the wire: nothing that could move a cursor leaves, patches lead from one message to the next, and the
domain, the protocol and the command line speak of the same fields."""

from __future__ import annotations

import copy
import json
import math
import unicodedata
from collections.abc import Iterator
from dataclasses import fields
from datetime import UTC, datetime, timedelta, timezone
from typing import Any
from uuid import UUID

import betterproto2
import pytest
from hypothesis import given
from hypothesis import strategies as st
from odproto.gen.opendebrid.common import v1 as common
from odproto.gen.opendebrid.control import v1 as control

from odctl.client import convert, models
from oddaemon.api.rest import jobs
from oddaemon.domain.cache import EntryFile
from oddaemon.domain.errors import InvalidArgument
from oddaemon.domain.events import JobFailed
from oddaemon.domain.failure import Failure, FailureCode, Reason, ReasonCode, Retry
from oddaemon.domain.job import Hold, Job, JobState
from oddaemon.domain.source import SourceKind
from oddaemon.domain.types import (
    Bytes,
    BytesPerSecond,
    EngineName,
    EntryId,
    JobId,
    JobNumber,
    NodeId,
    Seconds,
    UserId,
)
from oddaemon.ports.engine import Peer
from oddaemon.services.views import FileView, JobView, Live
from oddaemon.wire import messages as wire
from oddaemon.wire.decode import decoded

BIDI = set("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
NASTY = st.sampled_from(["\x1b[2J", "\x00", "\r", "\n", "\x7f", "\x9b", "\u2028", "\ud800", *sorted(BIDI)])
TEXT = st.lists(st.one_of(st.text(max_size=8), NASTY), max_size=4).map("".join)
MAYBE = st.one_of(st.none(), TEXT)
WHOLE = st.integers(0, 2**63 - 1)
SMALL = st.integers(0, 2**32 - 1)
FIGURE = st.one_of(st.integers(-(2**70), 2**70), st.integers(0, 10**9))
TIMES = st.datetimes(
    min_value=datetime(1980, 1, 1), max_value=datetime(2200, 1, 1),
    timezones=st.sampled_from([UTC, timezone(timedelta(hours=5, minutes=30))]),
)  # fmt: skip
REASONS = st.builds(Reason, code=st.sampled_from(ReasonCode), message=TEXT, retry_at=st.one_of(st.none(), TIMES))
FAILURES = st.builds(
    Failure, code=st.sampled_from(FailureCode), message=TEXT, hint=TEXT, retry=st.sampled_from(Retry)
)  # fmt: skip


def maybe(strategy: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.one_of(st.none(), strategy)


JOBS = st.builds(
    Job, id=st.uuids().map(JobId), number=st.integers(1, 50).map(JobNumber), user_id=st.uuids().map(UserId),
    source=TEXT, kind=st.sampled_from(SourceKind), created_at=TIMES, updated_at=TIMES,
    state=st.sampled_from(JobState), hold=st.sampled_from(Hold), hold_until=maybe(TIMES), reason=maybe(REASONS),
    name=MAYBE, engine=MAYBE, engine_state=MAYBE, node_id=MAYBE, cache_key=MAYBE, cache_hit=st.booleans(),
    selection=TEXT, priority=st.integers(-(2**31), 2**31 - 1), tags=st.lists(TEXT, max_size=3).map(tuple),
    max_rate_down=maybe(WHOLE), max_rate_up=maybe(WHOLE), size=maybe(WHOLE), done=WHOLE, files_total=SMALL,
    files_selected=SMALL, error=maybe(FAILURES), attempts=SMALL, started_at=maybe(TIMES), completed_at=maybe(TIMES),
    rev=WHOLE, node_labels=st.dictionaries(TEXT, TEXT, max_size=3),
)  # fmt: skip
LIVE = st.builds(
    Live, done=FIGURE, rate_down=FIGURE, rate_up=FIGURE, eta=maybe(st.floats()), seeders=maybe(FIGURE),
    peers=maybe(FIGURE),
)  # fmt: skip
VIEWS = st.builds(
    JobView, job=JOBS, user=TEXT, source=TEXT, options=st.dictionaries(TEXT, TEXT, max_size=3), live=LIVE,
    progress=st.floats(0, 1), position=maybe(SMALL), placement=TEXT, files_failed=SMALL,
)  # fmt: skip


def texts(value: object) -> Iterator[str]:
    """Every text in a message, however deep."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, betterproto2.Message):
        for name in vars(value):
            yield from texts(getattr(value, name))
    elif isinstance(value, dict):
        yield from texts([*value.keys(), *value.values()])
    elif isinstance(value, list):
        for item in value:
            yield from texts(item)


def moves_a_cursor(text: str) -> bool:
    return any(unicodedata.category(char) in ("Cc", "Cs", "Zl", "Zp") or char in BIDI for char in text)


@given(VIEWS)
def test_no_control_character_leaves_and_everything_can_be_encoded(view: JobView) -> None:
    message = wire.job_message(view)
    assert not [text for text in texts(message) if moves_a_cursor(text)]
    assert decoded(bytes(message), common.Job) == message


@given(VIEWS)
def test_odctl_reads_what_the_daemon_says(view: JobView) -> None:
    message = common.Job.parse(bytes(wire.job_message(view)))
    told = convert.job(message)
    job = view.job
    assert (told.id, told.uuid, told.state, told.rev) == (job.number, str(job.id), str(job.state), job.rev)
    assert told.hold == str(job.hold)
    assert told.size == job.size
    assert (told.reason is None, told.error is None) == (job.reason is None, job.error is None)
    assert (told.created_at, told.completed_at) == (job.created_at, job.completed_at)
    json.dumps(models.jsonable(told), allow_nan=False)
    extra = convert.extra(message)
    assert (extra.hold_until, extra.max_rate_down, extra.attempts) == (job.hold_until, job.max_rate_down, job.attempts)


@given(VIEWS, VIEWS)
def test_a_patch_leads_from_one_message_to_the_next(before: JobView, after: JobView) -> None:
    old, new = wire.job_message(before), wire.job_message(after)
    patch = wire.job_patch(old, new)
    assert wire.job_patch(old, copy.deepcopy(old)) is None
    if patch is None:
        assert old == new
        return
    held = common.Job.parse(bytes(old))
    arrived = control.JobPatch.parse(bytes(patch))
    assert arrived.job is not None
    for name in arrived.fields:
        setattr(held, name, getattr(arrived.job, name))
    held.id = arrived.id
    assert held == new


@given(VIEWS)
def test_a_patch_against_nothing_is_the_whole_job(view: JobView) -> None:
    """How a job that comes onto the page is told."""
    message = wire.job_message(view)
    patch = wire.job_patch(common.Job(), message)
    assert patch is not None
    assert patch.job == message
    assert patch.id == message.id


def test_a_patch_names_what_became_empty() -> None:
    full = common.Job(
        id=1, name="x", tags=["a"], options={"a": "b"}, size=5, seeders=0, eta_s=0.0, cache_hit=True,
        reason=common.Reason(code="queued"), error=common.JobError(code="ENGINE"), priority=-1,
        hold_until=datetime(2026, 1, 1, tzinfo=UTC), position=1, progress=0.5,
    )  # fmt: skip
    patch = wire.job_patch(full, common.Job(id=1))
    assert patch is not None
    assert set(patch.fields) == {
        "name", "tags", "options", "size", "seeders", "eta_s", "cache_hit", "reason", "error", "priority", "hold_until",
        "position", "progress",
    }  # fmt: skip
    known_zero = wire.job_patch(common.Job(id=1), common.Job(id=1, seeders=0))
    assert known_zero is not None
    arrived = control.JobPatch.parse(bytes(known_zero)).job
    assert arrived is not None
    assert arrived.seeders == 0


@given(st.one_of(st.binary(max_size=200), VIEWS.map(lambda view: bytes(wire.job_message(view))[:-1])))
def test_bytes_become_a_message_or_one_error(data: bytes) -> None:
    kinds: list[type[betterproto2.Message]] = [
        control.AddJobsRequest, control.WatchRequest, control.EventsRequest, control.SetJobsRequest, common.Job
    ]  # fmt: skip
    for kind in kinds:
        try:
            message = decoded(data, kind)
        except InvalidArgument:
            continue
        bytes(message)


@given(st.text(min_size=1, max_size=300), st.binary(min_size=1, max_size=300), st.data())
def test_half_a_request_is_not_taken_for_a_whole_one(source: str, torrent: bytes, data: st.DataObject) -> None:
    """What a parser that does not check makes of a URL cut short is another URL."""
    item = control.AddItem(source=source, torrent=torrent, options={"a": source}, max_rate_down=2**40)
    whole = bytes(control.AddJobsRequest(items=[item]))
    assert decoded(whole, control.AddJobsRequest).items == [item]
    for kind, message in ((control.AddJobsRequest, whole), (control.AddItem, bytes(control.AddItem(source=source)))):
        cut = data.draw(st.integers(1, len(message) - 1))
        with pytest.raises(InvalidArgument):
            decoded(message[:cut], kind)


@pytest.mark.parametrize(
    ("data", "named"),
    [
        (b"\x08\x05", True),  # source as a number
        (b"\x09" + bytes(8), True),
        (b"\x0d" + bytes(4), True),
        (b"\x2a\x08" + bytes(8), True),  # timeout_s as text
        (b"\x0b\x0c", False),  # a group
        (b"\x02\x00", False),  # field 0
        (b"\x0a" + b"\xff" * 10 + b"\x01", False),  # a length without an end
        (b"\x0a\x05abc", False),
        (b"\xaa\x06\x05abc", False),  # an unknown field, cut short
    ],
)
def test_what_is_on_the_wire_is_what_is_declared(data: bytes, named: bool) -> None:
    with pytest.raises(InvalidArgument) as caught:
        decoded(data, control.ProbeRequest)
    assert bool(caught.value.field) is named


def test_a_field_of_a_later_release_is_passed_over() -> None:
    later = bytes(control.ProbeRequest(source="x")) + b"\xaa\x06\x03abc" + b"\xb0\x06\x07"
    assert decoded(later, control.ProbeRequest).source == "x"


@given(st.floats())
def test_no_number_that_is_none_is_taken(number: float) -> None:
    data = bytes(control.PauseJobsRequest(for_s=number))
    if math.isfinite(number):
        assert decoded(data, control.PauseJobsRequest).for_s == number
    else:
        with pytest.raises(InvalidArgument):
            decoded(data, control.PauseJobsRequest)


@pytest.mark.parametrize("eta", [math.nan, math.inf, -math.inf, -1.0])
def test_an_end_that_is_no_time_is_not_known(eta: float) -> None:
    at = datetime(2026, 1, 1, tzinfo=UTC)
    job = Job(
        id=JobId(UUID(int=1)), number=JobNumber(1), user_id=UserId(UUID(int=1)), source="s", kind=SourceKind.URL,
        created_at=at, updated_at=at, state=JobState.ACTIVE,
    )  # fmt: skip
    assert wire.job_message(JobView(job=job, user="", source="", live=Live(eta=Seconds(eta)))).eta_s is None


@given(TEXT, TEXT, FIGURE)
def test_files_peers_and_events_are_clean_too(text: str, other: str, figure: int) -> None:
    file = EntryFile(
        index=1, path=text, disk_path="f", size=Bytes(figure), content_type=text, failed=other
    )  # fmt: skip
    view = FileView(job=JobNumber(1), file=file, selected=True, done=Bytes(figure))
    peer = Peer(
        address=text, client=other, progress=0.5, rate_down=BytesPerSecond(figure), rate_up=BytesPerSecond(figure),
        seeder=False,
    )  # fmt: skip
    event = JobFailed(at=datetime(2026, 1, 1, tzinfo=UTC), data={"message": text, other: figure})
    for message in (wire.file_message(view), wire.peer_message(peer), wire.event_message(event, text)):
        assert not [found for found in texts(message) if moves_a_cursor(found)]
        bytes(message)


# one list of the fields

SHOWN = {
    # domain Job → proto Job
    "id": "uuid", "number": "id", "user_id": "user", "source": "source", "kind": "kind", "created_at": "created_at",
    "state": "state", "hold": "hold", "hold_until": "hold_until", "reason": "reason", "name": "name",
    "engine": "engine", "engine_state": "engine_state", "node_id": "node", "cache_key": "cache_key",
    "cache_hit": "cache_hit", "selection": "selection", "options": "options", "priority": "priority", "tags": "tags",
    "max_rate_down": "max_rate_down", "max_rate_up": "max_rate_up", "size": "size", "done": "done",
    "files_total": "files_total", "files_selected": "files_selected", "files_failed": "files_failed",
    "error": "error", "attempts": "attempts", "started_at": "started_at", "completed_at": "completed_at", "rev": "rev",
    "checksum": "checksum", "node_labels": "node_labels",
}  # fmt: skip
INNER = {
    "updated_at", "renamed", "engine_wish", "node_wish", "entry_id", "force", "next_try_at",
}  # fmt: skip
"""Of the domain's Job alone: how it came to be as it is shown."""
LIVE_FIGURES = {"progress", "rate_down", "rate_up", "eta_s", "seeders", "peers", "position", "placement"}
"""Of no row: they live in memory."""


def test_the_domain_s_fields_are_shown_or_known_to_be_inner() -> None:
    names = {field.name for field in fields(Job)}
    assert names == set(SHOWN) | INNER
    assert not set(SHOWN) & INNER


def test_the_protocol_s_fields_are_the_shown_ones_and_the_live_ones() -> None:
    assert set(wire.JOB_FIELDS) == set(SHOWN.values()) | LIVE_FIGURES


def test_odctl_s_fields_are_the_protocol_s_in_its_order() -> None:
    listed = list(models.Job.__struct_fields__)
    extra = list(models.JobExtra.__struct_fields__)
    assert listed + extra == list(wire.JOB_FIELDS)


def test_rest_s_fields_are_the_protocol_s_in_its_order() -> None:
    assert tuple(jobs.Download.model_fields) == wire.JOB_FIELDS
    assert list(jobs.File.model_fields) == [field.name for field in fields(common.File)]


def test_every_field_reaches_odctl_and_rest() -> None:
    """A field that one of the three forgets to copy would stay at its default."""
    at = datetime(2026, 1, 2, tzinfo=UTC)
    job = Job(
        id=JobId(UUID(int=7)), number=JobNumber(7), user_id=UserId(UUID(int=8)), source="s", kind=SourceKind.TORRENT,
        created_at=at, updated_at=at, state=JobState.ACTIVE, hold=Hold.DISK, hold_until=at,
        reason=Reason(code=ReasonCode.RETRY, message="m", retry_at=at), name="n", engine=EngineName("e"),
        engine_state="st", node_id=NodeId("node"), entry_id=EntryId(UUID(int=9)), cache_key="k", cache_hit=True,
        selection="1-2", options={"a": "b"}, priority=5, tags=("t",), max_rate_down=BytesPerSecond(1),
        max_rate_up=BytesPerSecond(2), size=Bytes(10), done=Bytes(3), files_total=4, files_selected=3, files_failed=1,
        error=Failure(code=FailureCode.ENGINE, message="e"), attempts=2, started_at=at, completed_at=at, rev=6,
        checksum="sha256=00", node_labels={"disk": "ssd"},
    )  # fmt: skip
    live = Live(
        done=Bytes(4), rate_down=BytesPerSecond(5), rate_up=BytesPerSecond(6), eta=Seconds(7), seeders=8, peers=9
    )  # fmt: skip
    view = JobView(
        job=job, user="u", source="s", options={"a": "b"}, live=live, progress=0.4, position=1, placement="p",
        files_failed=1,
    )  # fmt: skip
    message = common.Job.parse(bytes(wire.job_message(view)))
    default = common.Job()
    assert [name for name in wire.JOB_FIELDS if getattr(message, name) == getattr(default, name)] == []
    told: dict[str, Any] = {**models.jsonable(convert.job(message)), **models.jsonable(convert.extra(message))}
    assert [name for name, value in told.items() if value in (None, "", 0, [], {}, False)] == []
    shown = jobs.download(view)
    assert jobs.Download.model_validate_json(shown.model_dump_json()) == shown
    assert [name for name in wire.JOB_FIELDS if not getattr(shown, name)] == []
