"""The clauses of `ports.engine` on what an engine may be able to do. One that is not passes them."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path

import pytest

from oddaemon.domain.errors import DeadlineExceeded, EngineFailed
from oddaemon.domain.source import SourceKind
from oddaemon.domain.torrent import TorrentFile, TorrentInfo
from oddaemon.domain.types import Bytes, BytesPerSecond, ReplicaId, Seconds
from oddaemon.ports.engine import (
    ClaimingEngine,
    Engine,
    FillRequest,
    FillState,
    OutspokenEngine,
    PausingEngine,
    PeeringEngine,
    ProbingEngine,
    RateLimitingEngine,
    SelectingEngine,
    SniffingEngine,
    TorrentEngine,
    failure_of,
)
from oddaemon.testing.engine_progress import check_files, eventually, until, until_bytes, until_complete
from oddaemon.testing.engine_samples import STOP_LIMIT, EngineHarness, a_request
from oddaemon.testing.engine_traces import untouched


class AbilityClauses:
    """Each test gets a started `engine` and the `downloads` directory."""

    async def test_pause_holds_and_resume_goes_on(
        self, engine: Engine, harness: EngineHarness, downloads: Path
    ) -> None:
        if not isinstance(engine, PausingEngine):
            return
        request = a_request(harness.slow, downloads)
        await engine.add(request)
        await until_bytes(engine, request, harness)
        await engine.pause(request.replica_id)
        await engine.pause(request.replica_id)
        held = await until(engine, request, harness, lambda status: status.state is FillState.PAUSED)
        await _steady(lambda: _done(engine, request.replica_id), at_least=held.done)
        for _ in range(2):
            await engine.resume(request.replica_id)
        await until(engine, request, harness, lambda status: status.done > held.done)
        await until_complete(engine, request, harness)
        await check_files(engine, request, harness.slow)

    async def test_cancel_while_paused(self, engine: Engine, harness: EngineHarness, downloads: Path) -> None:
        if not isinstance(engine, PausingEngine):
            return
        request = a_request(harness.slow, downloads)
        await engine.add(request)
        await engine.pause(request.replica_id)
        await engine.cancel(request.replica_id)
        assert request.replica_id not in await engine.statuses()
        await untouched(request.directory)
        await engine.add(request)
        await until_bytes(engine, request, harness)

    async def test_only_the_selected_files_are_wanted(
        self, engine: Engine, harness: EngineHarness, downloads: Path
    ) -> None:
        if harness.several is None or not isinstance(engine, SelectingEngine):
            return
        request = a_request(harness.several, downloads, selection=frozenset({2}))
        await engine.add(request)
        status = await until_complete(engine, request, harness)
        files = await check_files(engine, request, harness.several, wanted={2})
        assert [file.index for file in files if file.selected] == [2]
        assert status.total in (None, next(file.size for file in files if file.index == 2))
        await engine.cancel(request.replica_id)
        everything = FillRequest(
            replica_id=request.replica_id,
            directory=request.directory,
            source=request.source,
            options=request.options,
            torrent=request.torrent,
        )
        await engine.add(everything)
        await until_complete(engine, everything, harness)
        await check_files(engine, everything, harness.several)

    async def test_a_selection_may_change_while_it_runs(
        self, engine: Engine, harness: EngineHarness, downloads: Path
    ) -> None:
        if harness.several is None or not isinstance(engine, SelectingEngine):
            return
        request = a_request(harness.several, downloads, selection=frozenset({1}))
        await engine.add(request)
        for _ in range(2):
            await engine.select(request.replica_id, frozenset({1, 3}))

        async def both() -> bool:
            files = {file.index: file for file in await engine.list_files(request.replica_id)}
            return bool(files) and files[1].finished and files[3].finished

        await eventually(both, harness.patience, "files 1 and 3 are finished")
        await until_complete(engine, request, harness)
        await check_files(engine, request, harness.several, wanted={1, 3})

    async def test_rate_limits_hold_and_can_be_lifted(
        self, engine: Engine, harness: EngineHarness, downloads: Path
    ) -> None:
        if harness.unlimited is None or not isinstance(engine, RateLimitingEngine):
            return
        request = a_request(harness.unlimited, downloads, max_rate_down=BytesPerSecond(1024 * 1024))
        await engine.add(request)
        await until_bytes(engine, request, harness)
        started = time.monotonic()
        while time.monotonic() - started < 2:
            assert (await engine.statuses())[request.replica_id].state is not FillState.COMPLETE
            await asyncio.sleep(0.1)
        for _ in range(2):
            await engine.limit(request.replica_id, down=None, up=None)
        await until_complete(engine, request, harness)
        await check_files(engine, request, harness.unlimited)

    async def test_a_probe_tells_and_keeps_nothing(self, engine: Engine, harness: EngineHarness) -> None:
        if not isinstance(engine, ProbingEngine):
            return
        sample = harness.small
        found = await engine.probe(
            sample.source, sample.options, torrent=sample.torrent, deadline=Seconds(harness.patience)
        )
        assert found.name or found.files or found.size is not None
        assert not await engine.statuses()

    async def test_a_probe_keeps_its_deadline(self, engine: Engine, harness: EngineHarness) -> None:
        if not isinstance(engine, ProbingEngine):
            return
        sample = harness.slow
        started = time.monotonic()
        with contextlib.suppress(DeadlineExceeded):
            await engine.probe(sample.source, sample.options, torrent=sample.torrent, deadline=Seconds(0.001))
        assert time.monotonic() - started < STOP_LIMIT

    async def test_a_probe_of_what_is_not_there_fails(self, engine: Engine, harness: EngineHarness) -> None:
        if not isinstance(engine, ProbingEngine):
            return
        sample = harness.broken
        with pytest.raises(EngineFailed) as caught:
            await engine.probe(
                sample.source, sample.options, torrent=sample.torrent, deadline=Seconds(harness.patience)
            )
        assert failure_of(caught.value) is not None

    async def test_claims_its_own_urls_only(self, engine: Engine, harness: EngineHarness) -> None:
        if not isinstance(engine, ClaimingEngine):
            return
        if harness.claimed_url:
            assert await engine.claims(harness.claimed_url)
        assert not await engine.claims("http://nobody.invalid/file.bin")

    async def test_torrents_are_refused_with_a_sentence_and_v1_never(self, engine: Engine) -> None:
        if not isinstance(engine, TorrentEngine):
            return
        fine, odd = (TorrentFile(index=1, path=path, size=Bytes(1)) for path in ("a", "Icon\r"))
        plain = TorrentInfo(
            info_hash="ab" * 20, info_hash_v2=None, name="plain", files=(fine,),
            private=False, trackers=(), web_seeds=(), version="v1", is_multi=True, piece_length=Bytes(16384),
            total=Bytes(1),
        )  # fmt: skip
        assert engine.refuses_torrent(plain) is None
        for other in (
            replace(plain, version="v2"), replace(plain, version="hybrid"), replace(plain, files=(odd,)),
        ):  # fmt: skip
            why = engine.refuses_torrent(other)
            assert why is None or (why and why.isprintable())

    async def test_the_content_type_is_bare(self, engine: Engine, harness: EngineHarness) -> None:
        if not isinstance(engine, SniffingEngine) or harness.small.source.kind is not SourceKind.URL:
            return
        options = {**harness.small.options, "another-engines-option": "x"}
        found = await engine.sniff(harness.small.source, options, deadline=Seconds(harness.patience))
        assert found.content_type is None or re.fullmatch(r"[a-z0-9!#$&^_.+-]+/[a-z0-9!#$&^_.+-]+", found.content_type)
        contents = harness.small.contents
        assert found.size is None or not contents or found.size == sum(map(len, contents.values()))

    async def test_peers_can_be_asked_for(self, engine: Engine, harness: EngineHarness, downloads: Path) -> None:
        if not isinstance(engine, PeeringEngine):
            return
        request = a_request(harness.slow, downloads)
        await engine.add(request)
        for peer in await engine.peers(request.replica_id):
            assert 0 <= peer.progress <= 1

    async def test_it_tells_in_its_own_words_and_tells_no_secret(
        self, engine: Engine, harness: EngineHarness, downloads: Path
    ) -> None:
        if not isinstance(engine, OutspokenEngine):
            return
        request = a_request(harness.slow, downloads)
        await engine.add(request)
        deadline = time.monotonic() + harness.patience
        while not (said := await engine.raw_status(request.replica_id)):
            assert time.monotonic() < deadline, "nothing was said"
            await asyncio.sleep(0.05)
        told = json.dumps(dict(said))
        assert str(request.directory) not in told
        assert request.source.uri not in told


async def _done(engine: Engine, replica_id: ReplicaId) -> int:
    return (await engine.statuses())[replica_id].done


async def _steady(read: Callable[[], Awaitable[int]], *, at_least: int) -> None:
    """What is read settles and then does not change for half a second."""
    before, since, until = await read(), time.monotonic(), time.monotonic() + 10
    while time.monotonic() - since < 0.5:
        assert time.monotonic() < until, "it never settles"
        now = await read()
        if now != before:
            before, since = now, time.monotonic()
        await asyncio.sleep(0.05)
    assert before >= at_least
