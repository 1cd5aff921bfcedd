"""EngineContract: every clause of `ports.engine` as a test.

A plug-in's author binds it in a few lines:

    class TestMyEngine(EngineContract):
        @pytest_asyncio.fixture
        async def harness(self, tmp_path):
            async with my_origin_server() as origin:
                yield EngineHarness(build=lambda state_dir: MyEngine(state_dir), small=Sample(...), ...)

The suite builds, starts and stops the engines itself; it needs pytest-asyncio, Linux's /proc, and no network but what
the harness serves.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import shutil
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Set
from dataclasses import dataclass, field, replace
from itertools import product
from pathlib import Path
from uuid import uuid4

import pytest
import pytest_asyncio

from oddaemon.domain.errors import DeadlineExceeded, EngineFailed, InvalidOption
from oddaemon.domain.failure import Failure, Retry
from oddaemon.domain.files import SafeRelativePath
from oddaemon.domain.source import Source, SourceKind
from oddaemon.domain.torrent import TorrentFile, TorrentInfo
from oddaemon.domain.types import Bytes, BytesPerSecond, Handle, ReplicaId, Seconds
from oddaemon.ports.engine import (
    ClaimingEngine,
    Engine,
    FillFile,
    FillRequest,
    FillState,
    FillStatus,
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

STOP_LIMIT = 20.0
HEALTH_LIMIT = 20.0
ADD_LIMIT = 60.0
GARBAGE_HANDLES = ("", "garbage", "\x00\xff", '{"v": 999}', "[]", "1:" + "f" * 5000)
FORBIDDEN_OPTIONS = (
    "exec", "--exec", "out", "dir", "output", "paths", "conf-path", "config-locations", "input-file", "save-session",
    "rpc-secret", "enable-rpc", "on-download-complete", "proxy", "all-proxy", "cookies-from-browser", "load-cookies",
    "ffmpeg-location", "external-downloader", "plugin-dirs", "netrc-cmd", "batch-file", "", "no such option",
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """Something to download, and what has to come of it."""

    source: Source
    contents: Mapping[int, bytes] = field(default_factory=dict)
    """The bytes of each file by its index; empty when they cannot be told beforehand."""
    options: Mapping[str, str] = field(default_factory=dict)
    torrent: bytes | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineHarness:
    """What the suite needs to know of an engine."""

    build: Callable[[Path], Engine]
    """An engine that is not started and keeps what it keeps in this directory (exists, 0700, one engine at a time). The
    same directory again means: the same engine after a restart."""
    small: Sample
    """Done within seconds. Several replicas of it may run at a time."""
    slow: Sample
    """Takes between 4 and 30 s, bytes arriving all the time."""
    broken: Sample
    """Fails for good: the origin does not have it, or the like."""
    several: Sample | None = None
    """At least three files, done within seconds: for engines that select."""
    unlimited: Sample | None = None
    """At least 8 MiB that arrive in under a second when nothing limits them: for engines that limit rates."""
    claimed_url: str = ""
    """For engines that claim URLs."""
    served: Callable[[], int] | None = None
    """Bytes of bodies that the origin has sent until now: shows that a resumed download does not begin again."""
    fetched_twice: int = 256 * 1024
    """What may be fetched again at a resume, in bytes."""
    patience: float = 40.0
    """Seconds after which something that should have happened has not."""


@pytest.mark.asyncio
class EngineContract:
    """Subclass it and define the fixture `harness`."""

    @pytest.fixture
    def state_dir(self, tmp_path: Path) -> Path:
        return _private(tmp_path / "state")

    @pytest.fixture
    def downloads(self, tmp_path: Path) -> Path:
        return _private(tmp_path / "downloads")

    @pytest_asyncio.fixture
    async def engine(self, harness: EngineHarness, state_dir: Path) -> AsyncIterator[Engine]:
        engine = harness.build(state_dir)
        await engine.start()
        try:
            yield engine
        finally:
            await asyncio.wait_for(engine.stop(), 2 * STOP_LIMIT)

    # ── what it is ───────────────────────────────────────────────────────────────────────────────────────────

    async def test_name_is_constant_and_fits_into_a_url(self, engine: Engine, harness: EngineHarness) -> None:
        assert re.fullmatch(r"[a-z0-9][a-z0-9_-]*", engine.name)
        assert engine.name == engine.name

    async def test_capabilities_are_constant_after_start(self, engine: Engine) -> None:
        before = engine.capabilities
        await engine.health()
        assert engine.capabilities == before

    async def test_what_it_advertises_is_what_it_can(self, engine: Engine) -> None:
        can = engine.capabilities
        assert isinstance(engine, PausingEngine) == can.pause
        assert isinstance(engine, SelectingEngine) == can.select
        assert isinstance(engine, RateLimitingEngine) == can.rate_limit
        assert isinstance(engine, ProbingEngine) == can.probe
        assert isinstance(engine, ClaimingEngine) == can.claims_urls

    async def test_every_option_says_what_it_is(self, engine: Engine) -> None:
        names = [option.name for option in engine.capabilities.options]
        assert len(set(names)) == len(names)
        for option in engine.capabilities.options:
            assert option.description
            assert option.kind in {"bool", "int", "size", "duration", "text", "enum"}
            assert bool(option.choices) == (option.kind == "enum")

    # ── start, stop, health ──────────────────────────────────────────────────────────────────────────────────

    async def test_health_before_start_while_running_and_after_stop(
        self, harness: EngineHarness, state_dir: Path
    ) -> None:
        engine = harness.build(state_dir)
        assert not (await asyncio.wait_for(engine.health(), HEALTH_LIMIT)).ok
        await engine.start()
        try:
            running = await asyncio.wait_for(engine.health(), HEALTH_LIMIT)
            assert running.ok, running.message
            assert running.name == engine.name
        finally:
            await engine.stop()
        stopped = await asyncio.wait_for(engine.health(), HEALTH_LIMIT)
        assert not stopped.ok
        assert stopped.message

    async def test_stop_is_idempotent_and_start_may_follow(
        self, harness: EngineHarness, state_dir: Path, downloads: Path
    ) -> None:
        engine = harness.build(state_dir)
        await engine.stop()
        for _ in range(2):
            await engine.start()
            request = _request(harness.small, downloads)
            await engine.add(request)
            await _until_complete(engine, request, harness)
            await engine.stop()
            await engine.stop()

    async def test_stop_ends_everything_in_time_and_keeps_the_bytes(
        self, harness: EngineHarness, state_dir: Path, downloads: Path
    ) -> None:
        before = _descendants()
        engine = harness.build(state_dir)
        await engine.start()
        request = _request(harness.slow, downloads)
        await engine.add(request)
        await _until_bytes(engine, request, harness)
        await asyncio.wait_for(engine.stop(), STOP_LIMIT)
        await _untouched(request.directory)
        assert not _descendants() - before
        assert _size(request.directory) > 0

    async def test_two_engines_do_not_interfere(self, harness: EngineHarness, tmp_path: Path) -> None:
        async with contextlib.AsyncExitStack() as stack:
            engines = [harness.build(_private(tmp_path / f"state-{n}")) for n in "ab"]
            for engine in engines:
                await engine.start()
                stack.push_async_callback(engine.stop)
            first, second = engines
            mine = _request(harness.slow, _private(tmp_path / "a"))
            other = _request(harness.slow, _private(tmp_path / "b"))
            await first.add(mine)
            await second.add(other)
            assert set(await first.statuses()) == {mine.replica_id}
            assert set(await second.statuses()) == {other.replica_id}
            await first.cancel(other.replica_id)
            await first.stop()
            await _until_bytes(second, other, harness)

    # ── options ──────────────────────────────────────────────────────────────────────────────────────────────

    async def test_no_options_are_valid(self, engine: Engine) -> None:
        assert dict(engine.validate_options({})) == {}

    async def test_unlisted_options_are_refused_by_name(self, engine: Engine) -> None:
        for name in FORBIDDEN_OPTIONS:
            if name in {option.name for option in engine.capabilities.options}:
                pytest.fail(f"{name} can write files, run programs or reach elsewhere")
            with pytest.raises(InvalidOption) as caught:
                engine.validate_options({name: "x"})
            assert name in caught.value.message + caught.value.field

    async def test_control_characters_are_refused(self, engine: Engine) -> None:
        for option, bad in product(engine.capabilities.options, ["a\nb", "a\rb", "a\0b", "\x1b[31m", "a\x7fb"]):
            with pytest.raises(InvalidOption) as caught:
                engine.validate_options({option.name: bad})
            assert option.name in caught.value.message + caught.value.field

    async def test_values_of_the_wrong_type_are_refused(self, engine: Engine) -> None:
        for option in engine.capabilities.options:
            if option.kind != "text":
                with pytest.raises(InvalidOption):
                    engine.validate_options({option.name: "certainly not this"})

    async def test_valid_values_are_taken_and_their_normal_form_is_stable(self, engine: Engine) -> None:
        examples = {"bool": ["true", "false"], "int": ["1"], "size": ["1048576"], "duration": ["30"]}
        for option in engine.capabilities.options:
            for value in option.choices or examples.get(option.kind, []):
                normal = engine.validate_options({option.name: value})
                assert engine.validate_options(normal) == normal

    # ── adding ───────────────────────────────────────────────────────────────────────────────────────────────

    async def test_a_download_arrives_whole(self, engine: Engine, harness: EngineHarness, downloads: Path) -> None:
        request = _request(harness.small, downloads)
        assert await engine.add(request)
        status = await _until_complete(engine, request, harness)
        files = await _check_files(engine, request, harness.small)
        assert status.done == sum(file.done for file in files)
        assert status.total in (None, status.done)
        assert status.failure is None
        assert status.files_rev > 0

    async def test_add_answers_before_the_download_is_done(
        self, engine: Engine, harness: EngineHarness, downloads: Path
    ) -> None:
        request = _request(harness.slow, downloads)
        await asyncio.wait_for(engine.add(request), ADD_LIMIT)
        status = (await engine.statuses())[request.replica_id]
        assert status.state in {FillState.QUEUED, FillState.ACTIVE}

    async def test_add_is_idempotent_also_at_once(
        self, engine: Engine, harness: EngineHarness, downloads: Path
    ) -> None:
        request = _request(harness.slow, downloads)
        handles = await asyncio.gather(*(engine.add(request) for _ in range(5)))
        assert len({*handles, await engine.add(request)}) == 1
        assert set(await engine.statuses()) == {request.replica_id}
        await engine.cancel(request.replica_id)
        assert not await engine.statuses()
        await _untouched(request.directory)

    async def test_a_finished_download_stays_known_until_it_is_forgotten(
        self, engine: Engine, harness: EngineHarness, downloads: Path
    ) -> None:
        request = _request(harness.small, downloads)
        await engine.add(request)
        await _until_complete(engine, request, harness)
        assert (await engine.statuses())[request.replica_id].state is FillState.COMPLETE
        await engine.cancel(request.replica_id)
        assert request.replica_id not in await engine.statuses()

    async def test_an_earlier_attempts_bytes_are_used(
        self, engine: Engine, harness: EngineHarness, downloads: Path
    ) -> None:
        request = _request(harness.slow, downloads)
        before = harness.served() if harness.served else 0
        await engine.add(request)
        await _until_bytes(engine, request, harness, share=0.3)
        await engine.cancel(request.replica_id)
        await engine.add(request)
        status = await _until_complete(engine, request, harness)
        await _check_files(engine, request, harness.slow)
        if harness.served:
            assert harness.served() - before <= status.done + harness.fetched_twice

    async def test_a_finished_directory_is_not_fetched_again(
        self, engine: Engine, harness: EngineHarness, downloads: Path
    ) -> None:
        request = _request(harness.small, downloads)
        await engine.add(request)
        await _until_complete(engine, request, harness)
        await engine.cancel(request.replica_id)
        before = harness.served() if harness.served else 0
        await engine.add(request)
        status = await _until_complete(engine, request, harness)
        await _check_files(engine, request, harness.small)
        if harness.served:
            assert harness.served() - before <= max(status.done // 2, 65536)

    async def test_a_lasting_failure_says_so_and_may_be_added_again(
        self, engine: Engine, harness: EngineHarness, downloads: Path
    ) -> None:
        request = _request(harness.broken, downloads)
        for _ in range(2):
            failure = await _failure(engine, request, harness)
            assert failure.message
            assert failure.message.isprintable()
            assert failure.retry is Retry.LASTING
        await engine.cancel(request.replica_id)
        assert request.replica_id not in await engine.statuses()

    # ── cancelling and removing ──────────────────────────────────────────────────────────────────────────────

    async def test_cancel_stops_touching_the_directory_and_keeps_the_bytes(
        self, engine: Engine, harness: EngineHarness, downloads: Path
    ) -> None:
        request = _request(harness.slow, downloads)
        await engine.add(request)
        await _until_bytes(engine, request, harness)
        await engine.cancel(request.replica_id)
        await _untouched(request.directory)
        assert request.replica_id not in await engine.statuses()
        assert not await engine.list_files(request.replica_id)
        assert _size(request.directory) > 0

    async def test_cancel_right_after_add(self, engine: Engine, harness: EngineHarness, downloads: Path) -> None:
        request = _request(harness.slow, downloads)
        await engine.add(request)
        await engine.cancel(request.replica_id)
        await _untouched(request.directory)
        assert request.replica_id not in await engine.statuses()

    async def test_remove_leaves_nothing_behind(
        self, engine: Engine, harness: EngineHarness, state_dir: Path, downloads: Path
    ) -> None:
        request = _request(harness.slow, downloads)
        await engine.add(request)
        await _until_bytes(engine, request, harness)
        await engine.remove(request.replica_id)
        shutil.rmtree(request.directory)
        await _stays_absent(request.directory)
        names = [Path(path).name for path in _tree(state_dir)]
        assert not [name for name in names if str(request.replica_id) in name or request.replica_id.hex in name]

    async def test_remove_after_completion(self, engine: Engine, harness: EngineHarness, downloads: Path) -> None:
        request = _request(harness.small, downloads)
        await engine.add(request)
        await _until_complete(engine, request, harness)
        await engine.remove(request.replica_id)
        await _untouched(request.directory)
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
            request = _request(harness.small, downloads)
            await _cancel_at(engine.add(request), moment)
            await engine.cancel(request.replica_id)
            await _untouched(request.directory)
            assert request.replica_id not in await engine.statuses()
        await engine.add(request)
        await _until_complete(engine, request, harness)
        await _check_files(engine, request, harness.small)

    async def test_other_calls_may_be_cancelled_at_any_time(
        self, engine: Engine, harness: EngineHarness, downloads: Path
    ) -> None:
        for moment in (0, 1, 0.01):
            request = _request(harness.slow, downloads)
            await engine.add(request)
            await _cancel_at(engine.statuses(), moment)
            await _cancel_at(engine.list_files(request.replica_id), moment)
            await _cancel_at(engine.health(), moment)
            await _cancel_at(engine.resolve_cache_key(harness.small.source, harness.small.options), moment)
            await _cancel_at(engine.cancel(request.replica_id), moment)
            await engine.cancel(request.replica_id)
            assert request.replica_id not in await engine.statuses()
        await _untouched(request.directory)

    # ── recovering ───────────────────────────────────────────────────────────────────────────────────────────

    async def test_recover_after_a_restart_goes_on(
        self, harness: EngineHarness, state_dir: Path, downloads: Path
    ) -> None:
        before = harness.served() if harness.served else 0
        request = _request(harness.slow, downloads)
        engine = harness.build(state_dir)
        await engine.start()
        handle = await engine.add(request)
        await _until_bytes(engine, request, harness, share=0.3)
        await engine.stop()
        engine = harness.build(state_dir)
        await engine.start()
        try:
            again = await engine.recover(handle, request)
            assert await engine.recover(again, request) == again
            status = await _until_complete(engine, request, harness)
            await _check_files(engine, request, harness.slow)
            if harness.served:
                assert harness.served() - before <= status.done + harness.fetched_twice
        finally:
            await engine.stop()

    async def test_recover_of_a_running_replica_starts_nothing(
        self, engine: Engine, harness: EngineHarness, downloads: Path
    ) -> None:
        request = _request(harness.slow, downloads)
        handle = await engine.add(request)
        assert await engine.recover(handle, request) == handle
        assert await engine.recover(Handle("garbage"), request) == handle
        assert set(await engine.statuses()) == {request.replica_id}

    async def test_an_unreadable_handle_counts_as_none(
        self, engine: Engine, harness: EngineHarness, downloads: Path
    ) -> None:
        for handle in GARBAGE_HANDLES:
            request = _request(harness.small, downloads)
            assert await engine.recover(Handle(handle), request)
            assert request.replica_id in await engine.statuses()
            if handle != GARBAGE_HANDLES[-1]:
                await engine.remove(request.replica_id)
        await _until_complete(engine, request, harness)
        await _check_files(engine, request, harness.small)

    async def test_another_replicas_handle_does_no_harm(
        self, engine: Engine, harness: EngineHarness, downloads: Path
    ) -> None:
        other = _request(harness.slow, downloads)
        handle = await engine.add(other)
        await engine.cancel(other.replica_id)
        request = _request(harness.small, downloads)
        await engine.recover(handle, request)
        await _until_complete(engine, request, harness)
        await _check_files(engine, request, harness.small)
        await _untouched(other.directory)

    # ── keys ─────────────────────────────────────────────────────────────────────────────────────────────────

    async def test_the_cache_key_is_the_engines_own_and_stable(self, engine: Engine, harness: EngineHarness) -> None:
        found = [await engine.resolve_cache_key(harness.small.source, harness.small.options) for _ in range(2)]
        assert found[0] is None or found[0].key.engine == engine.name
        assert (found[0] and found[0].key) == (found[1] and found[1].key)

    # ── optional abilities ───────────────────────────────────────────────────────────────────────────────────

    async def test_pause_holds_and_resume_goes_on(
        self, engine: Engine, harness: EngineHarness, downloads: Path
    ) -> None:
        if not isinstance(engine, PausingEngine):
            return
        request = _request(harness.slow, downloads)
        await engine.add(request)
        await _until_bytes(engine, request, harness)
        await engine.pause(request.replica_id)
        await engine.pause(request.replica_id)
        held = await _until(engine, request, harness, lambda status: status.state is FillState.PAUSED)
        await _steady(lambda: _done(engine, request.replica_id), at_least=held.done)
        for _ in range(2):
            await engine.resume(request.replica_id)
        await _until(engine, request, harness, lambda status: status.done > held.done)
        await _until_complete(engine, request, harness)
        await _check_files(engine, request, harness.slow)

    async def test_cancel_while_paused(self, engine: Engine, harness: EngineHarness, downloads: Path) -> None:
        if not isinstance(engine, PausingEngine):
            return
        request = _request(harness.slow, downloads)
        await engine.add(request)
        await engine.pause(request.replica_id)
        await engine.cancel(request.replica_id)
        assert request.replica_id not in await engine.statuses()
        await _untouched(request.directory)
        await engine.add(request)
        await _until_bytes(engine, request, harness)

    async def test_only_the_selected_files_are_wanted(
        self, engine: Engine, harness: EngineHarness, downloads: Path
    ) -> None:
        if harness.several is None or not isinstance(engine, SelectingEngine):
            return
        request = _request(harness.several, downloads, selection=frozenset({2}))
        await engine.add(request)
        status = await _until_complete(engine, request, harness)
        files = await _check_files(engine, request, harness.several, wanted={2})
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
        await _until_complete(engine, everything, harness)
        await _check_files(engine, everything, harness.several)

    async def test_a_selection_may_change_while_it_runs(
        self, engine: Engine, harness: EngineHarness, downloads: Path
    ) -> None:
        if harness.several is None or not isinstance(engine, SelectingEngine):
            return
        request = _request(harness.several, downloads, selection=frozenset({1}))
        await engine.add(request)
        for _ in range(2):
            await engine.select(request.replica_id, frozenset({1, 3}))

        async def both() -> bool:
            files = {file.index: file for file in await engine.list_files(request.replica_id)}
            return bool(files) and files[1].finished and files[3].finished

        await _eventually(both, harness.patience, "files 1 and 3 are finished")
        await _until_complete(engine, request, harness)
        await _check_files(engine, request, harness.several, wanted={1, 3})

    async def test_rate_limits_hold_and_can_be_lifted(
        self, engine: Engine, harness: EngineHarness, downloads: Path
    ) -> None:
        if harness.unlimited is None or not isinstance(engine, RateLimitingEngine):
            return
        request = _request(harness.unlimited, downloads, max_rate_down=BytesPerSecond(1024 * 1024))
        await engine.add(request)
        await _until_bytes(engine, request, harness)
        started = time.monotonic()
        while time.monotonic() - started < 2:
            assert (await engine.statuses())[request.replica_id].state is not FillState.COMPLETE
            await asyncio.sleep(0.1)
        for _ in range(2):
            await engine.limit(request.replica_id, down=None, up=None)
        await _until_complete(engine, request, harness)
        await _check_files(engine, request, harness.unlimited)

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
        found = await engine.content_type(harness.small.source, options, deadline=Seconds(harness.patience))
        assert found is None or re.fullmatch(r"[a-z0-9!#$&^_.+-]+/[a-z0-9!#$&^_.+-]+", found)

    async def test_peers_can_be_asked_for(self, engine: Engine, harness: EngineHarness, downloads: Path) -> None:
        if not isinstance(engine, PeeringEngine):
            return
        request = _request(harness.slow, downloads)
        await engine.add(request)
        for peer in await engine.peers(request.replica_id):
            assert 0 <= peer.progress <= 1

    async def test_it_tells_in_its_own_words_and_tells_no_secret(
        self, engine: Engine, harness: EngineHarness, downloads: Path
    ) -> None:
        if not isinstance(engine, OutspokenEngine):
            return
        request = _request(harness.slow, downloads)
        await engine.add(request)
        deadline = time.monotonic() + harness.patience
        while not (said := await engine.raw_status(request.replica_id)):
            assert time.monotonic() < deadline, "nothing was said"
            await asyncio.sleep(0.05)
        told = json.dumps(dict(said))
        assert str(request.directory) not in told
        assert request.source.uri not in told


# ── helpers ──────────────────────────────────────────────────────────────────────────────────────────────────


def _private(directory: Path) -> Path:
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    return directory


def _request(
    sample: Sample,
    downloads: Path,
    *,
    selection: Set[int] | None = None,
    max_rate_down: BytesPerSecond | None = None,
) -> FillRequest:
    replica_id = ReplicaId(uuid4())
    return FillRequest(
        replica_id=replica_id,
        directory=_private(downloads / str(replica_id)),
        source=sample.source,
        options=sample.options,
        torrent=sample.torrent,
        selection=selection,
        max_rate_down=max_rate_down,
    )


async def _eventually(condition: Callable[[], Awaitable[bool]], patience: float, what: str) -> None:
    until = time.monotonic() + patience
    while not await condition():
        if time.monotonic() > until:
            pytest.fail(f"not within {patience:.0f} s: {what}")
        await asyncio.sleep(0.05)


async def _until(
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
        await _eventually(met, harness.patience, "the status that was waited for")
    except pytest.fail.Exception:
        print("last status:", last)  # noqa: T201
        raise
    assert last is not None
    return last


async def _until_complete(engine: Engine, request: FillRequest, harness: EngineHarness) -> FillStatus:
    return await _until(engine, request, harness, lambda status: status.state is FillState.COMPLETE)


async def _until_bytes(
    engine: Engine, request: FillRequest, harness: EngineHarness, *, share: float = 0.0
) -> FillStatus:
    def enough(status: FillStatus) -> bool:
        return status.done > share * (status.total or 0) and _size(request.directory) > 0

    return await _until(engine, request, harness, enough)


async def _failure(engine: Engine, request: FillRequest, harness: EngineHarness) -> Failure:
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

    await _eventually(failed, harness.patience, "the download fails")
    failure = (await engine.statuses())[request.replica_id].failure
    assert failure is not None
    return failure


async def _check_files(
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


async def _untouched(directory: Path) -> None:
    """From now on nothing has the directory open and nothing in it changes."""
    before = _tree(directory)
    until = time.monotonic() + 0.4
    while time.monotonic() < until:
        assert not _touching(directory)
        assert _tree(directory) == before
        await asyncio.sleep(0.1)


async def _stays_absent(directory: Path) -> None:
    until = time.monotonic() + 0.4
    while time.monotonic() < until:
        assert not _tree(directory.parent).keys() & {str(directory)}
        await asyncio.sleep(0.1)


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


def _tree(directory: Path) -> dict[str, tuple[int, int]]:
    found: dict[str, tuple[int, int]] = {}
    for path in directory.rglob("*") if directory.exists() else ():
        with contextlib.suppress(FileNotFoundError):
            status = path.lstat()
            found[str(path)] = (status.st_size, status.st_mtime_ns)
    return found


def _size(directory: Path) -> int:
    return sum(size for path, (size, _) in _tree(directory).items() if not Path(path).is_dir())


def _touching(directory: Path) -> list[str]:
    """Descriptors and working directories of any process of ours that lie in the directory."""
    inside = str(directory.resolve())
    found = []
    for process in Path("/proc").iterdir():
        if not process.name.isdigit():
            continue
        with contextlib.suppress(OSError):
            for link in [process / "cwd", *(process / "fd").iterdir()]:
                with contextlib.suppress(OSError):
                    target = os.readlink(link)
                    if target == inside or target.startswith(inside + "/"):
                        found.append(f"{link} -> {target}")
    return found


def _descendants() -> set[int]:
    """Processes that this one started, directly or not, and that are still running."""
    parents: dict[int, int] = {}
    for process in Path("/proc").iterdir():
        if process.name.isdigit():
            with contextlib.suppress(OSError, IndexError, ValueError):
                fields = (process / "stat").read_text().rpartition(")")[2].split()
                if fields[0] != "Z":
                    parents[int(process.name)] = int(fields[1])
    found = {os.getpid()}
    while more := {pid for pid, parent in parents.items() if parent in found} - found:
        found |= more
    return found - {os.getpid()}
