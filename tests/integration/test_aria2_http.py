"""Bad origins and bad luck, on a real aria2c: each gets the file that was declared, or a failure that says why."""

from __future__ import annotations

import contextlib
import os
import re
import signal
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from oddaemon.domain.errors import DeadlineExceeded, EngineFailed, EngineUnavailable
from oddaemon.domain.failure import FailureCode, Retry
from oddaemon.domain.source import parse_source
from oddaemon.domain.types import Handle, Seconds
from oddaemon.ports.engine import FillRequest, FillState, FillStatus, failure_of
from tests.support.aria2 import ENDED, Bench, aria2
from tests.support.origin_server import Origin, Page, Version
from tests.support.wait import until

pytestmark = pytest.mark.real("aria2c")

BODY = os.urandom(2_000_000)
OTHER = os.urandom(2_000_000)
SHORTER = os.urandom(1_500_000)
PAGE = b"<!DOCTYPE html><html><body>This link has expired</body></html>"


@pytest_asyncio.fixture
async def origin() -> AsyncIterator[Origin]:
    async with Origin() as origin:
        yield origin


@pytest_asyncio.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    async with aria2(tmp_path) as bench:
        yield bench


def sizes(directory: Path) -> dict[str, int]:
    return {entry.name: entry.stat().st_size for entry in directory.iterdir()}


def proc(*parts: object) -> bytes:
    return Path("/proc", *map(str, parts)).read_bytes()


def outcome(status: FillStatus) -> tuple[FillState, FailureCode | None, Retry | None]:
    failure = status.failure
    return status.state, failure.code if failure else None, failure.retry if failure else None


@pytest.mark.parametrize(
    ("status", "code", "retry"),
    [
        (404, FailureCode.ORIGIN_GONE, Retry.LASTING),
        (410, FailureCode.ORIGIN_GONE, Retry.LASTING),
        (401, FailureCode.ORIGIN_DENIED, Retry.LASTING),
        (403, FailureCode.ORIGIN_DENIED, Retry.LASTING),
        (451, FailureCode.ORIGIN_DENIED, Retry.LASTING),
        (408, FailureCode.ORIGIN_BUSY, Retry.PASSING),
        (425, FailureCode.ORIGIN_BUSY, Retry.PASSING),
        (429, FailureCode.ORIGIN_BUSY, Retry.PASSING),
        (503, FailureCode.ORIGIN_BUSY, Retry.PASSING),
        (500, FailureCode.ORIGIN_ERROR, Retry.PASSING),
        (502, FailureCode.ORIGIN_ERROR, Retry.PASSING),
    ],
)
async def test_a_refusal_is_lasting_or_passing(
    bench: Bench, origin: Origin, status: int, code: FailureCode, retry: Retry
) -> None:
    origin.page("/x.bin", BODY, status=status)
    request = bench.request(origin.url("/x.bin"))
    found = await bench.fetch(request)
    assert outcome(found) == (FillState.FAILED, code, retry)
    assert found.failure is not None
    assert str(status) in found.failure.message
    assert list(request.directory.iterdir()) == [], "no error page is kept"


@pytest.mark.parametrize("as_date", [False, True])
async def test_retry_after_is_told(bench: Bench, origin: Origin, as_date: bool) -> None:
    wish = format_datetime(datetime.now(UTC) + timedelta(seconds=77), usegmt=True) if as_date else "77"
    page = origin.page("/x.bin", BODY, status=429, headers={"Retry-After": wish})
    request = bench.request(origin.url("/x.bin"))
    found = await bench.fetch(request)
    assert found.failure is not None
    assert found.failure.retry_after == pytest.approx(77, abs=5)
    page.status = 200
    assert (await bench.fetch(request)).state is FillState.COMPLETE
    assert await bench.body(request) == BODY


async def test_retry_after_is_told_when_only_the_transfer_is_refused(bench: Bench, origin: Origin) -> None:
    page = origin.page("/x.bin", BODY)

    def refuse(page: Page) -> None:
        page.status, page.headers = 429, {"Retry-After": "33"}

    page.on_get, page.drop_at, page.ranges = refuse, [300_000], True
    found = await bench.fetch(bench.request(origin.url("/x.bin")))
    assert found.failure is not None
    assert found.failure.code is FailureCode.ORIGIN_BUSY
    assert found.failure.retry_after == pytest.approx(33)


