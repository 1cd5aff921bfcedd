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
import re
from collections.abc import AsyncIterator
from itertools import product
from pathlib import Path

import pytest
import pytest_asyncio

from oddaemon.domain.errors import InvalidOption
from oddaemon.ports.engine import (
    ClaimingEngine,
    Engine,
    PausingEngine,
    ProbingEngine,
    RateLimitingEngine,
    SelectingEngine,
)
from oddaemon.testing.engine_ability_clauses import AbilityClauses
from oddaemon.testing.engine_end_clauses import EndClauses
from oddaemon.testing.engine_fill_clauses import FillClauses
from oddaemon.testing.engine_progress import until_bytes, until_complete
from oddaemon.testing.engine_samples import STOP_LIMIT, EngineHarness, Sample, a_request, private
from oddaemon.testing.engine_traces import descendants, size_of, untouched

__all__ = ["EngineContract", "EngineHarness", "Sample"]

HEALTH_LIMIT = 20.0
FORBIDDEN_OPTIONS = (
    "exec", "--exec", "out", "dir", "output", "paths", "conf-path", "config-locations", "input-file", "save-session",
    "rpc-secret", "enable-rpc", "on-download-complete", "proxy", "all-proxy", "cookies-from-browser", "load-cookies",
    "ffmpeg-location", "external-downloader", "plugin-dirs", "netrc-cmd", "batch-file", "", "no such option",
)  # fmt: skip


@pytest.mark.asyncio
class EngineContract(FillClauses, EndClauses, AbilityClauses):
    """Subclass it and define the fixture `harness`."""

    @pytest.fixture
    def state_dir(self, tmp_path: Path) -> Path:
        return private(tmp_path / "state")

    @pytest.fixture
    def downloads(self, tmp_path: Path) -> Path:
        return private(tmp_path / "downloads")

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
            request = a_request(harness.small, downloads)
            await engine.add(request)
            await until_complete(engine, request, harness)
            await engine.stop()
            await engine.stop()

    async def test_stop_ends_everything_in_time_and_keeps_the_bytes(
        self, harness: EngineHarness, state_dir: Path, downloads: Path
    ) -> None:
        before = descendants()
        engine = harness.build(state_dir)
        await engine.start()
        request = a_request(harness.slow, downloads)
        await engine.add(request)
        await until_bytes(engine, request, harness)
        await asyncio.wait_for(engine.stop(), STOP_LIMIT)
        await untouched(request.directory)
        assert not descendants() - before
        assert size_of(request.directory) > 0

    async def test_two_engines_do_not_interfere(self, harness: EngineHarness, tmp_path: Path) -> None:
        async with contextlib.AsyncExitStack() as stack:
            engines = [harness.build(private(tmp_path / f"state-{n}")) for n in "ab"]
            for engine in engines:
                await engine.start()
                stack.push_async_callback(engine.stop)
            first, second = engines
            mine = a_request(harness.slow, private(tmp_path / "a"))
            other = a_request(harness.slow, private(tmp_path / "b"))
            await first.add(mine)
            await second.add(other)
            assert set(await first.statuses()) == {mine.replica_id}
            assert set(await second.statuses()) == {other.replica_id}
            await first.cancel(other.replica_id)
            await first.stop()
            await until_bytes(second, other, harness)

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

    # ── keys ─────────────────────────────────────────────────────────────────────────────────────────────────

    async def test_the_cache_key_is_the_engines_own_and_stable(self, engine: Engine, harness: EngineHarness) -> None:
        found = [await engine.resolve_cache_key(harness.small.source, harness.small.options) for _ in range(2)]
        assert found[0] is None or found[0].key.engine == engine.name
        assert (found[0] and found[0].key) == (found[1] and found[1].key)
