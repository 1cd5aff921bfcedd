"""Nodes with a running engine, and what to download with them."""

from __future__ import annotations

import contextlib
import os
from collections.abc import AsyncIterator
from pathlib import Path

from oddaemon.app.system_clock import SystemClock
from oddaemon.domain.source import parse_source
from oddaemon.engines.simulated import PLUGIN
from oddaemon.engines.simulated.engine import SimulatedEngine
from oddaemon.engines.simulated.script import file_bytes, read_script
from oddaemon.ports.plugin import Parts
from oddaemon.services.node_agent import NodeAgent
from oddaemon.testing.engine_samples import EngineHarness, Sample
from oddaemon.testing.fakes import FakeSupervisor
from tests.support import aria2
from tests.support.nodes import agent_of
from tests.support.origin_server import Origin

SIMULATED_CAN = frozenset({"pause", "select", "rate_limit", "probe", "claims_urls"})
ARIA2_CAN = frozenset({"pause", "select", "rate_limit", "probe", "sniff"})


def sample(path: str, **options: str) -> Sample:
    source = parse_source(f"http://sim.invalid/{path}")
    given = {name.replace("_", "-"): value for name, value in options.items()}
    script = read_script(given)
    contents = {index: file_bytes(source.uri, script, index) for index in range(1, script.files + 1)}
    return Sample(source=source, options=given, contents=contents)


def simulated_engine(folder: Path) -> SimulatedEngine:
    for name in ("state", "downloads"):
        (folder / name).mkdir(mode=0o700, exist_ok=True)
    parts = Parts(
        supervisor=FakeSupervisor(), clock=SystemClock(), state_dir=folder / "state",
        download_dir=folder / "downloads",
    )  # fmt: skip
    engine = PLUGIN.build(PLUGIN.settings_type(enabled=True), parts)
    assert isinstance(engine, SimulatedEngine)
    return engine


@contextlib.asynccontextmanager
async def simulated_node(folder: Path) -> AsyncIterator[tuple[NodeAgent, EngineHarness]]:
    engine = simulated_engine(folder)
    samples = EngineHarness(
        build=lambda _: engine,
        small=sample("small.bin", size="100K"),
        slow=sample("slow.bin", size="1M", rate="500K"),
        broken=sample("broken.bin", fail_code="ORIGIN_GONE"),
        several=sample("several", files="4", size="1001"),
        claimed_url="http://sim.invalid/x",
    )
    await engine.start()
    try:
        yield agent_of(engine, folder / "downloads"), samples
    finally:
        await engine.stop()


@contextlib.asynccontextmanager
async def aria2_node(folder: Path) -> AsyncIterator[tuple[NodeAgent, EngineHarness]]:
    downloads = folder / "downloads"
    downloads.mkdir(mode=0o700)
    engine = aria2.build(downloads / "state")
    async with Origin() as origin:
        small, slow = os.urandom(200_000), os.urandom(3_000_000)
        origin.page("/small.bin", small, etag='"small"')
        origin.page("/slow.bin", slow, etag='"slow"', rate=800_000)
        samples = EngineHarness(
            build=lambda _: engine,
            small=Sample(source=parse_source(origin.url("/small.bin")), contents={1: small}),
            slow=Sample(source=parse_source(origin.url("/slow.bin")), contents={1: slow}),
            broken=Sample(source=parse_source(origin.url("/nothing"))),
        )
        await engine.start()
        try:
            yield agent_of(engine, downloads), samples
        finally:
            await engine.stop()