async def test_500_then_fine(bench: Bench, origin: Origin) -> None:
    origin.page("/x.bin", BODY, failures=[(500, {})] * 5)
    request = bench.request(origin.url("/x.bin"))
    statuses = [await bench.fetch(request)]
    while statuses[-1].state is FillState.FAILED and len(statuses) < 8:
        statuses.append(await bench.fetch(request))
    assert statuses[0].failure is not None
    assert statuses[0].failure.retry is Retry.PASSING
    assert statuses[-1].state is FillState.COMPLETE
    assert await bench.body(request) == BODY


async def test_a_redirect_chain_is_followed(bench: Bench, origin: Origin) -> None:
    for n in range(8):
        origin.page(f"/r{n}", redirect=f"/r{n + 1}")
    origin.page("/r8", BODY, headers={"Content-Disposition": 'attachment; filename="real name.mkv"'})
    request = bench.request(origin.url("/r0"))
    found = await bench.fetch(request)
    assert (found.state, found.name) == (FillState.COMPLETE, "real name.mkv")
    assert await bench.body(request) == BODY


@pytest.mark.parametrize(
    "target", ["/loop", "file:///etc/passwd", "ftp://127.0.0.1/x", "gopher://127.0.0.1/x", "http://"]
)
async def test_a_redirect_to_nowhere_good_ends_at_once(bench: Bench, origin: Origin, target: str) -> None:
    origin.page("/loop", redirect=target)
    request = bench.request(origin.url("/loop"))
    found = await bench.fetch(request)
    assert outcome(found) == (FillState.FAILED, FailureCode.ORIGIN_REFUSED_URL, Retry.LASTING)
    assert list(request.directory.iterdir()) == []


async def test_a_redirect_to_a_file_that_comes_only_with_the_transfer(bench: Bench, origin: Origin) -> None:
    page = origin.page("/x.bin", BODY, length=len(BODY))

    def turn(page: Page) -> None:
        page.redirect = "file:///etc/passwd"

    page.on_get, page.drop_at = turn, [100_000]
    found = await bench.fetch(bench.request(origin.url("/x.bin")))
    assert outcome(found) == (FillState.FAILED, FailureCode.ORIGIN_REFUSED_URL, Retry.LASTING)


@pytest.mark.parametrize("length", ["none", "chunked"])
async def test_no_content_length(bench: Bench, origin: Origin, length: str) -> None:
    origin.page("/x.bin", BODY, length=length, ranges=False)
    request = bench.request(origin.url("/x.bin"))
    found = await bench.fetch(request)
    assert (found.state, found.total, found.done) == (FillState.COMPLETE, len(BODY), len(BODY))
    assert await bench.body(request) == BODY


@pytest.mark.parametrize("ranges", [False, True])
async def test_less_than_declared_is_never_complete(bench: Bench, origin: Origin, ranges: bool) -> None:
    origin.page("/x.bin", BODY, length=len(BODY) + 1_000_000, ranges=ranges)
    request = bench.request(origin.url("/x.bin"))
    found = await bench.fetch(request)
    assert found.state is FillState.FAILED
    assert found.failure is not None
    assert found.failure.code in (FailureCode.SHORT_READ, FailureCode.ORIGIN_CHANGED)
    assert found.failure.retry is not Retry.LASTING


async def test_more_than_declared_is_what_was_declared(bench: Bench, origin: Origin) -> None:
    origin.page("/x.bin", BODY, length=1_000_000, ranges=False)
    request = bench.request(origin.url("/x.bin"))
    found = await bench.fetch(request)
    assert (found.state, found.total) == (FillState.COMPLETE, 1_000_000)
    assert await bench.body(request) == BODY[:1_000_000]


@pytest.mark.parametrize("lie", [1_000, 5_000_000])
async def test_a_head_that_lies_does_not_count(bench: Bench, origin: Origin, lie: int) -> None:
    origin.page("/x.bin", BODY, head_length=lie)
    request = bench.request(origin.url("/x.bin"))
    found = await bench.fetch(request)
    assert (found.state, found.total) == (FillState.COMPLETE, len(BODY))
    assert await bench.body(request) == BODY


async def ended_though_aria2_ends(bench: Bench, request: FillRequest) -> FillStatus:
    """As the daemon does: what the engine has forgotten it is told again."""
    await bench.engine.add(request)

    async def look() -> FillStatus | None:
        with contextlib.suppress(EngineUnavailable):
            status = (await bench.engine.statuses()).get(request.replica_id)
            if status is not None and status.state in ENDED:
                return status
            if status is None:
                await bench.engine.recover(Handle("aria2/1/x"), request)
        return None

    return await until(look, what="the download to end")


