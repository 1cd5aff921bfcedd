"""Node messages: what one side says is what the other hears, and nothing from outside is taken as it comes."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable
from dataclasses import fields, replace
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import betterproto2
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from odproto.gen.opendebrid.common import v1 as common
from odproto.gen.opendebrid.node import v1 as pb
from odproto.gen.opendebrid.registry import v1 as registry_pb

from oddaemon.domain import errors as e
from oddaemon.domain.cache import CacheKey, EntryFile, KeyKind
from oddaemon.domain.day_left import Allotment, DayLeft
from oddaemon.domain.failure import Failure, FailureCode, Retry
from oddaemon.domain.link import LinkContent, LinkFile
from oddaemon.domain.node import DiskUsage, EngineHealth, NodeSnapshot
from oddaemon.domain.source import Source, SourceKind, parse_source
from oddaemon.domain.types import Bytes, BytesPerSecond, EngineName, Handle, LinkId, NodeId, ReplicaId, Seconds, UserId
from oddaemon.ports.engine import (
    FillFile,
    FillState,
    FillStatus,
    KeyResolution,
    MediaFormat,
    OptionSpec,
    Peer,
    ProbeResult,
    Sniffed,
)
from oddaemon.ports.node_client import Dispatch
from oddaemon.ports.node_files import FilesNews, UsageReport
from oddaemon.ports.node_registry import AnnouncedEngine, Announcement, Heartbeat
from oddaemon.wire import node_errors as errors
from oddaemon.wire import node_files as files
from oddaemon.wire import node_messages as wire
from oddaemon.wire import node_values as v
from oddaemon.wire import registry
from oddaemon.wire.decode import decoded
from oddaemon.wire.errors import TABLE

ARIA2 = EngineName("aria2")
HERE = NodeId("attic")
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)
ODD = st.text(max_size=30)
"""With lone surrogates: what a file system's names become that are not UTF-8."""
WORDS = st.text(st.characters(categories=["L", "N", "P", "Zs"]), max_size=30)
SIZE = st.integers(0, v.MAX_SIZE).map(Bytes)
RATE = st.integers(0, v.MAX_RATE)
SMALL = st.integers(0, 2**32 - 1)
INDEX = st.integers(1, v.MAX_INDEX)
REPLICA = st.uuids().map(ReplicaId)
ENGINE = st.from_regex(r"[a-z0-9][a-z0-9_-]{0,20}", fullmatch=True).map(EngineName)
HASH = st.from_regex(r"[0-9a-f]{40}", fullmatch=True)
DURATION = st.floats(0, v.MAX_SECONDS).map(Seconds)
SAFE = st.lists(
    st.from_regex(r"[A-Za-z0-9_\- ]{1,10}(\.[a-z0-9]{1,4})?", fullmatch=True), min_size=1, max_size=3
).map("/".join)  # fmt: skip


TIMES = st.datetimes(datetime(1970, 1, 2), datetime(2400, 1, 1), timezones=st.just(UTC)).map(
    lambda at: at.replace(microsecond=0)
)
LINK = st.uuids().map(LinkId)
ALLOTMENTS = st.one_of(
    st.none(), st.builds(Allotment, left=st.integers(-(2**60), 2**60).map(Bytes), day=SIZE)
)  # fmt: skip
DAYS = st.builds(
    DayLeft, until=TIMES, users=st.dictionaries(st.uuids().map(UserId), ALLOTMENTS, max_size=4),
    others=st.one_of(st.none(), SIZE),
)  # fmt: skip
NEWS = st.builds(
    FilesNews, number=st.integers(0, 2**63 - 1), whole=st.booleans(), removed=st.booleans(),
    counted=st.integers(0, 2**63 - 1),
    keys=st.lists(st.binary(min_size=32, max_size=32), max_size=3).map(tuple),
    revoked=st.dictionaries(LINK, TIMES, max_size=4), day=st.one_of(st.none(), DAYS),
)  # fmt: skip
USAGE = st.builds(
    UsageReport, instance=TEXT, number=st.integers(0, 2**63 - 1),
    links=st.dictionaries(LINK, st.tuples(st.integers(0, 2**40), SIZE), max_size=4),
)  # fmt: skip
LINK_FILES = st.builds(LinkFile, path=ODD, disk_path=SAFE, size=SIZE, content_type=TEXT, modified_ns=st.just(0))
CONTENTS = st.builds(
    LinkContent, name=TEXT.filter(bool), files=st.lists(LINK_FILES, max_size=300).map(tuple), text=TEXT,
    is_elsewhere=st.just(False),
)  # fmt: skip


