"""The clauses of `ports.engine` on cancelling: a download, and any call."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Awaitable
from pathlib import Path
from uuid import uuid4

from oddaemon.domain.types import BytesPerSecond, ReplicaId
from oddaemon.ports.engine import Engine, OutspokenEngine, PausingEngine, PeeringEngine, RateLimitingEngine
from oddaemon.testing.engine_progress import check_files, until_bytes, until_complete
from oddaemon.testing.engine_samples import ADD_LIMIT, EngineHarness, a_request
from oddaemon.testing.engine_traces import size_of, stays_absent, tree, untouched


class EndClauses:
    """Each test gets a started `engine` and the `downloads` directory."""

    async def test_cancel_stops_touching_the_directory_and_keeps_the_bytes(
        self, engine: Engine, harness: EngineHarness, downloads: Path
    ) -> None:
        request = a_request(harness.slow, downloads)
        await engine.add(request)
        await until_bytes(engine, request, harness)
        await engine.cancel(request.replica_id)
        await untouched(request.directory)
        assert request.replica_id not in await engine.statuses()
        assert not await engine.list_files(request.replica_id)
        assert size_of(request.directory) > 0

    async def test_cancel_right_after_add(self, engine: Engine, harness: EngineHarness, downloads: Path) -> None:
        request = a_request(harness.slow, downloads)
        await engine.add(request)
        await engine.cancel(request.replica_id)
        await untouched(request.directory)
        assert request.replica_id not in await engine.statuses()

    async def test_remove_leaves_nothing_behind(
        self, engine: Engine, harness: EngineHarness, state_dir: Path, downloads: Path
    ) -> None:
        request = a_request(harness.slow, downloads)
        await engine.add(request)
        await until_bytes(engine, request, harness)
        await engine.remove(request.replica_id)
        shutil.rmtree(request.directory)
        await stays_absent(request.directory)
        names = [Path(path).name for path in tree(state_dir)]
        assert not [name for name in names if str(request.replica_id) in name or request.replica_id.hex in name]

    async def test_remove_after_completion(self, engine: Engine, harness: EngineHarness, downloads: Path) -> None:
        request = a_request(harness.small, downloads)
        await engine.add(request)
        await until_complete(engine, request, harness)
        await engine.remove(request.replica_id)
        await untouched(request.directory)
        assert request.replica_id not in await engine.statuses()

    async def test_unknown_replicas_have_no_effect(self, engine: Engine) -> None:
        unknown = ReplicaId(uuid4())
        await engine.cancel(unknown)
        await engine.remove(unknown)
        assert not await engine.list_files(unknown)
        assert unknown not in await engine.statuses()
        if isinstance(engine, PausingEngine):
            await engine.pause(unknown)
            await engine.resume(unknown)
        if isinstance(engine, RateLimitingEngine):
            await engine.limit(unknown, down=BytesPerSecond(1000), up=None)
        if isinstance(engine, PeeringEngine):
            assert not await engine.peers(unknown)
        if isinstance(engine, OutspokenEngine):
            assert not await engine.raw_status(unknown)

    async def test_an_add_that_is_cancelled_leaves_the_engine_usable(
        self, engine: Engine, harness: EngineHarness, downloads: Path
    ) -> None:
        for moment in (0, 1, 3, 0.005, 0.03, 0.1):
            request = a_request(harness.small, downloads)
            await _cancel_at(engine.add(request), moment)
            await engine.cancel(request.replica_id)
            await untouched(request.directory)
            assert request.replica_id not in await engine.statuses()
        await engine.add(request)
        await until_complete(engine, request, harness)
        await check_files(engine, request, harness.small)

    async def test_other_calls_may_be_cancelled_at_any_time(
        self, engine: Engine, harness: EngineHarness, downloads: Path
    ) -> None:
        for moment in (0, 1, 0.01):
            request = a_request(harness.slow, downloads)
            await engine.add(request)
            await _cancel_at(engine.statuses(), moment)
            await _cancel_at(engine.list_files(request.replica_id), moment)
            await _cancel_at(engine.health(), moment)
            await _cancel_at(engine.resolve_cache_key(harness.small.source, harness.small.options), moment)
            await _cancel_at(engine.cancel(request.replica_id), moment)
            await engine.cancel(request.replica_id)
            assert request.replica_id not in await engine.statuses()
        await untouched(request.directory)


async def _cancel_at(work: Awaitable[object], moment: float) -> None:
    """Cancels after so many turns of the loop (a whole number), or so many seconds (a fraction)."""
    task = asyncio.ensure_future(work)
    if moment == int(moment):
        for _ in range(int(moment)):
            await asyncio.sleep(0)
    else:
        await asyncio.sleep(moment)
    task.cancel()
    await asyncio.wait([task], timeout=ADD_LIMIT)
    assert task.done(), "it does not react to being cancelled"
    if not task.cancelled():
        task.exception()