@pytest.mark.parametrize("lie", [2**44 + 1, 2**62, 2**63 - 1, 2**64 + 5, 10**30])
async def test_a_length_that_no_file_has_ends_its_own_download_only(bench: Bench, origin: Origin, lie: int) -> None:
    """aria2c would end with `bad_alloc`, and with it whatever else it fetches; SQLite takes no number of 65 bits."""
    pid = bench.pid
    for ranges in (False, True):
        origin.page("/x.bin", BODY, length=lie, ranges=ranges)
        done = await bench.fetch(bench.request(origin.url("/x.bin")))
        assert done.failure is not None
        assert done.failure.code is FailureCode.ORIGIN_ERROR
        assert done.total is None
    assert bench.pid == pid


async def test_a_length_that_is_told_to_aria2_alone_ends_it_once(bench: Bench, origin: Origin) -> None:
    page = origin.page("/x.bin", BODY, length=2**62, head_length=len(BODY))
    done = await ended_though_aria2_ends(bench, bench.request(origin.url("/x.bin")))
    assert done.failure is not None
    assert done.failure.code is FailureCode.ORIGIN_ERROR
    assert page.gets == 2


@pytest.mark.parametrize("head", [403, 404, 405, 500, 501])
async def test_an_origin_that_takes_no_head(bench: Bench, origin: Origin, head: int) -> None:
    origin.page("/x.bin", BODY, head=head)
    request = bench.request(origin.url("/x.bin"))
    assert (await bench.fetch(request)).state is FillState.COMPLETE
    assert await bench.body(request) == BODY


async def test_no_range_support(bench: Bench, origin: Origin) -> None:
    origin.page("/x.bin", BODY, ranges=False)
    request = bench.request(origin.url("/x.bin"))
    assert (await bench.fetch(request)).state is FillState.COMPLETE
    assert await bench.body(request) == BODY


async def test_no_range_support_and_a_drop_starts_afresh(bench: Bench, origin: Origin) -> None:
    origin.page("/x.bin", BODY, ranges=False, drop_at=[500_000])
    request = bench.request(origin.url("/x.bin"))
    found = await bench.fetch(request)
    assert outcome(found) == (FillState.FAILED, FailureCode.SHORT_READ, Retry.AFRESH)
    # what was kept can't be continued: the next attempt does not try to
    assert (await bench.fetch(request)).state is FillState.COMPLETE
    assert await bench.body(request) == BODY


async def test_a_connection_that_drops_once(bench: Bench, origin: Origin) -> None:
    origin.page("/x.bin", BODY, drop_at=[500_000])
    request = bench.request(origin.url("/x.bin"))
    assert (await bench.fetch(request)).state is FillState.COMPLETE
    assert await bench.body(request) == BODY


async def test_a_connection_that_drops_every_few_hundred_kilobytes(bench: Bench, origin: Origin) -> None:
    body = os.urandom(24_000_000)
    page = origin.page("/x.bin", body, etag='"1"', drop_every=300_000)
    request = bench.request(origin.url("/x.bin"))
    last = -1
    for _ in range(20):
        found = await bench.fetch(request)
        if found.state is FillState.COMPLETE:
            break
        assert found.failure is not None
        assert found.failure.retry is Retry.PASSING, found.failure
        assert found.done > last, "each attempt keeps the bytes of the one before"
        last = found.done
    assert await bench.body(request) == body
    assert page.sent < len(body) * 1.3, "next to nothing is fetched twice"


async def test_the_origin_changes_during_the_download(bench: Bench, origin: Origin) -> None:
    page = origin.page("/x.bin", BODY, etag='"1"', drop_at=[300_000] * 4, change_after=600_000)
    page.next_version = Version(OTHER, '"2"')
    request = bench.request(origin.url("/x.bin"))
    assert (await bench.fetch(request)).state is FillState.COMPLETE
    assert await bench.body(request) == OTHER, "one version, not a mixture"


async def test_the_origin_changes_its_size_during_the_download(bench: Bench, origin: Origin) -> None:
    page = origin.page("/x.bin", BODY, drop_at=[300_000] * 4, change_after=600_000)
    page.next_version = Version(SHORTER)
    request = bench.request(origin.url("/x.bin"))
    found = await bench.fetch(request)
    if found.state is FillState.FAILED:
        found = await bench.fetch(request)
    assert found.state is FillState.COMPLETE
    assert await bench.body(request) == SHORTER


async def test_an_origin_that_never_stops_changing(bench: Bench, origin: Origin) -> None:
    page = origin.page("/x.bin", BODY, etag='"0"')
    count = 0

    def change(page: Page) -> None:
        nonlocal count
        count += 1
        page.version = Version(os.urandom(2_000_000), f'"{count}"')

    page.on_get = change
    request = bench.request(origin.url("/x.bin"))
    found = await bench.fetch(request)
    assert outcome(found) == (FillState.FAILED, FailureCode.ORIGIN_CHANGED, Retry.AFRESH)


