"""Follows a download to what has to come of it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Set

import pytest

from oddaemon.domain.errors import EngineFailed
from oddaemon.domain.failure import Failure
from oddaemon.domain.files import SafeRelativePath
from oddaemon.ports.engine import Engine, FillFile, FillRequest, FillState, FillStatus, failure_of
from oddaemon.testing.engine_samples import EngineHarness, Sample
from oddaemon.testing.engine_traces import size_of


async def eventually(condition: Callable[[], Awaitable[bool]], patience: float, what: str) -> None:
    until = time.monotonic() + patience
    while not await condition():
        if time.monotonic() > until:
            pytest.fail(f"not within {patience:.0f} s: {what}")
        await asyncio.sleep(0.05)


async def until(
    engine: Engine, request: FillRequest, harness: EngineHarness, condition: Callable[[FillStatus], bool]
) -> FillStatus:
    last: FillStatus | None = None

    async def met() -> bool:
        nonlocal last
        last = (await engine.statuses()).get(request.replica_id)
        if last is not None and last.state is FillState.FAILED:
            pytest.fail(f"it failed: {last.failure}")
        return last is not None and condition(last)

    try:
        await eventually(met, harness.patience, "the status that was waited for")
    except pytest.fail.Exception:
        print("last status:", last)  # noqa: T201
        raise
    assert last is not None
    return last


async def until_complete(engine: Engine, request: FillRequest, harness: EngineHarness) -> FillStatus:
    return await until(engine, request, harness, lambda status: status.state is FillState.COMPLETE)


async def until_bytes(
    engine: Engine, request: FillRequest, harness: EngineHarness, *, share: float = 0.0
) -> FillStatus:
    def enough(status: FillStatus) -> bool:
        return status.done > share * (status.total or 0) and size_of(request.directory) > 0

    return await until(engine, request, harness, enough)


async def failure_told(engine: Engine, request: FillRequest, harness: EngineHarness) -> Failure:
    """Told by `add` itself or by the status."""
    try:
        await engine.add(request)
    except EngineFailed as error:
        found = failure_of(error)
        assert found is not None
        return found

    async def failed() -> bool:
        status = (await engine.statuses()).get(request.replica_id)
        return status is not None and status.state is FillState.FAILED

    await eventually(failed, harness.patience, "the download fails")
    failure = (await engine.statuses())[request.replica_id].failure
    assert failure is not None
    return failure


async def check_files(
    engine: Engine, request: FillRequest, sample: Sample, *, wanted: Set[int] | None = None
) -> list[FillFile]:
    files = list(await engine.list_files(request.replica_id))
    assert files
    assert [file.index for file in files] == sorted({file.index for file in files})
    assert files[0].index >= 1
    if sample.contents:
        assert {file.index for file in files} == set(sample.contents)
    for file in files:
        if wanted is not None and file.index not in wanted:
            continue
        SafeRelativePath.parse(file.disk_path)
        path = request.directory / file.disk_path
        assert not path.is_symlink()
        assert path.resolve().is_relative_to(request.directory.resolve())
        assert file.finished
        assert file.done == file.size == path.stat().st_size
        if sample.contents:
            assert path.read_bytes() == sample.contents[file.index], f"file {file.index} has other bytes"
    return files
