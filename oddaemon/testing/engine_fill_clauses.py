"""The clauses of `ports.engine` on adding a download and on going on with it."""

from __future__ import annotations

import asyncio
from pathlib import Path

from oddaemon.domain.failure import Retry
from oddaemon.domain.types import Handle
from oddaemon.ports.engine import Engine, FillState
from oddaemon.testing.engine_progress import check_files, failure_told, until_bytes, until_complete
from oddaemon.testing.engine_samples import ADD_LIMIT, EngineHarness, a_request
from oddaemon.testing.engine_traces import untouched

GARBAGE_HANDLES = ("", "garbage", "\x00\xff", '{"v": 999}', "[]", "1:" + "f" * 5000)


class FillClauses:
    """Each test gets a started `engine` and the `downloads` directory."""

    async def test_a_download_arrives_whole(self, engine: Engine, harness: EngineHarness, downloads: Path) -> None:
        request = a_request(harness.small, downloads)
        assert await engine.add(request)
        status = await until_complete(engine, request, harness)
        files = await check_files(engine, request, harness.small)
        assert status.done == sum(file.done for file in files)
        assert status.total in (None, status.done)
        assert status.failure is None
        assert status.files_rev > 0

    async def test_add_answers_before_the_download_is_done(
        self, engine: Engine, harness: EngineHarness, downloads: Path
    ) -> None:
        request = a_request(harness.slow, downloads)
        await asyncio.wait_for(engine.add(request), ADD_LIMIT)
        status = (await engine.statuses())[request.replica_id]
        assert status.state in {FillState.QUEUED, FillState.ACTIVE}

    async def test_add_is_idempotent_also_at_once(
        self, engine: Engine, harness: EngineHarness, downloads: Path
    ) -> None:
        request = a_request(harness.slow, downloads)
        handles = await asyncio.gather(*(engine.add(request) for _ in range(5)))
        assert len({*handles, await engine.add(request)}) == 1
        assert set(await engine.statuses()) == {request.replica_id}
        await engine.cancel(request.replica_id)
        assert not await engine.statuses()
        await untouched(request.directory)

    async def test_a_finished_download_stays_known_until_it_is_forgotten(
        self, engine: Engine, harness: EngineHarness, downloads: Path
    ) -> None:
        request = a_request(harness.small, downloads)
        await engine.add(request)
        await until_complete(engine, request, harness)
        assert (await engine.statuses())[request.replica_id].state is FillState.COMPLETE
        await engine.cancel(request.replica_id)
        assert request.replica_id not in await engine.statuses()

    async def test_an_earlier_attempts_bytes_are_used(
        self, engine: Engine, harness: EngineHarness, downloads: Path
    ) -> None:
        request = a_request(harness.slow, downloads)
        before = harness.served() if harness.served else 0
        await engine.add(request)
        await until_bytes(engine, request, harness, share=0.3)
        await engine.cancel(request.replica_id)
        await engine.add(request)
        status = await until_complete(engine, request, harness)
        await check_files(engine, request, harness.slow)
        if harness.served:
            assert harness.served() - before <= status.done + harness.fetched_twice

    async def test_a_finished_directory_is_not_fetched_again(
        self, engine: Engine, harness: EngineHarness, downloads: Path
    ) -> None:
        request = a_request(harness.small, downloads)
        await engine.add(request)
        await until_complete(engine, request, harness)
        await engine.cancel(request.replica_id)
        before = harness.served() if harness.served else 0
        await engine.add(request)
        status = await until_complete(engine, request, harness)
        await check_files(engine, request, harness.small)
        if harness.served:
            assert harness.served() - before <= max(status.done // 2, 65536)

    async def test_a_lasting_failure_says_so_and_may_be_added_again(
        self, engine: Engine, harness: EngineHarness, downloads: Path
    ) -> None:
        request = a_request(harness.broken, downloads)
        for _ in range(2):
            failure = await failure_told(engine, request, harness)
            assert failure.message
            assert failure.message.isprintable()
            assert failure.retry is Retry.LASTING
        await engine.cancel(request.replica_id)
        assert request.replica_id not in await engine.statuses()

    async def test_recover_after_a_restart_goes_on(
        self, harness: EngineHarness, state_dir: Path, downloads: Path
    ) -> None:
        before = harness.served() if harness.served else 0
        request = a_request(harness.slow, downloads)
        engine = harness.build(state_dir)
        await engine.start()
        handle = await engine.add(request)
        await until_bytes(engine, request, harness, share=0.3)
        await engine.stop()
        engine = harness.build(state_dir)
        await engine.start()
        try:
            again = await engine.recover(handle, request)
            assert await engine.recover(again, request) == again
            status = await until_complete(engine, request, harness)
            await check_files(engine, request, harness.slow)
            if harness.served:
                assert harness.served() - before <= status.done + harness.fetched_twice
        finally:
            await engine.stop()

    async def test_recover_of_a_running_replica_starts_nothing(
        self, engine: Engine, harness: EngineHarness, downloads: Path
    ) -> None:
        request = a_request(harness.slow, downloads)
        handle = await engine.add(request)
        assert await engine.recover(handle, request) == handle
        assert await engine.recover(Handle("garbage"), request) == handle
        assert set(await engine.statuses()) == {request.replica_id}

    async def test_an_unreadable_handle_counts_as_none(
        self, engine: Engine, harness: EngineHarness, downloads: Path
    ) -> None:
        for handle in GARBAGE_HANDLES:
            request = a_request(harness.small, downloads)
            assert await engine.recover(Handle(handle), request)
            assert request.replica_id in await engine.statuses()
            if handle != GARBAGE_HANDLES[-1]:
                await engine.remove(request.replica_id)
        await until_complete(engine, request, harness)
        await check_files(engine, request, harness.small)

    async def test_another_replicas_handle_does_no_harm(
        self, engine: Engine, harness: EngineHarness, downloads: Path
    ) -> None:
        other = a_request(harness.slow, downloads)
        handle = await engine.add(other)
        await engine.cancel(other.replica_id)
        request = a_request(harness.small, downloads)
        await engine.recover(handle, request)
        await until_complete(engine, request, harness)
        await check_files(engine, request, harness.small)
        await untouched(other.directory)