@pytest.mark.parametrize("validated", [True, False])
async def test_the_origin_changes_while_nothing_is_fetched(bench: Bench, origin: Origin, validated: bool) -> None:
    page = origin.page("/x.bin", BODY, etag='"1"' if validated else None, rate=400_000)
    request = bench.request(origin.url("/x.bin"))
    await bench.engine.add(request)
    await bench.bytes_came(request, 500_000)
    await bench.engine.pause(request.replica_id)
    page.version = Version(OTHER, '"2"') if validated else Version(SHORTER)
    page.rate = None
    await bench.engine.resume(request.replica_id)
    assert (await bench.ended(request)).state is FillState.COMPLETE
    assert await bench.body(request) == page.version.body


async def test_nothing_new_means_the_bytes_are_kept(bench: Bench, origin: Origin) -> None:
    """Without validators, an unchanged length is enough to go on."""
    page = origin.page("/x.bin", BODY, rate=400_000)
    request = bench.request(origin.url("/x.bin"))
    await bench.engine.add(request)
    await bench.bytes_came(request, 1_000_000)
    await bench.engine.pause(request.replica_id)
    page.rate = None
    await bench.engine.resume(request.replica_id)
    await bench.ended(request)
    assert await bench.body(request) == BODY
    assert page.sent < len(BODY) + 300_000


async def test_validators_that_are_gone_are_a_change(bench: Bench, origin: Origin) -> None:
    page = origin.page("/x.bin", BODY, etag='"1"', rate=400_000)
    request = bench.request(origin.url("/x.bin"))
    await bench.engine.add(request)
    await bench.bytes_came(request, 500_000)
    await bench.engine.pause(request.replica_id)
    page.version, page.rate = Version(OTHER), None
    await bench.engine.resume(request.replica_id)
    assert (await bench.ended(request)).state is FillState.COMPLETE
    assert await bench.body(request) == OTHER, "one version, not a mixture"


def expire(page: Page) -> None:
    """From now on a page comes in place of the file, with the status of success."""
    page.version, page.content_type, page.ranges, page.rate = Version(PAGE), "text/html", False, None


async def test_a_link_that_expires_midway_keeps_its_bytes(bench: Bench, origin: Origin) -> None:
    page = origin.page("/x.zip", BODY, etag='"1"', content_type="application/zip", rate=400_000)
    request = bench.request(origin.url("/x.zip"), may_be_page=False)
    await bench.engine.add(request)
    await bench.bytes_came(request, 800_000)
    expire(page)
    origin.drop_all()
    for _ in range(2):
        found = await bench.ended(request)
        assert outcome(found) == (FillState.FAILED, FailureCode.ORIGIN_ERROR, Retry.PASSING)
        assert found.failure is not None
        assert "HTML page" in found.failure.message
        await bench.engine.add(request)
    await bench.ended(request)
    page.version, page.content_type, page.ranges, page.sent = Version(BODY, '"1"'), "application/zip", True, 0
    assert (await bench.fetch(request)).state is FillState.COMPLETE
    assert await bench.body(request) == BODY
    assert page.sent < 1_700_000, "a good part of the bytes is kept"


@pytest.mark.parametrize("may_be_page", [False, True])
async def test_a_page_in_place_of_what_head_promised(bench: Bench, origin: Origin, may_be_page: bool) -> None:
    page = origin.page("/x.zip", PAGE, content_type="text/html")
    page.head_type, page.head_length = "application/zip", len(BODY)
    found = await bench.fetch(bench.request(origin.url("/x.zip"), may_be_page=may_be_page))
    assert outcome(found) == (FillState.FAILED, FailureCode.ORIGIN_ERROR, Retry.PASSING)


async def test_a_page_where_a_file_was_when_the_engine_was_chosen(bench: Bench, origin: Origin) -> None:
    page = origin.page("/get?id=5", BODY, etag='"1"')
    origin.pages["/get"] = page
    expire(page)
    request = bench.request(origin.url("/get?id=5"), may_be_page=False)
    found = await bench.fetch(request)
    assert outcome(found) == (FillState.FAILED, FailureCode.ORIGIN_ERROR, Retry.PASSING)
    assert list(request.directory.iterdir()) == []


@pytest.mark.parametrize(("path", "may_be_page"), [("/about", True), ("/x.html", False)])
async def test_a_page_that_is_what_was_asked_for(bench: Bench, origin: Origin, path: str, may_be_page: bool) -> None:
    origin.page(path, PAGE, content_type="text/html")
    request = bench.request(origin.url(path), may_be_page=may_be_page)
    assert (await bench.fetch(request)).state is FillState.COMPLETE
    assert await bench.body(request) == PAGE