ENDPOINTS = st.sampled_from(["http://192.0.2.1:8081", "https://files.example.org/attic", "http://[2001:db8::1]"])


def maybe(strategy: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.one_of(st.none(), strategy)


FAILURES = st.builds(
    Failure, code=st.sampled_from(FailureCode), message=WORDS, retry=st.sampled_from(Retry),
    retry_after=maybe(DURATION), hint=WORDS,
)  # fmt: skip
DISKS = st.builds(lambda free, more, present: DiskUsage(total=Bytes(free + more), free=Bytes(free), present=present),
                  st.integers(0, 2**59), st.integers(0, 2**59), st.booleans())  # fmt: skip
HEALTHS = st.builds(
    EngineHealth, name=ENGINE, ok=st.booleans(), version=maybe(WORDS), message=WORDS, max_concurrent=SMALL,
    capabilities=st.dictionaries(WORDS, st.booleans(), max_size=4), schemes=st.lists(WORDS, max_size=3).map(tuple),
)  # fmt: skip
ENGINES = st.lists(HEALTHS, max_size=4, unique_by=lambda health: health.name).map(tuple)
SNAPSHOTS = st.builds(
    NodeSnapshot, id=st.just(HERE), name=WORDS, is_controller=st.just(False), online=st.just(True), disk=DISKS,
    engines=ENGINES, file_endpoint=maybe(ENDPOINTS), labels=st.dictionaries(TEXT, TEXT, max_size=3),
)  # fmt: skip
SOURCES = st.builds(
    Source, kind=st.sampled_from(SourceKind), uri=TEXT, shown=TEXT, info_hash=maybe(HASH), name=maybe(TEXT),
    trackers=st.lists(TEXT, max_size=3).map(tuple), username=maybe(TEXT), password=maybe(TEXT), normalised=maybe(TEXT),
    scheme=TEXT,
)  # fmt: skip
ORDERS = st.builds(
    Dispatch, replica_id=REPLICA, engine=ENGINE, source=SOURCES, options=st.dictionaries(TEXT, TEXT, max_size=3),
    torrent=maybe(st.binary(max_size=50)), selection=maybe(st.frozensets(INDEX, max_size=5)), may_be_page=st.booleans(),
    max_rate_down=maybe(RATE), max_rate_up=maybe(RATE), handle=maybe(TEXT.map(Handle)), afresh=st.booleans(),
    keep=st.frozensets(SAFE, max_size=3), recheck=st.booleans(),
)  # fmt: skip
STATUSES = st.builds(
    FillStatus, replica_id=REPLICA, state=st.sampled_from([s for s in FillState if s is not FillState.FAILED]),
    engine_state=maybe(TEXT), name=maybe(TEXT), total=maybe(SIZE), done=SIZE, rate_down=RATE, rate_up=RATE,
    eta=maybe(DURATION), seeders=maybe(SMALL), peers=maybe(SMALL), files_rev=st.integers(0, 2**62),
    private=st.booleans(), info_hash=maybe(HASH),
)  # fmt: skip
FAILED = st.builds(lambda status, why: replace(status, state=FillState.FAILED, failure=why), STATUSES, FAILURES)
FILES = st.builds(
    FillFile, index=INDEX, path=ODD, disk_path=SAFE, size=maybe(SIZE), done=SIZE, finished=st.booleans(),
    selected=st.booleans(), failed=maybe(WORDS), content_type=maybe(TEXT),
)  # fmt: skip
KEYS = st.builds(CacheKey, engine=st.just(ARIA2), kind=st.sampled_from(KeyKind),
                 value=st.from_regex(r"[a-z0-9:_-]{1,30}", fullmatch=True))  # fmt: skip
FORMATS = st.builds(
    MediaFormat, id=TEXT, extension=TEXT, description=TEXT, size=maybe(SIZE), video_codec=maybe(TEXT),
    audio_codec=maybe(TEXT), width=maybe(SMALL), height=maybe(SMALL), bitrate_kbps=maybe(st.floats(0, 1e6)),
)  # fmt: skip
PROBES = st.builds(
    ProbeResult, name=maybe(TEXT), size=maybe(SIZE), files=st.lists(FILES, max_size=3).map(tuple),
    formats=st.lists(FORMATS, max_size=3).map(tuple), key=maybe(KEYS),
)  # fmt: skip
PEERS = st.builds(
    Peer, address=TEXT, client=maybe(TEXT), progress=st.floats(0, 1), rate_down=RATE, rate_up=RATE, seeder=st.booleans()
)
OPTIONS = st.builds(
    OptionSpec, name=TEXT, kind=st.sampled_from(sorted(registry.OPTION_KINDS)), description=WORDS,
    choices=st.lists(TEXT, max_size=3).map(tuple), changes_bytes=st.booleans(), secret=st.booleans(),
)  # fmt: skip
ANNOUNCED = st.builds(
    AnnouncedEngine, health=HEALTHS, mime_types=st.lists(TEXT, max_size=2).map(tuple),
    options=st.lists(OPTIONS, max_size=3).map(tuple), problem=WORDS,
)  # fmt: skip
ANNOUNCEMENTS = st.builds(
    Announcement, instance=TEXT, name=WORDS, software=WORDS, disk=DISKS,
    engines=st.lists(ANNOUNCED, max_size=3, unique_by=lambda engine: engine.name).map(tuple),
    replicas=st.lists(REPLICA, max_size=5, unique=True).map(tuple), file_endpoint=maybe(ENDPOINTS),
    labels=st.dictionaries(TEXT, TEXT, max_size=3),
)  # fmt: skip
BEATS = st.builds(
    Heartbeat, disk=DISKS, engines=ENGINES, rate_down=RATE, rate_up=RATE, running=SMALL,
    load=maybe(st.floats(0, 10_000)),
)  # fmt: skip


def sent(message: Any) -> Any:
    """As it arrives."""
    return decoded(bytes(message), type(message))


def none_left_out(strategy_of: type[Any], built: Any, *but: str) -> None:
    """The strategies above give every field of the class a value: one that is added has to be added here, too."""
    named = built.wrapped_strategy if hasattr(built, "wrapped_strategy") else built
    given_names = set(named.kwargs)
    assert given_names == {field.name for field in fields(strategy_of)} - set(but)


def test_every_field_is_tried() -> None:
    none_left_out(Dispatch, ORDERS)
    none_left_out(FillStatus, STATUSES, "failure")
    none_left_out(FillFile, FILES)
    none_left_out(Source, SOURCES)
    none_left_out(MediaFormat, FORMATS)
    none_left_out(Peer, PEERS)
    none_left_out(EngineHealth, HEALTHS)
    none_left_out(OptionSpec, OPTIONS)
    none_left_out(Announcement, ANNOUNCEMENTS)
    none_left_out(Heartbeat, BEATS)
    none_left_out(ProbeResult, PROBES)
    none_left_out(FilesNews, NEWS)
    none_left_out(UsageReport, USAGE)
    none_left_out(DayLeft, DAYS)
    none_left_out(LinkFile, LINK_FILES)
    none_left_out(LinkContent, CONTENTS)
    # the controller's own judgement
    own = ("draining", "disk_low", "limits", "set_labels", "offline_since", "software", "load")
    none_left_out(NodeSnapshot, SNAPSHOTS, *own)


@given(ORDERS)
def test_an_order_arrives_whole(order: Dispatch) -> None:
    assert wire.dispatch_from(sent(wire.dispatch_message(order))) == order


@given(st.one_of(STATUSES, FAILED))
def test_a_status_arrives_whole(status: FillStatus) -> None:
    assert wire.status_from(sent(wire.status_message(status))) == status


@given(FILES)
def test_a_file_arrives_whole(file: FillFile) -> None:
    assert wire.file_from(sent(wire.file_message(file))) == file


@given(SNAPSHOTS)
def test_a_snapshot_arrives_whole(snapshot: NodeSnapshot) -> None:
    assert wire.snapshot_from(sent(wire.snapshot_message(snapshot)), HERE) == snapshot


@given(PROBES)
def test_a_probe_arrives_whole(found: ProbeResult) -> None:
    assert wire.probe_from(sent(wire.probe_message(found)), ARIA2) == found


@given(maybe(st.builds(KeyResolution, key=KEYS, name=maybe(TEXT), size=maybe(SIZE))))
def test_a_key_arrives_whole(found: KeyResolution | None) -> None:
    assert wire.resolution_from(sent(wire.resolution_message(found)), ARIA2) == found


@given(maybe(st.builds(Sniffed, content_type=maybe(TEXT), size=maybe(SIZE))))
def test_what_was_sniffed_arrives_whole(found: Sniffed | None) -> None:
    assert wire.sniffed_from(sent(wire.sniffed_message(found))) == found


@given(st.lists(PEERS, max_size=4).map(tuple))
def test_peers_arrive_whole(peers: tuple[Peer, ...]) -> None:
    assert wire.peers_from(sent(wire.peers_message(peers)).peers) == peers


REAL = st.floats(allow_nan=False, allow_infinity=False)
RAW = st.one_of(WORDS, st.integers(-(2**63), 2**63 - 1), REAL, st.booleans())


@given(st.dictionaries(TEXT, RAW, max_size=5))
def test_an_engine_s_own_words_arrive_whole(values: dict[str, Any]) -> None:
    found = wire.raw_from(sent(wire.raw_message(values)))
    assert found == values
    assert [type(found[name]) for name in values] == [type(value) for value in values.values()]


@given(maybe(st.frozensets(INDEX, max_size=5)))
def test_no_file_and_all_files_are_not_the_same(selection: frozenset[int] | None) -> None:
    request = sent(pb.SelectRequest(selection=wire.selection_message(selection)))
    assert wire.selection_from(request.selection) == selection


@given(st.dictionaries(INDEX, maybe(SIZE), max_size=5))
def test_what_was_verified_arrives_whole(found: dict[int, Bytes | None]) -> None:
    assert wire.verified_from(sent(wire.verified_message(found)), found.keys()) == found


@given(st.builds(EntryFile, index=INDEX, path=SAFE, disk_path=SAFE, ready=st.booleans()))
def test_a_file_to_verify_arrives_with_what_is_looked_at(file: EntryFile) -> None:
    heard = wire.file_to_verify_from(sent(wire.file_to_verify_message(file)))
    assert (heard.index, heard.disk_path, heard.ready) == (file.index, file.disk_path, file.ready)


@given(ANNOUNCEMENTS)
def test_an_announcement_arrives_whole(told: Announcement) -> None:
    assert registry.announcement_from(sent(registry.announcement_message(told))) == told


@given(BEATS)
def test_a_heartbeat_arrives_whole(told: Heartbeat) -> None:
    assert registry.heartbeat_from(sent(registry.heartbeat_message(told))) == told


# errors


@given(st.sampled_from(errors._A_NODE_MAY_SAY), WORDS.filter(bool), WORDS, FAILURES)
def test_an_error_is_raised_again(cls: type[e.OpenDebridError], words: str, hint: str, why: Failure) -> None:
    raised = cls(words, hint=hint)
    if cls is e.EngineFailed:
        raised = cls(words, hint=hint, failure=why)
    heard = errors.error_from(sent(errors.error_message(raised)), "attic")
    assert (type(heard), heard.message, heard.hint) == (cls, words, hint or cls.default_hint)
    assert heard.details.get("failure") == raised.details.get("failure")


def test_an_error_keeps_its_facts() -> None:
    option = errors.error_from(sent(errors.error_message(e.InvalidOption("no", field="split", most=4))), "attic")
    assert isinstance(option, e.InvalidOption)
    assert (option.field, option.details) == ("split", {"field": "split", "most": 4})
    source = errors.error_from(sent(errors.error_message(e.InvalidSource("no", position=7))), "attic")
    assert isinstance(source, e.InvalidSource)
    assert source.position == 7


@pytest.mark.parametrize("cls", [cls for cls in TABLE if cls not in errors._A_NODE_MAY_SAY], ids=lambda c: c.__name__)
def test_what_a_node_cannot_mean_is_not_believed(cls: type[e.OpenDebridError]) -> None:
    heard = errors.error_from(sent(errors.error_message(cls())), "attic")
    allowed = {e.NodeUnavailable, e.OpenDebridError}
    # their codes are those of classes that a node may use
    allowed |= {e.InvalidArgument} if cls is e.CallerError else set()
    assert type(heard) in allowed


@given(st.binary(max_size=100), st.text(max_size=100))
def test_details_that_are_none_are_left_out(junk: bytes, text: str) -> None:
    for details in (text, junk.decode("latin-1"), "[1]", "1", "{", "[" * 5000, '{"failure": 1}'):
        message = pb.NodeError(error=common.Error(code="NOT_FOUND", message="x", details=v.storable(details)))
        assert errors.error_from(sent(message), "attic").details == {}


def test_a_failure_of_a_later_version_is_the_engine_s() -> None:
    known = errors.failure_from(pb.Failure(code="SOMETHING_NEW", message="x", retry=pb.RetryKind.PASSING))
    assert (known.code, known.message, known.retry) == (FailureCode.ENGINE, "x", Retry.PASSING)


# what an engine or a stranger's torrent may hold, and must not make the whole answer one that is refused


LONG = "x\ud800" * 200_000
WILD = st.one_of(st.integers(-(2**70), 2**70), st.floats())


@given(WILD, WILD, st.floats())
def test_an_engine_s_wild_figures_do_not_break_the_answer(large: Any, small: Any, eta: float) -> None:
    status = FillStatus(
        replica_id=ReplicaId(uuid4()), state=FillState.FAILED, name=LONG, engine_state=LONG, total=large, done=small,
        rate_down=large, rate_up=small, eta=Seconds(eta), seeders=large, peers=small,
        failure=Failure(code=FailureCode.ENGINE, message=LONG, hint=LONG, retry_after=Seconds(eta)),
    )  # fmt: skip
    heard = wire.status_from(sent(wire.status_message(status)))
    assert heard.failure is not None
    assert 0 <= heard.done <= v.MAX_SIZE


def test_a_torrent_s_long_names_do_not_break_the_answer() -> None:
    file = FillFile(index=1, path=LONG, disk_path="f1", size=None, done=Bytes(0), failed=LONG, content_type=LONG)
    assert wire.file_from(sent(wire.file_message(file))).disk_path == "f1"
    peer = Peer(address=LONG, client=LONG, progress=math.nan, rate_down=10**30, rate_up=-1, seeder=False)  # type: ignore[arg-type]
    assert wire.peers_from(sent(wire.peers_message([peer] * 20_000)).peers)
    assert wire.raw_from(sent(wire.raw_message({str(n): LONG[:100] for n in range(5000)})))


@given(st.integers(v.MAX_RATE, 2**63 - 1))
def test_a_limit_that_no_line_reaches_is_taken(rate: int) -> None:
    order = Dispatch(
        replica_id=ReplicaId(uuid4()), engine=ARIA2, source=parse_source("http://x.example/y"), options={},
        max_rate_down=BytesPerSecond(rate), max_rate_up=BytesPerSecond(rate),
    )  # fmt: skip
    assert wire.dispatch_from(sent(wire.dispatch_message(order))).max_rate_down == v.MAX_RATE
    limit = wire.limit_message(ARIA2, order.replica_id, BytesPerSecond(rate), None)
    assert wire.maybe_limits(sent(limit)) == (v.MAX_RATE, None)


# lies


def good_status() -> pb.FillStatus:
    return pb.FillStatus(replica_id=uuid4().bytes, state=pb.FillState.ACTIVE)


@pytest.mark.parametrize(
    "change",
    [
        {"replica_id": b""}, {"replica_id": b"x" * 15}, {"replica_id": b"x" * 17}, {"state": pb.FillState.UNSPECIFIED},
        {"state": pb.FillState(99)}, {"total": 2**60 + 1}, {"done": 2**63 - 1}, {"rate_down": 2**60},
        {"eta_s": -1.0}, {"eta_s": 1e300}, {"name": "x" * 5000}, {"info_hash": "X" * 40}, {"info_hash": ""},
        {"state": pb.FillState.FAILED}, {"failure": pb.Failure(code="ENGINE", retry=pb.RetryKind.PASSING)},
        {"state": pb.FillState.FAILED, "failure": pb.Failure(code="ENGINE")},
        {"state": pb.FillState.FAILED, "failure": pb.Failure(code="ENGINE", retry=pb.RetryKind(9))},
        {"state": pb.FillState.FAILED,
         "failure": pb.Failure(code="ENGINE", retry=pb.RetryKind.PASSING, retry_after_s=-5.0)},
    ],
    ids=str,
)  # fmt: skip
def test_a_status_that_cannot_be_is_refused(change: dict[str, Any]) -> None:
    message = good_status()
    wire.status_from(message)
    for name, value in change.items():
        setattr(message, name, value)
    with pytest.raises(e.InvalidArgument):
        wire.status_from(sent(message))


@pytest.mark.parametrize(
    "path", [b"", b"/etc/passwd", b"../x", b"a/../b", b"a//b", b"a\0b", b"a\nb", b"\xff", b"x" * 256, b"x/" * 9000]
)
def test_a_path_that_is_not_safe_is_refused(path: bytes) -> None:
    with pytest.raises(e.InvalidArgument):
        wire.file_from(sent(pb.FillFile(index=1, disk_path=path)))
    with pytest.raises(e.InvalidArgument):
        wire.file_to_verify_from(sent(pb.FileToVerify(index=1, disk_path=path)))
    order = wire.dispatch_message(
        Dispatch(replica_id=ReplicaId(uuid4()), engine=ARIA2, source=parse_source("http://x.example/y"), options={})
    )
    order.keep = [path]
    with pytest.raises(e.InvalidArgument):
        wire.dispatch_from(sent(order))


@pytest.mark.parametrize("index", [0, v.MAX_INDEX + 1, 2**32 - 1])
def test_an_index_that_no_file_has_is_refused(index: int) -> None:
    with pytest.raises(e.InvalidArgument):
        wire.file_from(sent(pb.FillFile(index=index, disk_path=b"x")))
    with pytest.raises(e.InvalidArgument):
        wire.selection_from(sent(pb.Selection(indices=[index])))


def test_a_disk_that_is_fuller_than_full_is_refused() -> None:
    for disk in (None, pb.Disk(total=1, free=2), pb.Disk(total=2**61, free=0)):
        with pytest.raises(e.InvalidArgument):
            wire.disk_from(disk)


def test_an_answer_about_other_files_is_refused() -> None:
    for told in ([1], [1, 2, 3], [1, 1], [1, 3]):
        message = pb.VerifyResponse(files=[pb.VerifiedFile(index=index) for index in told])
        with pytest.raises(e.InvalidArgument):
            wire.verified_from(sent(message), {1, 2})


@pytest.mark.parametrize(
    "key",
    [
        pb.CacheKey(engine="ytdlp", kind=pb.KeyKind.URL, value="x"), pb.CacheKey(engine="aria2", value="x"),
        pb.CacheKey(engine="aria2", kind=pb.KeyKind.URL),
        pb.CacheKey(engine="aria2", kind=pb.KeyKind.URL, value="\x1b"),
        pb.CacheKey(engine="aria2", kind=pb.KeyKind.HASH, value="0:@c0ffee00-0000-4000-8000-000000000000"),
    ],
    ids=str,
)  # fmt: skip
def test_a_key_that_is_not_the_engine_s_or_names_a_user_is_refused(key: pb.CacheKey) -> None:
    with pytest.raises(e.InvalidArgument):
        wire.resolution_from(sent(pb.ResolveCacheKeyResponse(key=key)), ARIA2)


@pytest.mark.parametrize("name", ["", "Aria2", "../x", "a" * 65, "a b", "ä"])
def test_a_name_that_no_engine_has_is_refused(name: str) -> None:
    with pytest.raises(e.InvalidArgument):
        wire.health_from(sent(pb.EngineHealth(name=name)))


@given(NEWS)
def test_news_for_files_arrive_whole(news: FilesNews) -> None:
    assert files.news_from(decoded(bytes(files.news_message(news)), registry_pb.FilesNews)) == news


@given(USAGE)
def test_the_use_of_links_arrives_whole(report: UsageReport) -> None:
    assert files.usage_from(decoded(bytes(files.usage_message(report)), registry_pb.ReportUsageRequest)) == report


@given(CONTENTS)
def test_what_a_link_serves_arrives_whole(content: LinkContent) -> None:
    parts = [decoded(bytes(part), registry_pb.LinkContentResponse) for part in files.content_messages(content)]
    assert "".join(part.name for part in parts) == content.name
    assert "".join(part.text for part in parts) == content.text
    assert tuple(file for part in parts for file in files.files_from(part)) == content.files


@pytest.mark.parametrize("near", ["192.0.2.1:80", "127.0.0.1", "127.0.0.1:0", "127.0.0.1:99999", "localhost:80", ""])
def test_only_the_loopback_is_near(near: str) -> None:
    with pytest.raises(e.InvalidArgument):
        files.files_there_from(registry_pb.FollowFilesRequest(near=near))
    for good in ("127.0.0.1:80", "[::1]:8081"):
        assert files.files_there_from(registry_pb.FollowFilesRequest(near=good)).near == good


@pytest.mark.parametrize(
    "endpoint",
    ["file:///x", "ftp://x.example", "http://", "http://x.example/\n#EXTINF", "http://x.example/ y", "http://x?y", "x"],
)
def test_an_endpoint_is_what_urls_may_begin_with(endpoint: str) -> None:
    with pytest.raises(e.InvalidArgument):
        files.files_there_from(registry_pb.FollowFilesRequest(endpoint=endpoint))
    with pytest.raises(e.InvalidArgument):
        registry.announcement_from(registry_pb.RegisterRequest(disk=pb.Disk(), file_endpoint=endpoint))
    good = "https://files.example.org:8443/attic"
    assert files.files_there_from(registry_pb.FollowFilesRequest(endpoint=good)).endpoint == good


def test_lists_have_an_end() -> None:
    engine = pb.EngineHealth(name="aria2")
    refused: list[Callable[[], object]] = [
        lambda: wire.healths_from([engine, engine]),
        lambda: wire.healths_from([pb.EngineHealth(name=f"e{n}") for n in range(65)]),
        lambda: wire.peers_from([pb.Peer()] * (wire.MAX_PEERS + 1)),
        lambda: wire.labels_from({str(n): "" for n in range(101)}),
        lambda: wire.options_from({str(n): "" for n in range(201)}),
        lambda: wire.torrent_from(b"x" * (10 * 2**20 + 1)),
        lambda: wire.raw_from(pb.RawStatusResponse(values={"x": pb.RawValue()})),
        lambda: registry.announcement_from(
            registry_pb.RegisterRequest(disk=pb.Disk(), replica_ids=[b"x" * 16] * (registry.MAX_REPLICAS + 1))
        ),
    ]
    for call in refused:
        with pytest.raises(e.InvalidArgument):
            call()


READERS: list[tuple[type[betterproto2.Message], Any]] = [
    (pb.FillStatus, wire.status_from), (pb.FillFile, wire.file_from), (pb.DispatchRequest, wire.dispatch_from),
    (pb.SnapshotResponse, lambda m: wire.snapshot_from(m, HERE)),
    (pb.ProbeResponse, lambda m: wire.probe_from(m, ARIA2)),
    (pb.ResolveCacheKeyResponse, lambda m: wire.resolution_from(m, ARIA2)), (pb.SniffResponse, wire.sniffed_from),
    (pb.RawStatusResponse, wire.raw_from), (pb.PeersResponse, lambda m: wire.peers_from(m.peers)),
    (pb.VerifyResponse, lambda m: wire.verified_from(m, {1})), (pb.NodeError, lambda m: errors.error_from(m, "attic")),
    (registry_pb.RegisterRequest, registry.announcement_from), (registry_pb.HeartbeatRequest, registry.heartbeat_from),
    (registry_pb.FilesNews, files.news_from), (registry_pb.ReportUsageRequest, files.usage_from),
    (registry_pb.LinkContentResponse, files.files_from), (registry_pb.FollowFilesRequest, files.files_there_from),
]  # fmt: skip
WHOLE: list[Any] = [
    STATUSES.map(wire.status_message), FAILED.map(wire.status_message), FILES.map(wire.file_message),
    ORDERS.map(wire.dispatch_message), SNAPSHOTS.map(wire.snapshot_message), PROBES.map(wire.probe_message),
    ANNOUNCEMENTS.map(registry.announcement_message), BEATS.map(registry.heartbeat_message),
    NEWS.map(files.news_message), USAGE.map(files.usage_message),
]  # fmt: skip


@settings(suppress_health_check=[HealthCheck.too_slow])
@given(st.one_of(WHOLE).map(bytes), st.data(), st.sampled_from(READERS))
def test_broken_bytes_are_refused_in_one_way(whole: bytes, data: st.DataObject, reader: Any) -> None:
    kind, read = reader
    place = data.draw(st.integers(0, max(len(whole) - 1, 0)))
    broken = data.draw(st.sampled_from([whole[:place], whole[:place] + b"\xff" + whole[place + 1 :], whole + whole]))
    with contextlib.suppress(e.InvalidArgument):
        read(decoded(broken, kind))
