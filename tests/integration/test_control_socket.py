"""The control API on a Unix socket: the promises of stack.md section 2, against clients that do not behave."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import inspect
import json
import os
import random
from collections.abc import AsyncGenerator, AsyncIterator
from dataclasses import replace
from datetime import timedelta
from importlib.metadata import version
from pathlib import Path
from typing import Any, TypeVar
from unittest.mock import patch

import pytest
import structlog
from grpclib import protocol
from grpclib import server as grpclib_server
from grpclib.client import Channel
from grpclib.config import Configuration
from grpclib.const import Cardinality, Status
from grpclib.encoding.base import CodecBase
from grpclib.exceptions import GRPCError, StreamTerminatedError
from h2.events import StreamReset
from odproto import API_MAJOR
from odproto.error_codes import ERROR_METADATA_KEY
from odproto.gen.opendebrid.common import v1 as common
from odproto.gen.opendebrid.control import v1 as pb

from oddaemon import __version__
from oddaemon.api.control import server as control_server
from oddaemon.api.control.calls import LOOKING, request_id
from oddaemon.api.control.streams import CAPACITY
from oddaemon.api.control.watch import BACKLOG
from oddaemon.app.given import BadSettings, Mistake
from oddaemon.domain.errors import OpenDebridError
from oddaemon.domain.events import JobChanged, JobProgress
from oddaemon.domain.types import Bytes, JobNumber
from oddaemon.domain.user import Principal
from oddaemon.ports.log_book import LogLine
from oddaemon.rpc import connection
from oddaemon.services.status import StatusService
from tests.support.control import KEPT, Desk, desk
from tests.support.http2 import raw_client
from tests.support.wait import until

URL = "http://sim.invalid/{}.bin"
SLOW = {"size": "1000000", "rate": "1000"}
SECONDS = 60.0
T = TypeVar("T")


@pytest.fixture
async def served(tmp_path: Path) -> AsyncIterator[Desk]:
    async with desk(tmp_path) as built:
        yield built


@contextlib.asynccontextmanager
async def stub(served: Desk) -> AsyncIterator[pb.ControlServiceStub]:
    async with served.client() as client:
        yield client


class Raw(CodecBase):
    """Bytes as they are."""

    __content_subtype__ = "proto"

    def encode(self, message: Any, message_type: Any) -> bytes:
        return bytes(message)

    def decode(self, data: bytes, message_type: Any) -> Any:
        return data


async def raw_call(channel: Channel, path: str, body: bytes, trailing: dict[str, Any] | None = None) -> list[bytes]:
    """The answers of one call with any bytes as its message; `trailing` takes its trailing metadata. Raises
    GRPCError."""
    async with asyncio.timeout(SECONDS):
        async with channel.request(path, Cardinality.UNARY_STREAM, bytes, bytes, timeout=SECONDS) as stream:
            try:
                await stream.send_message(body, end=True)
                answers = [answer async for answer in stream]
                await stream.recv_trailing_metadata()
            finally:
                if trailing is not None:
                    trailing.update(stream.trailing_metadata or {})
    return answers


async def framed(channel: Channel, data: bytes) -> None:
    """A call whose body is `data`, without gRPC's own framing. Raises GRPCError."""
    async with asyncio.timeout(SECONDS):
        async with channel.request(path_of("ListJobs"), Cardinality.UNARY_UNARY, bytes, bytes) as stream:
            await stream.send_request()
            await stream._stream.send_data(data, end_stream=True)
            stream._end_done = True
            await stream.recv_initial_metadata()
            await stream.recv_trailing_metadata()


def path_of(method: str) -> str:
    return f"/opendebrid.control.v1.ControlService/{method}"


def methods() -> dict[str, Any]:
    """Every route of every service."""
    services = (pb.ControlServiceBase(), pb.AccountServiceBase(), pb.AdminServiceBase())
    return {path: route for service in services for path, route in service.__mapping__().items()}


async def add(client: pb.ControlServiceStub, count: int, **item: Any) -> list[int]:
    start = random.randrange(10**9)
    items = [pb.AddItem(source=URL.format(start + n), engine="simulated", **item) for n in range(count)]
    answer = await client.add_jobs(pb.AddJobsRequest(items=items), timeout=SECONDS)
    assert all(result.error is None for result in answer.results), answer
    return [result.job.id for result in answer.results if result.job is not None]


# who may call, and what


async def test_a_stranger_is_refused_and_told_why(tmp_path: Path) -> None:
    async with desk(tmp_path, uid=12345, own_uid=1000) as built, built.client() as client:
        for call in (
            client.hello(pb.HelloRequest()), client.list_jobs(pb.ListJobsRequest()),
            pb.AdminServiceStub(client.channel).shutdown(pb.ShutdownRequest()),
        ):  # fmt: skip
            with pytest.raises(GRPCError) as caught:
                await call
            assert caught.value.status is Status.PERMISSION_DENIED
            assert "12345" in (caught.value.message or "")
        with pytest.raises(GRPCError) as caught:
            await collect(client.watch(pb.WatchRequest()))
        assert caught.value.status is Status.PERMISSION_DENIED


async def test_a_uid_of_another_namespace_proves_nothing(tmp_path: Path) -> None:
    async with desk(tmp_path, uid=65534, own_uid=1000) as built, built.client() as client:
        with pytest.raises(GRPCError) as caught:
            await client.hello(pb.HelloRequest())
        assert caught.value.status is Status.UNAUTHENTICATED


async def test_the_uid_is_the_kernel_s(served: Desk) -> None:
    async with stub(served) as client:
        hello = await client.hello(pb.HelloRequest(api_major=API_MAJOR, api_minor=999))
    assert (hello.role, hello.auth, hello.user, hello.epoch) == ("admin", "peercred", "admin", "epoch")


async def test_another_major_is_told_both_versions(served: Desk) -> None:
    async with stub(served) as client:
        with pytest.raises(GRPCError) as caught:
            await client.hello(pb.HelloRequest(api_major=API_MAJOR + 1))
    assert caught.value.status is Status.UNIMPLEMENTED
    assert str(API_MAJOR + 1) in (caught.value.message or "")