async def test_a_link_that_expires_with_the_last_byte_has_done_its_work(bench: Bench, origin: Origin) -> None:
    page = origin.page("/x.zip", BODY, etag='"1"', content_type="application/zip")
    request = bench.request(origin.url("/x.zip"), may_be_page=False)
    await bench.engine.add(request)
    # nobody asks for the status, so nothing follows aria2's own end
    await until(lambda: sizes(request.directory) == {"file.zip": len(BODY)}, what="aria2 to be done")
    expire(page)
    assert (await bench.ended(request)).state is FillState.COMPLETE
    assert await bench.body(request) == BODY


@pytest.mark.parametrize("length", ["true", "chunked"])
async def test_gzip_on_the_way_is_taken_off(bench: Bench, origin: Origin, length: str) -> None:
    origin.page("/x.txt", b"words " * 50_000, encoding="insist", length=length, etag='"z"')
    request = bench.request(origin.url("/x.txt"))
    found = await bench.fetch(request)
    assert (found.state, found.total) == (FillState.COMPLETE, 300_000)
    assert await bench.body(request) == b"words " * 50_000


async def test_gzip_is_not_asked_for(bench: Bench, origin: Origin) -> None:
    origin.page("/x.txt", b"words " * 50_000, encoding="negotiate")
    request = bench.request(origin.url("/x.txt"))
    assert (await bench.fetch(request)).state is FillState.COMPLETE
    assert await bench.body(request) == b"words " * 50_000
    assert all("gzip" not in seen.headers.get("accept-encoding", "") for seen in origin.requests)


@pytest.mark.parametrize("coding", ["br", "x-gzip", "gzip, br"])
async def test_an_encoding_that_cannot_be_taken_off_is_refused(bench: Bench, origin: Origin, coding: str) -> None:
    origin.page("/x.txt", BODY, encoding="insist", coding=coding)
    found = await bench.fetch(bench.request(origin.url("/x.txt")))
    assert outcome(found) == (FillState.FAILED, FailureCode.UNSUPPORTED, Retry.LASTING)


@pytest.mark.parametrize("length", ["true", "chunked"])
async def test_a_file_of_no_bytes(bench: Bench, origin: Origin, length: str) -> None:
    origin.page("/x.bin", b"", length=length)
    request = bench.request(origin.url("/x.bin"))
    found = await bench.fetch(request)
    assert (found.state, found.total, found.done) == (FillState.COMPLETE, 0, 0)
    assert await bench.body(request) == b""
    assert (await bench.engine.list_files(request.replica_id))[0].finished


@pytest.mark.parametrize("hang", ["headers", "body"])
async def test_a_hung_server_is_given_up_on(tmp_path: Path, origin: Origin, hang: str) -> None:
    async with aria2(tmp_path, stall_timeout=2.0) as bench:
        origin.page("/x.bin", BODY, hang=hang, hang_at=300_000, ranges=False)
        request = bench.request(origin.url("/x.bin"))
        found = await bench.fetch(request, timeout=25)
        assert outcome(found) == (FillState.FAILED, FailureCode.TIMEOUT, Retry.PASSING)


@pytest.mark.parametrize(
    ("header", "name"),
    [
        ('attachment; filename="../../etc/passwd"', "passwd"),
        (r'attachment; filename="..\\..\\evil.exe"', "evil.exe"),
        ("attachment; filename=\"x.bin\"; filename*=UTF-8''na%C3%AFve%20file.mkv", "naïve file.mkv"),
        (f'attachment; filename="{"n" * 400}.mkv"', "n" * 251 + ".mkv"),
        ('attachment; filename=".."', "source.bin"),
        ("nonsense;;;=", "source.bin"),
    ],
)
async def test_a_given_name_is_shown_and_never_used_on_disk(
    bench: Bench, origin: Origin, header: str, name: str
) -> None:
    origin.page("/source.bin", BODY, headers={"Content-Disposition": header})
    request = bench.request(origin.url("/source.bin"))
    found = await bench.fetch(request)
    assert (found.state, found.name) == (FillState.COMPLETE, name)
    assert [p.name for p in bench.base.rglob("*") if p.stat().st_size == len(BODY)] == ["file.bin"]


