"""Filters through the control API: lists, wishes for many, watchers and events understand the same."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import Mock, patch
from uuid import UUID, uuid4

import pytest
from grpclib import GRPCError
from grpclib.const import Status
from odproto.gen.opendebrid.common import v1 as common
from odproto.gen.opendebrid.control import v1 as pb

from oddaemon.api.control import watch
from oddaemon.domain.types import Bytes, JobId, UserId
from oddaemon.domain.user import Principal, Proof, Role
from oddaemon.services.job_finder import AT_ONCE
from tests.integration.test_control_socket import SECONDS, SLOW, Mirror, add, closing
from tests.support.control import Desk, desk
from tests.support.dashboard import connecting
from tests.support.wait import until


@pytest.fixture
async def served(tmp_path: Path) -> AsyncIterator[Desk]:
    async with desk(tmp_path) as built:
        yield built


async def listed(client: pb.ControlServiceStub, text: str) -> list[int]:
    answer = await client.list_jobs(pb.ListJobsRequest(filter=text, sort="id"), timeout=SECONDS)
    assert answer.total == len(answer.jobs)
    return [job.id for job in answer.jobs]


async def test_what_a_list_shows_of_a_job_that_runs_finds_it(served: Desk) -> None:
    async with served.client() as client:
        (waiting,) = await add(client, 1, paused=True, name="waits")
        (running,) = await add(client, 1, options=SLOW, name="runs")

        async def shown() -> common.Job:
            return (await client.list_jobs(pb.ListJobsRequest(filter=f"id={running}"))).jobs[0]

        job = await shown()
        while not (job.done and job.rate_down and job.size):
            job = await shown()
        for text in (
            "rate_down>0", "done>0 size=1000000", "progress>0 progress<100%", "active !reason!=''", "RUN !wait",
            f"engine_state={job.engine_state}", "!reason=paused",
        ):  # fmt: skip
            assert await listed(client, text) == [running], text
        assert await listed(client, "reason=paused | rate_down=0") == [waiting]
        assert await listed(client, "mine") == [waiting, running]
        batch = await client.pause_jobs(
            pb.PauseJobsRequest(selector=pb.JobSelector(filter="rate_down>0 | name~/^nothing$/"))
        )
        assert [result.id for result in batch.results] == [str(running)]
        assert await listed(client, "rate_down>0") == []


async def test_a_job_enters_and_leaves_the_page_of_a_watcher_as_it_matches(served: Desk) -> None:
    async with served.client() as client:
        (job,) = await add(client, 1, options=SLOW, paused=True)
        async with closing(client.watch(pb.WatchRequest(interval_ms=100, filter="active done>0"))) as stream:
            page = Mirror()
            await page.until(stream, lambda: page.order == [])
            await client.resume_jobs(pb.ResumeJobsRequest(selector=pb.JobSelector(filter="state=paused")))
            await page.until(stream, lambda: page.order == [job] and page.total == 1)
            await client.pause_jobs(pb.PauseJobsRequest(selector=pb.JobSelector(filter="active")))
            await page.until(stream, lambda: page.order == [] and page.total == 0)


async def test_time_alone_moves_jobs_into_the_page_and_out_of_it(
    served: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watch, "LOOK_AGAIN", 0.2)
    async with served.client() as client:
        (job,) = await add(client, 1, paused=True)
        for text, order in (("age>1s", [job]), ("age<1s", [])):
            async with closing(client.watch(pb.WatchRequest(interval_ms=100, filter=text))) as stream:
                page = Mirror()
                await page.until(stream, lambda order=order, page=page: page.order == order)


async def test_events_are_filtered_by_the_daemon(served: Desk) -> None:
    async with served.client() as client:
        await add(client, 2, options={"size": "10"})
        await until(lambda: [event.type for event in served.home.events].count("job.completed") == 2)

        async def told(text: str) -> list[tuple[str, int | None]]:
            request = pb.EventsRequest(from_start=True, no_follow=True, filter=text)
            answers = [answer async for answer in client.events(request, timeout=SECONDS)]
            return [(answer.event.type, answer.event.job) for answer in answers if answer.event is not None]

        of_second = {("job.created", 2), ("job.completed", 2)}
        assert set(await told("type=job.created,job.completed job=2")) == of_second
        assert sorted(await told("COMPLETE mine")) == [("job.completed", 1), ("job.completed", 2)]
        assert await told("!mine") == [("node.online", None)]
        assert await told("user=nobody | age>1d") == []
        assert await told("!age>1d") == await told("")
        for text in ("typ=x", "job<x", "name=x"):
            with pytest.raises(GRPCError) as caught:
                await told(text)
            assert caught.value.status is Status.INVALID_ARGUMENT, text


async def test_live_events_are_filtered_too(served: Desk) -> None:
    async with served.client() as client:
        request = pb.EventsRequest(filter="type=job.created job>1")
        async with closing(client.events(request, timeout=SECONDS)) as stream:
            receiving = asyncio.ensure_future(anext(stream))
            await until(lambda: served.home.bus.listening("job.created"))
            await add(client, 3, paused=True)
            answer = await receiving
            assert answer.event is not None
            assert (answer.event.type, answer.event.job) == ("job.created", 2)


async def test_lists_are_sorted_by_the_figures_that_they_show(served: Desk) -> None:
    async with served.client() as client:
        (other,) = await add(client, 1, paused=True, name="b")
        (running,) = await add(client, 1, options=SLOW, name="a")

        async def sorted_by(text: str) -> list[common.Job]:
            return list((await client.list_jobs(pb.ListJobsRequest(sort=text), timeout=SECONDS)).jobs)

        async def moves() -> bool:
            jobs = await sorted_by("id")
            return jobs[1].done > 0 and bool(jobs[1].size)

        await until(moves, what="bytes")
        uuid = JobId(UUID((await sorted_by("id"))[1].uuid))
        # as if the store had heard nothing of it for long
        await served.home.store.write(lambda tx: tx.jobs.record_progress([(uuid, Bytes(0), None)]))
        for field in ("done", "progress", "size"):
            assert [job.id for job in await sorted_by(f"!{field}")] == [running, other], field
        assert [job.id for job in await sorted_by("name")] == [running, other]


async def test_a_list_begins_with_what_runs_and_what_may_need_somebody(served: Desk) -> None:
    async with served.client() as client:
        (done,) = await add(client, 1, name="done")

        async def states() -> dict[int, str]:
            return {job.id: str(job.state.name) for job in (await client.list_jobs(pb.ListJobsRequest())).jobs}

        async def over() -> bool:
            return (await states())[done] == "COMPLETED"

        await until(over, what="the end of the first")
        (running,) = await add(client, 1, options=SLOW, name="running")

        async def runs() -> bool:
            return (await states())[running] == "ACTIVE"

        await until(runs, what="the second")
        served.home.limits = replace(served.home.limits, queue_paused=True)
        waiting = [*await add(client, 2, name="waiting"), *await add(client, 1, priority=10, name="hurries")]
        (paused,) = await add(client, 1, paused=True, name="paused")
        expected = [running, paused, waiting[2], *waiting[:2], done]
        assert list(await states()) == expected
        answer = await client.list_jobs(pb.ListJobsRequest(sort="attention", offset=1, limit=3))
        assert ([job.id for job in answer.jobs], answer.total) == (expected[1:4], len(expected))
        async with closing(client.watch(pb.WatchRequest(), timeout=SECONDS)) as stream:
            first = await anext(stream)
            assert first.snapshot is not None
            assert [job.id for job in first.snapshot.jobs] == expected
        async with connecting(served.path)() as own:
            jobs, _ = await own.list_jobs()
            assert [job.id for job in jobs] == expected, "sorted by odctl itself"


async def test_lists_of_one_user_leave_readers_of_the_store_to_others(served: Desk) -> None:
    store = served.home.store
    reads = store.read
    looking, most = 0, 0

    async def slow(work: Any) -> Any:
        nonlocal looking, most
        looking += 1
        most = max(most, looking)
        await asyncio.sleep(0)
        try:
            return await reads(work)
        finally:
            looking -= 1

    finder = served.parts.jobs
    with patch.object(finder, "store", Mock(read=slow)):
        who = Principal(user_id=UserId(uuid4()), username="ann", role=Role.USER, proof=Proof.PEER_UID)
        wanted: dict[str, Any] = {"filter": "x", "sort": "", "offset": 0, "limit": 1, "include_old": True}
        await asyncio.gather(*(finder.page(who, **wanted) for _ in range(8)))
        assert most == AT_ONCE
        other = replace(who, user_id=UserId(uuid4()))
        most = 0
        await asyncio.gather(*(finder.page(one, **wanted) for _ in range(4) for one in (who, other)))
        assert most == 2 * AT_ONCE