async def test_the_log_says_who_changed_something(served: Desk, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO", logger="oddaemon.api"):
        async with stub(served) as client:
            await client.hello(pb.HelloRequest())
            await client.list_jobs(pb.ListJobsRequest())
            await add(client, 2, paused=True)
            with pytest.raises(GRPCError):
                await pb.AdminServiceStub(client.channel).set_settings(pb.SetSettingsRequest(values={"no.such": "1"}))
    told = [
        (record.__dict__["method"], record.__dict__["user"], record.__dict__["uid"], record.__dict__["pid"])
        for record in caplog.records
        if record.__dict__.get("action") == "call"
    ]
    mine = (served.home.admin.username, os.geteuid(), os.getpid())
    assert told == [("AddJobs", *mine), ("SetSettings", *mine)]


def test_what_only_looks_and_what_changes_something_is_told_apart() -> None:
    changing = {path.rpartition("/")[2] for path in methods() if not path.rpartition("/")[2].startswith(LOOKING)}
    assert changing == {
        "AddJobs", "PauseJobs", "ResumeJobs", "CancelJobs", "RetryJobs", "RemoveJobs", "SetJobs", "SelectFiles",
        "CreateLinks", "RevokeLinks", "PinCache", "RemoveCache", "CleanupCache", "CopyCache",
        "SetSettings", "UnsetSettings", "Reload",
        "Shutdown", "Login", "Register", "Logout", "SetOwnPassword", "RevokeEverything", "CreateApiKey",
        "RotateApiKey", "RevokeApiKey", "AddUser", "SetUserPassword", "SetUserRole", "SetUserActive", "RemoveUser",
        "LinkUser", "SetUserLimits", "InviteUser", "RevokeInvitation", "EndSession", "RotateSecret",
        "SetNode", "RemoveNode", "CreateNodeToken", "RevokeNodeToken",
    }  # fmt: skip


async def test_lines_of_one_call_carry_its_id(served: Desk) -> None:
    seen: list[dict[str, Any]] = []

    async def spied(self: StatusService, who: Any) -> Any:
        seen.append({**structlog.contextvars.get_contextvars(), "id": request_id()})
        return await real(self, who)

    real = StatusService.status
    with patch.object(StatusService, "status", spied):
        async with stub(served) as client:
            await asyncio.gather(*(client.get_status(pb.GetStatusRequest()) for _ in range(3)))
    assert [bound["request"] for bound in seen] == [bound["id"] for bound in seen]
    assert len({bound["id"] for bound in seen}) == 3
    assert "request" not in structlog.contextvars.get_contextvars()


# limits


async def test_three_hundred_watchers_leave_room_for_calls(served: Desk) -> None:
    async with stub(served) as client, contextlib.AsyncExitStack() as stack:
        await add(client, 3, paused=True)
        watching = []
        for _ in range(300):
            stream = client.watch(pb.WatchRequest(interval_ms=1000))
            watching.append(await stack.enter_async_context(closing(stream)))
        firsts = await asyncio.wait_for(asyncio.gather(*(anext(stream) for stream in watching)), 60)
        assert all(first.snapshot is not None and first.snapshot.total == 3 for first in firsts)
        await asyncio.wait_for(client.list_jobs(pb.ListJobsRequest()), 60)
        (number,) = await asyncio.wait_for(add(client, 1, paused=True), 60)

        async def hears(stream: AsyncIterator[pb.WatchResponse]) -> None:
            while number not in (await anext(stream)).order:
                pass

        await asyncio.wait_for(asyncio.gather(*(hears(stream) for stream in watching)), 60)
    await until(lambda: served.gate.running == 0, what="no call to be in flight")


async def test_a_message_over_the_limit_is_refused_and_the_connection_goes_on(served: Desk) -> None:
    async with stub(served) as client:
        await client.hello(pb.HelloRequest())
        with pytest.raises((GRPCError, StreamTerminatedError)) as caught:
            async with asyncio.timeout(SECONDS):
                await client.probe(pb.ProbeRequest(torrent=bytes(20 << 20)))
        assert isinstance(caught.value, GRPCError), caught.value
        assert caught.value.status is Status.RESOURCE_EXHAUSTED
        for _ in range(3):
            await client.hello(pb.HelloRequest(), timeout=SECONDS)
        assert served.server.connections == 1


async def test_more_than_two_hundred_items_are_refused(served: Desk) -> None:
    async with stub(served) as client:
        items = [pb.AddItem(source=URL.format(n), engine="simulated") for n in range(201)]
        with pytest.raises(GRPCError) as caught:
            await client.add_jobs(pb.AddJobsRequest(items=items))
        assert caught.value.status is Status.INVALID_ARGUMENT
        with pytest.raises(GRPCError) as caught:
            await client.add_jobs(pb.AddJobsRequest())
        assert caught.value.status is Status.INVALID_ARGUMENT
        assert (await client.list_jobs(pb.ListJobsRequest())).total == 0


async def test_one_bad_item_does_not_keep_the_others_out(served: Desk) -> None:
    async with stub(served) as client:
        answer = await client.add_jobs(
            pb.AddJobsRequest(
                items=[
                    pb.AddItem(source=URL.format("a"), engine="simulated", paused=True),
                    pb.AddItem(source="file:///etc/passwd\x1b[2J\u202e"),
                    pb.AddItem(source=URL.format("b"), engine="simulated", paused=True),
                ]
            )
        )
    assert [result.error is None for result in answer.results] == [True, False, True]
    error = answer.results[1].error
    assert error is not None
    assert error.code == "INVALID_SOURCE"
    assert (error.message + error.hint).isprintable()


async def test_a_filter_leaves_out_the_jobs_that_a_verb_is_not_for(served: Desk) -> None:
    async with stub(served) as client:
        sources = [pb.AddItem(source=URL.format(name), engine="simulated", paused=True) for name in "abc"]
        await client.add_jobs(pb.AddJobsRequest(items=sources))
        await client.cancel_jobs(pb.CancelJobsRequest(selector=ids(1)))
        everything = pb.JobSelector(all=True)
        planned = await client.cancel_jobs(pb.CancelJobsRequest(selector=everything, dry_run=True))
        assert [(result.id, result.error) for result in planned.results] == [("2", None), ("3", None)]
        paused = await client.pause_jobs(pb.PauseJobsRequest(selector=pb.JobSelector(filter="state=queued,cancelled")))
        assert paused.results == [], "they are paused already, or cancelled"
        retried = await client.retry_jobs(pb.RetryJobsRequest(selector=everything, dry_run=True))
        assert [(result.id, result.error) for result in retried.results] == [("1", None)]
        named = await client.retry_jobs(pb.RetryJobsRequest(selector=ids(1, 2), dry_run=True))
        assert [result.error and result.error.code for result in named.results] == [None, "WRONG_STATE"]


async def test_a_reload_of_bad_settings_says_what_is_wrong(served: Desk) -> None:
    def reload() -> tuple[list[str], list[str]]:
        raise BadSettings([Mistake("a.toml:3", "no such key"), Mistake("a.toml:4", "not a number")])

    object.__setattr__(served.parts, "reload", reload)
    async with served.channel() as channel:
        with pytest.raises(GRPCError) as caught:
            await pb.AdminServiceStub(channel).reload(pb.ReloadRequest())
    assert caught.value.status is Status.INVALID_ARGUMENT
    assert "a.toml:3: no such key (and 1 more)" in (caught.value.message or "")


async def test_long_answers_are_whole_and_in_order(served: Desk) -> None:
    async with stub(served) as client:
        numbers = [number for _ in range(2) for number in await add(client, 150, paused=True)]
        wanted = [str(number) for number in reversed(numbers)]
        answer = await client.get_jobs(
            pb.GetJobsRequest(selector=pb.JobSelector(ids=[*wanted, "99999"]), with_files=True), timeout=SECONDS
        )
        assert [detail.id for detail in answer.jobs] == [*wanted, "99999"]
        assert [detail.job.id for detail in answer.jobs if detail.job is not None] == numbers[::-1]
        error = answer.jobs[-1].error
        assert error is not None
        assert error.code == "NOT_FOUND"
        page = await client.list_jobs(pb.ListJobsRequest(sort="id", limit=200))
        assert [job.id for job in page.jobs] == numbers[:200]
        selector = pb.JobSelector(all=True)
        changed = await client.set_jobs(pb.SetJobsRequest(selector=selector, changes=["priority=3"]), timeout=SECONDS)
        assert [result.job.priority for result in changed.results if result.job is not None] == [3] * len(numbers)


@pytest.mark.parametrize("seconds", [-1.0, float("nan"), float("inf"), 1e300])
async def test_a_pause_has_a_length_that_exists(served: Desk, seconds: float) -> None:
    async with stub(served) as client:
        (number,) = await add(client, 1, options=SLOW)
        with pytest.raises(GRPCError) as caught:
            await client.pause_jobs(pb.PauseJobsRequest(selector=pb.JobSelector(ids=[str(number)]), for_s=seconds))
        assert caught.value.status is Status.INVALID_ARGUMENT


# what is no request


@pytest.mark.parametrize(
    "junk",
    [
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        bytes(range(256)) * 64,
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\xff" * ((1 << 24) + 100),  # a frame of 16 MiB
    ],
    ids=["http/1.1", "bytes", "frame"],
)
async def test_junk_on_the_socket_ends_that_connection_only(served: Desk, junk: bytes) -> None:
    async with stub(served) as client:
        await client.hello(pb.HelloRequest())
        reader, writer = await asyncio.open_unix_connection(str(served.path))
        try:
            writer.write(junk)
            with contextlib.suppress(ConnectionError):
                await asyncio.wait_for(reader.read(), SECONDS)
        finally:
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()
        await client.hello(pb.HelloRequest(), timeout=SECONDS)
        await until(lambda: served.server.connections == 1)


async def test_an_unknown_frame_is_ignored(served: Desk) -> None:
    async with stub(served) as client:
        await client.hello(pb.HelloRequest())
        protocol = await client.channel.__connect__()
        # length 1, type 0x7a, no flags, stream 0 (RFC 9113 section 4.1)
        protocol.connection._transport.write(b"\x00\x00\x01\x7a\x00\x00\x00\x00\x00x")
        await client.hello(pb.HelloRequest(), timeout=SECONDS)
        assert served.server.connections == 1


async def test_any_bytes_get_an_answer(served: Desk, caplog: pytest.LogCaptureFixture) -> None:
    """No body of whatever kind makes a call hang, and none is an error of ours."""
    chance = random.Random(7)
    allowed = {
        Status.OK, Status.INVALID_ARGUMENT, Status.NOT_FOUND, Status.FAILED_PRECONDITION, Status.UNIMPLEMENTED,
        Status.RESOURCE_EXHAUSTED, Status.DEADLINE_EXCEEDED,
    }  # fmt: skip
    streams = {"Watch", "Events", "Logs"}
    async with served.channel() as channel:
        channel._codec = Raw()
        for path, route in methods().items():
            name = path.rpartition("/")[2]
            for body in bodies(chance, route.request_type):
                status = Status.OK
                try:
                    if name in streams:
                        await first_answer(channel, path, body)
                    else:
                        await raw_call(channel, path, body)
                except GRPCError as error:
                    status = error.status
                assert status in allowed, (path, body, status)
    assert not [record for record in caplog.records if record.levelname == "ERROR"], caplog.text


def bodies(chance: random.Random, kind: Any) -> list[bytes]:
    """Bytes that are nearly, or not at all, a message."""
    numbers = [meta.number for meta in kind()._betterproto.meta_by_field_name.values()] or [1]
    found = [b"\xff" * 20, b"\x0a\xff\xff\xff\xff\x0f", b"\x0b"]
    for number in numbers:
        found += [
            bytes([number << 3 & 0x7F | 0, 5]),
            bytes([number << 3 & 0x7F | 1]) + b"\x00\x00\x00\x00\x00\x00\xf0\x7f",
            bytes([number << 3 & 0x7F | 2, 2]) + b"\xff\xfe",
            bytes([number << 3 & 0x7F | 5]) + b"\xff\xff\xff\xff",
            bytes([number << 3 & 0x7F | 0]) + b"\xff" * 9 + b"\x01",
        ]
    found += [chance.randbytes(chance.randrange(1, 60)) for _ in range(8)]
    return found


async def first_answer(channel: Channel, path: str, body: bytes) -> bytes | None:
    async with asyncio.timeout(SECONDS):
        async with channel.request(path, Cardinality.UNARY_STREAM, bytes, bytes, timeout=SECONDS) as stream:
            await stream.send_message(body, end=True)
            receiving = asyncio.ensure_future(stream.recv_message())
            done, _ = await asyncio.wait({receiving}, timeout=0.05)
            if not done:
                receiving.cancel()
                await asyncio.wait({receiving})
                await stream.cancel()
                return None
            answer = receiving.result()
            if answer is None:
                await stream.recv_trailing_metadata()
            else:
                await stream.cancel()
            return answer


async def test_a_field_of_the_wrong_type_is_named(served: Desk) -> None:
    async with served.channel() as channel:
        channel._codec = Raw()
        with pytest.raises(GRPCError) as caught:
            await raw_call(channel, path_of("Probe"), b"\x08\x05")  # source, as a number
    assert caught.value.status is Status.INVALID_ARGUMENT
    assert "source" in (caught.value.message or "")


async def test_a_call_without_a_message_and_a_truncated_one(served: Desk) -> None:
    async with served.channel() as channel:
        for body in (b"", b"\x00\x00\x00\x00\x09abc", b"\x01\x00\x00\x00\x00", b"\x00\x00"):
            with pytest.raises(GRPCError) as caught:
                await framed(channel, body)
            assert caught.value.status is Status.INVALID_ARGUMENT, body


async def test_headers_that_are_no_call_do_not_hang(served: Desk) -> None:
    async with raw_client(served.path) as client:
        stream = await client.open(path_of("ListJobs"), b"", ("x-bin", "!a"))
        assert isinstance(await client.until_over(stream), StreamReset)
    async with stub(served) as calls:
        await calls.hello(pb.HelloRequest(), timeout=SECONDS)


# watch


async def test_watch_tells_a_snapshot_then_changes_then_departures(served: Desk) -> None:
    async with stub(served) as client:
        first, second = await add(client, 2, paused=True)
        async with closing(client.watch(pb.WatchRequest(interval_ms=100, sort="id"))) as stream:
            page = Mirror()
            await page.until(stream, lambda: page.order == [first, second] and page.total == 2)
            assert page.answers[0].snapshot is not None
            await client.set_jobs(pb.SetJobsRequest(selector=ids(first), changes=["name=new", "tags+=a"]))
            await page.until(stream, lambda: page.jobs[first].name == "new" and page.jobs[first].tags == ["a"])
            patch = next(patch for answer in page.answers for patch in answer.patches if "name" in patch.fields)
            assert patch.id == first
            assert "source" not in patch.fields
            await client.set_jobs(pb.SetJobsRequest(selector=ids(first), changes=["tags-=a"]))
            await page.until(stream, lambda: page.jobs[first].tags == [])
            (third,) = await add(client, 1, paused=True)
            await page.until(stream, lambda: page.order == [first, second, third] and page.total == 3)
            await client.remove_jobs(pb.RemoveJobsRequest(selector=ids(first)))
            await page.until(stream, lambda: page.order == [second, third] and page.total == 2)
            # what a URL names is found meanwhile, and changes a job by itself: nothing moves after it
            await page.until(stream, lambda: all(job.cache_key for job in page.jobs.values()))
            revisions = [answer.rev for answer in page.answers]
            assert revisions == sorted(revisions)
            listed = await client.list_jobs(pb.ListJobsRequest(sort="id"))
            assert list(page.jobs.values()) == listed.jobs


async def test_a_reader_that_comes_back_is_told_what_differs_from_what_it_has(served: Desk) -> None:
    async with stub(served) as client:
        numbers = await add(client, 4, paused=True)
        await client.cancel_jobs(pb.CancelJobsRequest(selector=ids(*numbers[:3])))
        first, second, third, held = numbers

        async def returning(epoch: str, known: dict[int, int]) -> pb.Snapshot:
            request = pb.WatchRequest(sort="id", epoch=epoch, known=list(known), known_revs=list(known.values()))
            async with closing(client.watch(request)) as stream:
                answer = await anext(stream)
            assert answer.snapshot is not None
            return answer.snapshot

        whole = await returning("", {})
        assert [job.id for job in whole.jobs] == numbers
        assert not whole.order
        has = {job.id: job.rev for job in whole.jobs}
        # what may change without a revision is told again whoever says that it is known
        again = await returning(served.parts.epoch, has)
        assert ([job.id for job in again.jobs], again.order, again.total) == ([held], numbers, 4)
        await client.set_jobs(pb.SetJobsRequest(selector=ids(second), changes=["name=new"]))
        await client.remove_jobs(pb.RemoveJobsRequest(selector=ids(third)))
        changed = await returning(served.parts.epoch, has)
        assert [job.id for job in changed.jobs] == [second, held]
        assert (changed.order, changed.total) == ([first, second, held], 3)
        # of another daemon, or of the same one before it was started again
        other = await returning("another", has)
        assert ([job.id for job in other.jobs], other.order) == ([first, second, held], [])
        for known, revs in (([1, 2], [1]), (list(range(1001)), list(range(1001)))):
            with pytest.raises(GRPCError) as caught:
                await collect(client.watch(pb.WatchRequest(known=known, known_revs=revs)))
            assert caught.value.status is Status.INVALID_ARGUMENT


async def test_a_page_in_the_order_of_bytes_moves_with_the_bytes(served: Desk) -> None:
    store, now = served.home.store, served.parts.clock.now()
    async with stub(served) as client:
        first, second = await add(client, 2, paused=True)
        async with closing(client.watch(pb.WatchRequest(interval_ms=100, sort="!done"))) as stream:
            page = Mirror()
            await page.until(stream, lambda: page.order == [first, second])
            (job,) = await store.read(lambda tx: tx.jobs.by_numbers([second]))
            await store.write(lambda tx: tx.jobs.update(replace(job, done=Bytes(5))))
            served.home.bus.publish([JobProgress(at=now, job_number=JobNumber(second))])
            await page.until(stream, lambda: page.order == [second, first])


async def test_watch_by_selector_sees_those_jobs_alone(served: Desk) -> None:
    async with stub(served) as client:
        first, second = await add(client, 2, paused=True)
        request = pb.WatchRequest(interval_ms=100, selector=ids(second))
        async with closing(client.watch(request)) as stream:
            page = Mirror()
            await page.until(stream, lambda: page.order == [second])
            await client.set_jobs(pb.SetJobsRequest(selector=ids(first), changes=["name=other"]))
            await client.resume_jobs(pb.ResumeJobsRequest(selector=ids(second)))
            await page.until(stream, lambda: page.jobs[second].state == common.JobState.COMPLETED)
            assert set(page.jobs) == {second}
            assert page.jobs[second].progress == 1.0


async def test_watch_tells_the_fields_that_were_asked_for_and_what_tells_jobs_apart(served: Desk) -> None:
    async with stub(served) as client:
        (number,) = await add(client, 1, paused=True)
        request = pb.WatchRequest(interval_ms=100, fields=["name"])
        async with closing(client.watch(request)) as stream:
            page = Mirror()
            await page.until(stream, lambda: page.order == [number])
            told = page.jobs[number]
            assert (told.id, told.name != "", told.state) == (number, True, common.JobState.QUEUED)
            assert (told.uuid, told.source, told.created_at) == ("", "", None)
            await client.set_jobs(pb.SetJobsRequest(selector=ids(number), changes=["name=new", "tags+=a"]))
            await page.until(stream, lambda: page.jobs[number].name == "new")
            assert page.jobs[number].tags == []
        with pytest.raises(GRPCError) as caught:
            async with closing(client.watch(pb.WatchRequest(fields=["colour"]))) as stream:
                await anext(stream)
        assert caught.value.status is Status.INVALID_ARGUMENT


async def test_a_filter_that_does_not_parse_comes_with_details(served: Desk) -> None:
    async with served.channel() as channel:
        channel._codec = Raw()
        for name, body in (
            ("Watch", bytes(pb.WatchRequest(filter="state=queued stat=x"))),
            ("Watch", bytes(pb.WatchRequest(selector=pb.JobSelector(filter="stat=x")))),
            ("ListJobs", bytes(pb.ListJobsRequest(filter="state=queued stat=x"))),
            ("ListJobs", bytes(pb.ListJobsRequest(sort="siz\x1be"))),
            ("ListJobs", bytes(pb.ListJobsRequest(filter="name~/(" + "\u202e" * 9_000))),
            ("ListJobs", bytes(pb.ListJobsRequest(filter="x" * 100_000))),
        ):
            trailing: dict[str, Any] = {}
            with pytest.raises(GRPCError) as caught:
                await raw_call(channel, path_of(name), body, trailing)
            assert caught.value.status is Status.INVALID_ARGUMENT
            told = trailing[ERROR_METADATA_KEY]
            error = common.Error.parse(told)
            assert error.code == "INVALID_FILTER"
            assert (error.message + error.hint).isprintable()
            assert "position" in json.loads(error.details)


async def test_a_watcher_that_stops_reading_costs_no_memory_and_gets_a_fresh_state(served: Desk) -> None:
    async with stub(served) as client:
        numbers = await add(client, 20, paused=True)
        async with raw_client(served.path, window=100) as slow:
            stream = await slow.open(path_of("Watch"), bytes(pb.WatchRequest(interval_ms=100)))
            await until(lambda: served.gate.running == 1)
            while len(slow.data[stream]) < 100:
                await slow.read()
            now = served.parts.clock.now()
            for _ in range(30):
                served.home.bus.publish(
                    [JobChanged(at=now, job_number=JobNumber(number)) for number in range(1000)]
                )  # at once: more than any queue holds
            assert waiting(served) <= BACKLOG
            await client.set_jobs(pb.SetJobsRequest(selector=ids(numbers[0]), changes=["name=late"]))
            await slow.allow(stream, 1 << 20)

            def told() -> list[pb.WatchResponse]:
                return [pb.WatchResponse.parse(message) for message in slow.messages(stream)]

            while not any(answer.gap for answer in told()):
                await slow.read()
            page = Mirror()
            for answer in told():
                page.apply(answer)
            while page.jobs[numbers[0]].name != "late":
                await slow.read()
                page = Mirror()
                for answer in told():
                    page.apply(answer)
            assert len(page.jobs) == 20


async def test_a_client_that_dies_leaves_nothing(served: Desk) -> None:
    async with stub(served) as client:
        await add(client, 3, paused=True)
    before = asyncio.all_tasks()
    async with raw_client(served.path, window=64) as dying:
        await dying.open(path_of("Watch"), bytes(pb.WatchRequest(interval_ms=100)))
        await dying.open(path_of("Events"), bytes(pb.EventsRequest(from_start=True)))
        await dying.open(path_of("Events"), bytes(pb.EventsRequest()))
        await dying.open(path_of("Logs"), bytes(pb.LogsRequest(follow=True)))
        await until(lambda: served.gate.running == 4 and len(served.home.bus._open) == 3)
    await until(lambda: served.gate.running == 0 and served.server.connections == 0)
    gc.disable()
    try:
        await until(lambda: not served.home.bus._open and not served.log_book._followers)
        await until(lambda: not {task for task in asyncio.all_tasks() - before if "store" not in str(task)})
    finally:
        gc.enable()


async def test_a_client_that_stopped_is_given_up(tmp_path: Path) -> None:
    """It reads nothing and answers no ping, and more waits for it than the socket holds."""
    impatient = Configuration(
        _keepalive_time=1, _keepalive_timeout=1, _keepalive_permit_without_calls=True,
        _http2_max_pings_without_data=0, _http2_min_sent_ping_interval_without_data=0.1,
    )  # fmt: skip
    with patch.object(control_server, "CONFIGURATION", impatient), patch.object(connection, "FLUSH_SECONDS", 0.5):
        async with desk(tmp_path) as served:
            async with stub(served) as client:
                await add(client, 100, paused=True, name="x" * 200)
            async with raw_client(served.path, window=2**31 - 1) as stopped:
                stopped.h2.increment_flow_control_window(2**31 - 1 - 65535)
                for _ in range(30):
                    await stopped.open(path_of("ListJobs"), bytes(pb.ListJobsRequest()))
                await until(lambda: served.gate.running > 0, every=0.001)
                await until(lambda: served.gate.running == 0 and served.server.connections == 0)


# events


async def test_events_from_the_past_and_those_of_now_meet_without_a_seam(served: Desk) -> None:
    store, now = served.home.store, served.parts.clock.now()

    async def publish(count: int) -> None:
        for start in range(0, count, 10):
            work = [store.write(lambda tx: tx.events.add(JobChanged(at=now))) for _ in range(start, start + 10)]
            await asyncio.gather(*work)

    await publish(700)
    async with stub(served) as client:
        publishing = asyncio.create_task(publish(500))
        seen: list[int] = []
        async with asyncio.timeout(SECONDS):
            async with closing(client.events(pb.EventsRequest(since_seq=100))) as stream:
                async for answer in stream:
                    assert answer.event is not None
                    assert not answer.gap
                    seen.append(answer.event.seq)
                    if len(seen) == 1100:
                        break
        await publishing
    assert seen == list(range(101, 1201))


async def test_a_reader_too_slow_for_the_bus_gets_what_it_missed_from_the_store(served: Desk) -> None:
    store, now = served.home.store, served.parts.clock.now()

    def many(tx: Any) -> None:
        for _ in range(CAPACITY + 700):
            tx.events.add(JobChanged(at=now))

    await online(served)
    async with raw_client(served.path, window=200) as slow:
        stream = await slow.open(path_of("Events"), bytes(pb.EventsRequest(since_seq=1)))
        await until(lambda: len(served.home.bus._open) == 1)
        await store.write(many)
        await store.write(many)
        assert waiting(served) <= CAPACITY
        await slow.allow(stream, 8 << 20)
        while len(slow.messages(stream)) < 2 * (CAPACITY + 700):
            await slow.read()
        told = [pb.EventsResponse.parse(message) for message in slow.messages(stream)]
    assert [answer.event.seq for answer in told if answer.event is not None] == list(range(2, 2 * (CAPACITY + 700) + 2))


async def online(served: Desk) -> None:
    """The first event, number 1."""
    await until(lambda: [event.type for event in served.home.events] == ["node.online"])


async def test_asking_from_too_far_back_gets_a_gap(served: Desk) -> None:
    store, now = served.home.store, served.parts.clock.now()
    await online(served)
    for _ in range(5):
        await store.write(lambda tx: tx.events.add(JobChanged(at=now)))
    old = now - timedelta(days=9)

    async def asked(since: int) -> list[pb.EventsResponse]:
        request = pb.EventsRequest(since_seq=since, from_start=True, no_follow=True)
        return [answer async for answer in client.events(request, timeout=SECONDS)]

    async with stub(served) as client:
        assert [answer.event.seq for answer in await asked(0) if answer.event] == [1, 2, 3, 4, 5, 6]
        await store.write(lambda tx: tx.events.trim(now + timedelta(seconds=1)))
        (gap,) = await asked(3)
        assert gap.gap
        assert gap.oldest_seq == 7
        assert gap.event is None
        assert await asked(6) == []
        await store.write(lambda tx: tx.events.add(JobChanged(at=old)))
        gap, event = await asked(5)
        assert gap.gap
        assert gap.oldest_seq == 7
        assert event.event is not None
        assert event.event.seq == 7
        assert [answer.gap for answer in await asked(6)] == [False]
        with pytest.raises(GRPCError) as caught:
            await asked(8)
        assert caught.value.status is Status.INVALID_ARGUMENT


@pytest.mark.parametrize(("ago", "gap"), [(timedelta(seconds=KEPT + 60), True), (timedelta(seconds=60), False)])
async def test_asking_from_a_time_before_what_is_kept_gets_a_gap(served: Desk, ago: timedelta, gap: bool) -> None:
    store, now = served.home.store, served.parts.clock.now()
    await online(served)

    async def asked() -> list[bool]:
        request = pb.EventsRequest(since_time=now - ago, no_follow=True)
        return [answer.gap async for answer in client.events(request, timeout=SECONDS)]

    async with stub(served) as client:
        await store.write(lambda tx: tx.events.add(JobChanged(at=now)))
        assert True not in await asked()
        await store.write(lambda tx: tx.events.trim(now + timedelta(seconds=1)))
        await store.write(lambda tx: tx.events.add(JobChanged(at=now)))
        assert (await asked())[0] is gap



async def test_events_by_type_and_time(served: Desk) -> None:
    await online(served)
    async with stub(served) as client:
        await add(client, 1, options={"size": "10"})
        await until(lambda: "job.completed" in [event.type for event in served.home.events])

        async def types(**request: Any) -> list[str]:
            asked = pb.EventsRequest(from_start=True, no_follow=True, **request)
            return [answer.event.type async for answer in client.events(asked, timeout=SECONDS) if answer.event]

        everything = await types()
        assert everything[:2] == ["node.online", "job.created"]
        assert everything[-1] == "job.completed"
        assert await types(types=["job.cre*"]) == ["job.created"]
        assert await types(types=["job.completed", "job.created"]) == ["job.created", "job.completed"]
        assert await types(types=["cache.*"]) == []
        assert await types(since_time=served.parts.clock.now() + timedelta(hours=1)) == []
        assert await types(since_time=served.parts.clock.now() - timedelta(hours=1)) == everything
        with pytest.raises(GRPCError) as caught:
            await types(types=["job.exploded"])
        assert caught.value.status is Status.INVALID_ARGUMENT


async def test_live_events_carry_progress_without_a_number(served: Desk) -> None:
    async with stub(served) as client, asyncio.timeout(SECONDS):
        request = pb.EventsRequest(types=["job.progress"])
        async with closing(client.events(request)) as stream:
            receiving = asyncio.ensure_future(anext(stream))
            await until(lambda: served.home.bus.listening("job.progress"))
            served.home.bus.publish([JobProgress(at=served.parts.clock.now(), job_number=JobNumber(1))])
            answer = await receiving
            assert answer.event is not None
            assert (answer.event.seq, answer.event.job) == (0, 1)


async def test_no_lines_of_the_past_are_none(served: Desk) -> None:
    served.log_book.add(LogLine(at=served.parts.clock.now(), level="info", message="old"))
    async with stub(served) as client:
        assert [line.msg async for line in client.logs(pb.LogsRequest(lines=0))] == []
        assert [line.msg async for line in client.logs(pb.LogsRequest())] == ["old"]
        with pytest.raises(GRPCError, match="no node"):
            [line async for line in client.logs(pb.LogsRequest(node="nowhere"))]


async def test_log_lines_written_while_the_past_is_sent_are_not_lost(served: Desk) -> None:
    def write(number: int) -> None:
        served.log_book.add(LogLine(at=served.parts.clock.now(), level="info", message=f"line {number}"))

    for number in range(50):
        write(number)
    async with stub(served) as client, asyncio.timeout(SECONDS):
        request = pb.LogsRequest(lines=50, follow=True)
        async with closing(client.logs(request)) as stream:
            seen = [(await anext(stream)).msg]
            for number in range(50, 60):
                write(number)
            while len(seen) < 60:
                seen.append((await anext(stream)).msg)
    assert seen == [f"line {number}" for number in range(60)]


# the drain


async def test_a_drain_lets_calls_end_refuses_new_ones_and_ends_watchers(served: Desk) -> None:
    release = asyncio.Event()

    async def slow(self: StatusService, who: Any) -> Any:
        await release.wait()
        return await real(self, who)

    real = StatusService.status
    async with stub(served) as client, stub(served) as idle:
        await idle.hello(pb.HelloRequest())
        with patch.object(StatusService, "status", slow):
            running = asyncio.create_task(client.get_status(pb.GetStatusRequest()))
            watching = asyncio.create_task(collect(client.watch(pb.WatchRequest())))
            following = asyncio.create_task(collect(client.events(pb.EventsRequest())))
            logging = asyncio.create_task(collect(client.logs(pb.LogsRequest(follow=True))))
            await until(lambda: served.gate.running == 4)
            drain = asyncio.create_task(served.server.drain(10))
            for ended in (watching, following, logging):
                await asyncio.wait_for(ended, 60)
            for caller in (client, idle):
                with pytest.raises(GRPCError) as caught:
                    await caller.hello(pb.HelloRequest(), timeout=SECONDS)
                assert caught.value.status is Status.UNAVAILABLE
            async with stub(served) as late:
                with pytest.raises(GRPCError) as caught:
                    await late.hello(pb.HelloRequest(), timeout=SECONDS)
                assert caught.value.status is Status.UNAVAILABLE
            assert not drain.done()
            release.set()
            assert (await asyncio.wait_for(running, 60)).version == __version__
            await asyncio.wait_for(drain, 60)
        assert served.server.connections == 0
        await asyncio.wait_for(served.server.drain(10), 60)


async def test_a_drain_ends_in_time_whatever_clients_and_calls_do(served: Desk) -> None:
    stubborn = asyncio.Event()

    async def slow(self: StatusService, who: Any) -> Any:
        await asyncio.Event().wait()

    async def deaf(self: StatusService, who: Principal, name: str) -> Any:
        while not stubborn.is_set():
            with contextlib.suppress(asyncio.CancelledError):
                await stubborn.wait()
        raise OpenDebridError("late")

    async with stub(served) as client:
        await add(client, 30, paused=True)
        async with raw_client(served.path, window=64) as stuck:
            await stuck.open(path_of("Watch"), bytes(pb.WatchRequest()))
            with patch.object(StatusService, "status", slow), patch.object(StatusService, "test_engine", deaf):
                running = asyncio.create_task(client.get_status(pb.GetStatusRequest()))
                never = asyncio.create_task(client.test_engine(pb.TestEngineRequest(name="x")))
                await until(lambda: served.gate.running == 3)
                async with asyncio.timeout(60):  # promised within the three seconds and a bit
                    await served.server.drain(3)
                with pytest.raises(GRPCError) as caught:
                    await asyncio.wait_for(running, 60)
                assert caught.value.status is Status.UNAVAILABLE
                with pytest.raises((GRPCError, StreamTerminatedError, ConnectionError)):
                    await asyncio.wait_for(never, 60)
                assert served.server.connections == 0
                stubborn.set()
                await until(lambda: served.gate.running == 0)


async def test_a_reader_that_does_not_read_holds_the_drain_up_only_shortly(served: Desk) -> None:
    async with stub(served) as client:
        await add(client, 30, paused=True)
    async with raw_client(served.path, window=64) as stuck:
        stream = await stuck.open(path_of("Watch"), bytes(pb.WatchRequest()))
        await until(lambda: served.gate.running == 1)
        start = asyncio.get_running_loop().time()
        await served.server.drain(60)
        assert asyncio.get_running_loop().time() - start < 30
        assert await stuck.until_over(stream) is not None


# what is not public in grpclib


async def test_a_call_of_a_later_version_is_told_from_a_failure(served: Desk) -> None:
    """odctl says "upgrade the daemon" then; grpclib's own answer would hide which it is."""
    async with served.channel() as channel:
        channel._codec = Raw()
        with pytest.raises(GRPCError) as caught:
            await raw_call(channel, path_of("OfALaterVersion"), b"")
        assert caught.value.status is Status.UNIMPLEMENTED


def test_the_names_of_grpclib_that_are_used_exist() -> None:
    """A new version that lacks one fails here, not in somebody's daemon."""
    assert version("grpclib") == "0.4.9"
    source = inspect.getsource(grpclib_server)
    for name in ("_mapping", "_codec", "_status_details_codec", "__dispatch__", "_config", "_h2_config", "_handlers"):
        assert f"self.{name}" in source
    for owner, names in (
        (grpclib_server.Server, ("_protocol_factory", "__gc_step__")),
        (grpclib_server.Handler, ("accept",)),
        (grpclib_server.Stream, ("_cancel_done", "_send_trailing_metadata_done", "recv_message", "send_message")),
        (protocol.Stream, ("recv_data", "closable", "reset_nowait")),
        (protocol.Connection, ("is_closing", "flush", "close")),
    ):
        for name in names:
            assert hasattr(owner, name), (owner, name)
    assert "self._tasks[stream] = " in inspect.getsource(grpclib_server.Handler.accept)
    assert "self._transport" in inspect.getsource(protocol.Peer)
    assert "self._connection" in inspect.getsource(protocol.Connection)
    assert "self.processors" in inspect.getsource(protocol.EventsProcessor)
    known = set(inspect.signature(Configuration).parameters)
    assert {
        "_keepalive_time", "_keepalive_timeout", "_keepalive_permit_without_calls", "_http2_max_pings_without_data",
        "_http2_min_sent_ping_interval_without_data",
    } <= known  # fmt: skip


# helpers


def ids(*numbers: int) -> pb.JobSelector:
    return pb.JobSelector(ids=[str(number) for number in numbers])


def waiting(served: Desk) -> int:
    """Events that wait in the fullest queue."""
    return max(len(queue._waiting) for queue in served.home.bus._open)


def closing(stream: AsyncIterator[T]) -> contextlib.aclosing[AsyncGenerator[T, None]]:
    """The stubs call their streams iterators; they are generators."""
    assert isinstance(stream, AsyncGenerator)
    return contextlib.aclosing(stream)


async def collect(stream: AsyncIterator[Any]) -> list[Any]:
    return [answer async for answer in stream]


class Mirror:
    """The page as a stream of answers describes it, by the words of the protocol alone."""

    def __init__(self) -> None:
        self.jobs: dict[int, common.Job] = {}
        self.total = -1
        self.answers: list[pb.WatchResponse] = []

    @property
    def order(self) -> list[int]:
        return list(self.jobs)

    def apply(self, answer: pb.WatchResponse) -> None:
        self.answers.append(answer)
        if answer.snapshot is not None:
            self.jobs = {job.id: job for job in answer.snapshot.jobs}
            self.total = answer.snapshot.total
        for patch_ in answer.patches:
            job = self.jobs.setdefault(patch_.id, common.Job())
            assert patch_.job is not None
            for name in patch_.fields:
                setattr(job, name, getattr(patch_.job, name))
        for number in answer.removed:
            del self.jobs[number]
        if answer.order:
            self.jobs = {number: self.jobs[number] for number in answer.order}
        if answer.total is not None:
            self.total = answer.total

    async def until(self, stream: AsyncIterator[pb.WatchResponse], condition: Any) -> None:
        async with asyncio.timeout(SECONDS):
            while not (self.answers and condition()):
                self.apply(await anext(stream))


async def test_a_reader_that_hangs_up_leaves_the_log_quiet(served: Desk, caplog: pytest.LogCaptureFixture) -> None:
    store, now = served.home.store, served.parts.clock.now()
    await store.write(lambda tx: [tx.events.add(JobChanged(at=now)) for _ in range(3000)])
    for moment in range(5):
        async with raw_client(served.path, window=8 << 20) as hasty:
            stream = await hasty.open(path_of("Events"), bytes(pb.EventsRequest(from_start=True)))
            await hasty.allow(stream, 8 << 20)
            while len(hasty.messages(stream)) < 1 + 100 * moment:
                await hasty.read()
        await until(lambda: served.gate.running == 0)
    assert "socket.send() raised exception" not in caplog.text


async def test_a_jobs_log_outlives_the_process(served: Desk) -> None:
    """Its events are rows; the lines of the log are in memory only."""
    async with stub(served) as client, asyncio.timeout(SECONDS):
        await add(client, 1, options={"size": "10"})
        await until(lambda: "job.completed" in [event.type for event in served.home.events])
        created = next(event for event in served.home.events if event.type == "job.created")
        line = LogLine(
            at=created.at, level="info", message="job created, as a line", job=JobNumber(1),
            fields={"seq": created.seq, "user": str(created.user_id)},
        )  # fmt: skip
        served.log_book.add(line)
        warning = LogLine(at=served.parts.clock.now(), level="warn", message="something", job=JobNumber(1))
        served.log_book.add(warning)

        async def told(**request: Any) -> list[str]:
            return [found.msg async for found in client.logs(pb.LogsRequest(job="1", **request))]

        everything = await told()
        assert everything[0] == "job created, as a line"
        assert everything[-2:] == ["job completed", "something"]
        assert "job created" not in everything
        assert await told(lines=1) == ["something"]
        assert await told(lines=0) == []
        assert await told(level="warn") == ["something"]
        assert await told(since=served.parts.clock.now() + timedelta(hours=1)) == []
        lines = [found async for found in client.logs(pb.LogsRequest(job="1"))]
        fields = [json.loads(found.fields) for found in lines if found.fields]
        assert {found["user"] for found in fields} == {"admin"}
        assert None not in [value for found in fields for value in found.values()]