async def test_credentials_reach_the_origin_and_no_one_else(bench: Bench, origin: Origin) -> None:
    async with Origin() as elsewhere:
        elsewhere.page("/far.bin", BODY)
        origin.page("/x.bin", redirect=elsewhere.url("/far.bin"))
        url = origin.url("/x.bin").replace("http://", "http://user%40home:p%2Fss%3A@")
        request = bench.request(url, options={"header": '["Cookie: a=b", "X-Key: k"]'})
        assert (await bench.fetch(request)).state is FillState.COMPLETE
        assert all(seen.headers["cookie"] == "a=b" for seen in origin.requests)
        for seen in elsewhere.requests:
            assert not {"authorization", "cookie", "x-key"} & set(seen.headers)


async def test_basic_credentials_work_and_are_shown_nowhere(
    bench: Bench, origin: Origin, caplog: pytest.LogCaptureFixture
) -> None:
    page = origin.page("/x.bin", BODY, auth="Basic dXNlckBob21lOnBAc3MvOndvcmQ=", drop_at=[300_000] * 60)
    url = origin.url("/x.bin").replace("http://", "http://user%40home:p%40ss%2F%3Aword@")
    request = bench.request(url)
    with caplog.at_level("DEBUG"):
        found = await bench.fetch(request)
        assert found.state is FillState.COMPLETE, found.failure
        page.auth = "Basic changed"
        denied = await bench.fetch(bench.request(url))
    assert outcome(denied) == (FillState.FAILED, FailureCode.ORIGIN_DENIED, Retry.LASTING)
    for text in (caplog.text, repr(found), repr(denied)):
        assert "ss%2F" not in text
        assert "ss/:word" not in text


@pytest.mark.parametrize("script", [{"ranges": False}, {"etag": '"1"'}])
async def test_cookies_of_one_login_bring_nothing_to_anyone_else(
    bench: Bench, origin: Origin, script: dict[str, Any]
) -> None:
    """aria2c has one jar of cookies for all of its downloads."""
    secret, public = os.urandom(50_000), os.urandom(20_000)
    origin.page("/login", secret, headers={"Set-Cookie": "session=alice; Path=/"}, auth="Basic YTpi")
    mine = bench.request(origin.url("/login"), options={"http-user": "a", "http-password": "b"})
    assert (await bench.fetch(mine)).state is FillState.COMPLETE
    page = origin.page("/export", public, length="chunked", **script)

    def by_cookie(page: Page) -> None:
        known = "session=alice" in origin.requests[-1].headers.get("cookie", "")
        page.version = Version(secret if known else public, page.version.etag)

    page.on_request = by_cookie
    request = bench.request(origin.url("/export"))
    done = await ended_though_aria2_ends(bench, request)
    assert (done.state, await bench.body(request)) == (FillState.COMPLETE, public)


async def test_who_is_logged_in_is_waited_for(bench: Bench, origin: Origin) -> None:
    origin.page("/login", BODY, auth="Basic YTpi", rate=100_000)
    mine = bench.request(origin.url("/login"), options={"http-user": "a", "http-password": "b"})
    await bench.engine.add(mine)
    await bench.bytes_came(mine, 1)
    pid = bench.pid
    origin.page("/export", BODY, length="chunked")
    done = await bench.fetch(bench.request(origin.url("/export")))
    assert done.failure is not None
    assert (done.failure.retry, done.failure.retry_after) == (Retry.PASSING, Seconds(30))
    assert bench.pid == pid


async def test_options_reach_the_origin(bench: Bench, origin: Origin) -> None:
    origin.page("/x.bin", BODY)
    options = {"user-agent": "Ours/1", "referer": "http://ref.invalid/", "header": "X-One: 1"}
    await bench.fetch(bench.request(origin.url("/x.bin"), options=options))
    for seen in origin.requests:
        assert seen.headers["user-agent"] == "Ours/1"
        assert seen.headers["referer"] == "http://ref.invalid/"
        assert seen.headers["x-one"] == "1"


async def test_nothing_listens_there(bench: Bench) -> None:
    found = await bench.fetch(bench.request("http://127.0.0.1:1/x.bin"))
    assert outcome(found) == (FillState.FAILED, FailureCode.NETWORK, Retry.PASSING)


async def test_a_directory_that_is_gone_is_not_made_again(bench: Bench, origin: Origin) -> None:
    origin.page("/x.bin", BODY)
    request = bench.request(origin.url("/x.bin"))
    request.directory.rmdir()
    found = await bench.fetch(request)
    assert outcome(found) == (FillState.FAILED, FailureCode.STORAGE, Retry.PASSING)
    assert not request.directory.exists()


async def kill_aria2(bench: Bench) -> None:
    """Returns when a new one runs."""
    daemon = bench.engine._downloads.daemon
    assert daemon is not None
    generation = daemon.generation
    os.kill(bench.pid, signal.SIGKILL)
    await until(lambda: daemon.running and daemon.generation > generation, what="aria2c to be restarted")


async def test_kill_9_of_aria2_at_60_percent_loses_next_to_nothing(bench: Bench, origin: Origin) -> None:
    body = os.urandom(6_000_000)
    page = origin.page("/x.bin", body, etag='"1"', rate=600_000)
    request = bench.request(origin.url("/x.bin"))
    handle = await bench.engine.add(request)
    await bench.bytes_came(request, len(body) * 6 // 10)
    await kill_aria2(bench)
    assert request.replica_id not in await bench.engine.statuses(), "what a new aria2c does not work on is absent"
    sent, page.rate = page.sent, None
    assert await bench.engine.recover(handle, request) == handle
    assert (await bench.ended(request)).state is FillState.COMPLETE
    assert await bench.body(request) == body
    # the rest, and what came after aria2 last noted what it had, which it does once a second
    assert page.sent - sent <= len(body) * 4 // 10 + 2 * 600_000
    assert len(origin.seen("/x.bin", "GET")) < 20


async def test_the_end_comes_between_the_last_byte_and_the_comparison(bench: Bench, origin: Origin) -> None:
    page = origin.page("/x.bin", BODY, etag='"1"')
    request = bench.request(origin.url("/x.bin"))
    handle = await bench.engine.add(request)
    # nobody asks for the status, so nothing follows aria2's own end
    await until(lambda: sizes(request.directory) == {"file.bin": len(BODY)}, what="aria2 to be done")
    await bench.restart()
    sent = page.sent
    await bench.engine.recover(handle, request)
    assert (await bench.ended(request)).state is FillState.COMPLETE
    assert await bench.body(request) == BODY
    assert page.sent == sent, "nothing is fetched again"


async def test_bytes_of_unknown_origin_are_not_believed(bench: Bench, origin: Origin) -> None:
    origin.page("/x.bin", BODY, etag='"1"')
    request = bench.request(origin.url("/x.bin"))
    (request.directory / "file.bin").write_bytes(OTHER)
    assert (await bench.fetch(request)).state is FillState.COMPLETE
    assert await bench.body(request) == BODY


async def test_a_complete_file_that_was_cut_is_fetched_again(bench: Bench, origin: Origin) -> None:
    origin.page("/x.bin", BODY, etag='"1"')
    request = bench.request(origin.url("/x.bin"))
    await bench.fetch(request)
    os.truncate(request.directory / "file.bin", 1000)
    assert (await bench.fetch(request)).state is FillState.COMPLETE
    assert await bench.body(request) == BODY


async def test_secrets_and_sources_stay_out_of_argv_and_environment(bench: Bench, origin: Origin) -> None:
    origin.page("/secret-path.bin", BODY, rate=200_000)
    request = bench.request(origin.url("/secret-path.bin"))
    await bench.engine.add(request)
    await bench.bytes_came(request, 1)
    conf = (bench.state_dir / "aria2.conf").read_text()
    assert (bench.state_dir / "aria2.conf").stat().st_mode & 0o777 == 0o600
    secret = re.search(r"^rpc-secret=([0-9a-f]{64})$", conf, re.M)
    assert secret is not None
    shown = proc(bench.pid, "cmdline") + proc(bench.pid, "environ")
    assert secret[1].encode() not in shown
    assert b"secret-path" not in shown
    environment = {e.split(b"=")[0] for e in proc(bench.pid, "environ").split(b"\0") if e}
    assert environment <= {b"PATH", b"HOME", b"LANG"}


async def test_the_rpc_port_is_for_those_who_know_the_secret(bench: Bench) -> None:
    import aiohttp

    port = int(re.findall(r"rpc-listen-port=(\d+)", (bench.state_dir / "aria2.conf").read_text())[0])
    call = {"jsonrpc": "2.0", "id": "1", "method": "aria2.getVersion", "params": []}
    async with aiohttp.ClientSession() as session:
        for params in ([], ["token:"], ["token:guess"]):
            async with session.post(f"http://127.0.0.1:{port}/jsonrpc", json={**call, "params": params}) as answer:
                assert "Unauthorized" in await answer.text()
    listening = [
        row.split()[1]
        for table in ("tcp", "tcp6")
        for row in proc("net", table).decode().splitlines()[1:]
        if row.split()[3] == "0A" and row.split()[1].endswith(f":{port:04X}")
    ]
    assert set(listening) <= {f"0100007F:{port:04X}", f"00000000000000000000000001000000:{port:04X}"}


async def test_descriptors_do_not_leak(bench: Bench, origin: Origin) -> None:
    origin.page("/x.bin", BODY, rate=1_000_000)

    def open_now() -> int:
        return sum(len(list(Path(f"/proc/{pid}/fd").iterdir())) for pid in (os.getpid(), bench.pid))

    async def cycle() -> None:
        request = bench.request(origin.url("/x.bin"))
        await bench.engine.add(request)
        await bench.engine.statuses()
        await bench.engine.remove(request.replica_id)
        request.directory.joinpath("x").touch()

    for _ in range(20):
        await cycle()
    before = open_now()
    for _ in range(60):
        await cycle()
    assert open_now() <= before + 10


async def test_a_probe_tells_name_size_and_type(bench: Bench, origin: Origin) -> None:
    origin.page("/x", BODY, content_type="video/mp4", headers={"Content-Disposition": 'inline; filename="a.mp4"'})
    found = await bench.engine.probe(parse_source(origin.url("/x")), {}, torrent=None, deadline=Seconds(60))
    assert (found.name, found.size, found.files[0].content_type) == ("a.mp4", len(BODY), "video/mp4")
    assert origin.pages["/x"].sent == 0


async def test_a_control_file_that_a_full_disk_spoilt_is_mended(bench: Bench, origin: Origin) -> None:
    """aria2 leaves an empty one behind when the disk fills up."""
    page = origin.page("/x.bin", BODY, etag='"1"', rate=250_000)
    request = bench.request(origin.url("/x.bin"))
    await bench.engine.add(request)
    await bench.bytes_came(request, 1_000_000)
    await bench.engine.pause(request.replica_id)
    control = request.directory / "file.bin.aria2"
    control.write_bytes(b"")
    sent, page.rate = page.sent, None
    await bench.engine.resume(request.replica_id)
    assert (await bench.ended(request)).state is FillState.COMPLETE
    assert await bench.body(request) == BODY
    assert page.sent - sent < 1_700_000, "a good part of the bytes is kept"


async def test_a_spoilt_control_file_after_a_restart_costs_the_bytes_and_nothing_else(
    bench: Bench, origin: Origin
) -> None:
    page = origin.page("/x.bin", BODY, etag='"1"', rate=400_000)
    request = bench.request(origin.url("/x.bin"))
    handle = await bench.engine.add(request)
    await bench.bytes_came(request, 500_000)
    await bench.restart()
    (request.directory / "file.bin.aria2").write_bytes(b"\0\1\0\0")
    page.rate = None
    await bench.engine.recover(handle, request)
    assert (await bench.ended(request)).state is FillState.COMPLETE
    assert await bench.body(request) == BODY


async def test_the_kind_of_a_url_is_told(bench: Bench, origin: Origin) -> None:
    origin.page("/page", b"<html>", content_type="Text/HTML; charset=utf-8", head=405)
    origin.page("/file", BODY, content_type="video/mp4")
    for path, kind in (("/page", "text/html"), ("/file", "video/mp4")):
        # options of the other engine, which it may turn out to be for
        options = {"format": "best", "subtitles": "en", "header": "X-A: b"}
        found = await bench.engine.sniff(parse_source(origin.url(path)), options, deadline=Seconds(60))
        assert (found.content_type, found.size) == (kind, len(origin.pages[path].version.body))
    with pytest.raises(EngineFailed) as caught:
        await bench.engine.sniff(parse_source(origin.url("/gone")), {}, deadline=Seconds(60))
    failure = failure_of(caught.value)
    assert failure is not None
    assert failure.code is FailureCode.ORIGIN_GONE
    origin.page("/hung", BODY, hang="headers")
    with pytest.raises(DeadlineExceeded):
        await bench.engine.sniff(parse_source(origin.url("/hung")), {}, deadline=Seconds(0.3))


async def test_the_end_of_a_download_is_news(bench: Bench, origin: Origin) -> None:
    origin.page("/x.bin", BODY, etag='"1"')
    for path, state in (("/x.bin", FillState.COMPLETE), ("/missing.bin", FillState.FAILED)):
        before, request = bench.news, bench.request(origin.url(path))
        assert (await bench.fetch(request)).state is state
        await until(lambda before=before: bench.news > before, what="news")  # type: ignore[misc]


async def test_aria2_itself_says_that_a_download_has_ended(bench: Bench, origin: Origin) -> None:
    """Nobody asks for the status here: what comes is aria2's own word. Also from one that was started anew."""
    origin.page("/x.bin", BODY, etag='"1"')
    for _ in range(2):
        before = bench.news

        async def told(before: int = before) -> bool:
            await bench.engine.add(bench.request(origin.url("/x.bin")))
            return bench.news > before

        await until(told, every=0.5, what="news")
        await kill_aria2(bench)
