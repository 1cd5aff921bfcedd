"""A working engine whose delays, failures and crashes are set per job by options.

It makes real (sparse) files, so that everything behind the engine port can be tested and tried without a network. Where
a download stands is computed from the clock when somebody asks: a thousand of them cost no task and no timer.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence, Set
from typing import TypeVar
from urllib.parse import urlsplit

from oddaemon.domain.cache import CacheKey, hash_key, url_key
from oddaemon.domain.errors import DeadlineExceeded, EngineFailed, EngineUnavailable
from oddaemon.domain.failure import Failure, FailureCode
from oddaemon.domain.files import display_name
from oddaemon.domain.node import EngineHealth
from oddaemon.domain.source import Source
from oddaemon.domain.types import Bytes, BytesPerSecond, EngineName, Handle, ReplicaId, Seconds
from oddaemon.engines.simulated.fill import Fill
from oddaemon.engines.simulated.script import OPTIONS, digest, read_script, validate
from oddaemon.ports.clock import Clock
from oddaemon.ports.engine import (
    Capabilities,
    ClaimingEngine,
    Engine,
    FillFile,
    FillRequest,
    FillStatus,
    KeyResolution,
    OutspokenEngine,
    PausingEngine,
    Peer,
    PeeringEngine,
    ProbeResult,
    ProbingEngine,
    RateLimitingEngine,
    SelectingEngine,
)

log = logging.getLogger(__name__)

T = TypeVar("T")

NAME = EngineName("simulated")
HOST = "sim.invalid"
"""RFC 6761 section 6.4: no such host ever exists, so no real URL is taken away from another engine."""
CRASHED_FOR = Seconds(1)


class SimulatedEngine(
    Engine, PausingEngine, SelectingEngine, RateLimitingEngine, ProbingEngine, ClaimingEngine, PeeringEngine,
    OutspokenEngine,
):
    """Handles hold no state: what was downloaded is read from the directory."""

    def __init__(self, clock: Clock, *, max_concurrent: int = 1000) -> None:
        self._clock = clock
        self._max_concurrent = max_concurrent
        self._running = False
        self._fills: dict[ReplicaId, Fill] = {}
        self._starts: dict[ReplicaId, int] = {}
        """How often each replica met the failure that its script asks for."""
        self._down_until = Seconds(0)
        self._disk = asyncio.Lock()
        """One thread at a time touches fills and files."""

    @property
    def name(self) -> EngineName:
        return NAME

    @property
    def capabilities(self) -> Capabilities:
        return Capabilities(
            schemes=("http", "https"),
            probe=True,
            pause=True,
            select=True,
            rate_limit=True,
            claims_urls=True,
            custom={"scripted": True},
            options=OPTIONS,
        )

    # ── life ─────────────────────────────────────────────────────────────────────────────────────────────────

    async def start(self) -> None:
        self._running = True

    async def stop(self) -> None:
        if self._running:
            self._running = False
            await self._flush(list(self._fills.values()))
            self._fills.clear()

    async def health(self) -> EngineHealth:
        problem = self._problem()
        if not problem and self._hung():
            problem = "the engine does not answer"
        return EngineHealth(
            name=NAME,
            ok=not problem,
            version="1",
            message=problem,
            max_concurrent=self._max_concurrent,
            capabilities={"pause": True, "select": True, "probe": True, "rate_limit": True, "scripted": True},
            schemes=self.capabilities.schemes,
        )

    def validate_options(self, options: Mapping[str, str]) -> Mapping[str, str]:
        return validate(options)

    # ── downloads ────────────────────────────────────────────────────────────────────────────────────────────

    async def add(self, request: FillRequest) -> Handle:
        handle = Handle(f"sim1:{request.replica_id.hex}")
        script = read_script(request.options)
        self._check_up()
        if self._is_at_work(request.replica_id):
            return handle
        if script.delay_add:
            await self._clock.sleep(Seconds(script.delay_add))
            self._check_up()
        async with self._disk:
            if not self._is_at_work(request.replica_id):
                times = self._starts.get(request.replica_id, 0)
                troubled = script.fail_at is not None and (script.fail_times == 0 or times < script.fail_times)
                fill = Fill(request, script, _name_of(request.source), self._clock.monotonic(), troubled=troubled)
                await _in_thread(fill.scan)
                self._fills[request.replica_id] = fill
        return handle

    async def recover(self, handle: Handle, request: FillRequest) -> Handle:
        return await self.add(request)

    async def statuses(self) -> Mapping[ReplicaId, FillStatus]:
        self._check_up()
        await self._happen()
        while self._hung():
            await asyncio.Event().wait()
        now = self._clock.monotonic()
        return {replica_id: fill.status(now) for replica_id, fill in self._fills.items()}

    async def list_files(self, replica_id: ReplicaId) -> Sequence[FillFile]:
        fill = self._fills.get(replica_id)
        return fill.files(self._clock.monotonic()) if fill else []

    async def cancel(self, replica_id: ReplicaId) -> None:
        # the lock: an add of this replica that is being cancelled may still have its thread in the directory
        async with self._disk:
            fill = self._fills.pop(replica_id, None)
            if fill is not None:
                await self._write([fill])

    async def remove(self, replica_id: ReplicaId) -> None:
        async with self._disk:
            self._fills.pop(replica_id, None)
            self._starts.pop(replica_id, None)

    async def resolve_cache_key(self, source: Source, options: Mapping[str, str]) -> KeyResolution | None:
        script = read_script(options)
        if script.delay_key:
            await self._clock.sleep(Seconds(script.delay_key))
        return KeyResolution(key=_key_of(source, options), name=_name_of(source))

    # ── optional abilities ───────────────────────────────────────────────────────────────────────────────────

    async def pause(self, replica_id: ReplicaId) -> None:
        fill = self._fills.get(replica_id)
        if fill:
            fill.pause(self._clock.monotonic())
            await self._flush([fill])

    async def resume(self, replica_id: ReplicaId) -> None:
        fill = self._fills.get(replica_id)
        if fill:
            fill.resume(self._clock.monotonic())

    async def select(self, replica_id: ReplicaId, selection: Set[int] | None) -> None:
        fill = self._fills.get(replica_id)
        if fill:
            fill.select(selection, self._clock.monotonic())

    async def limit(self, replica_id: ReplicaId, *, down: BytesPerSecond | None, up: BytesPerSecond | None) -> None:
        fill = self._fills.get(replica_id)
        if fill:
            fill.limit(down, self._clock.monotonic())

    async def probe(
        self, source: Source, options: Mapping[str, str], *, torrent: bytes | None, deadline: Seconds
    ) -> ProbeResult:
        script = read_script(options)
        if script.delay_metadata > deadline:
            await self._clock.sleep(deadline)
            raise DeadlineExceeded("the script's metadata takes longer than that")
        await self._clock.sleep(Seconds(script.delay_metadata))
        if script.fails:
            code = script.fail_code or FailureCode.ENGINE
            failure = Failure(code=code, message=f"the script says so: {code}", retry=script.fail_retry)
            raise EngineFailed(failure.message, failure=failure)
        name = _name_of(source)
        files = [
            FillFile(index=index, path=f"{name}/{index:04}.bin", disk_path=f"{index:04}.bin", size=Bytes(size),
                     done=Bytes(0))
            for index, size in enumerate(script.sizes, 1)
        ]  # fmt: skip
        return ProbeResult(name=name, size=Bytes(script.size), files=files, key=_key_of(source, options))

    async def claims(self, url: str) -> bool:
        return urlsplit(url).hostname == HOST

    async def peers(self, replica_id: ReplicaId) -> Sequence[Peer]:
        return []

    async def raw_status(self, replica_id: ReplicaId) -> Mapping[str, str | int | float | bool]:
        fill = self._fills.get(replica_id)
        if fill is None:
            return {}
        status = fill.status(self._clock.monotonic())
        return {"state": str(status.state), "done": int(status.done), "rate": int(status.rate_down)}

    # ── what happens by itself ───────────────────────────────────────────────────────────────────────────────

    async def _happen(self) -> None:
        """Everything that has come due: failures, crashes, completions, bytes to disk."""
        now = self._clock.monotonic()
        due: list[Fill] = []
        for fill in list(self._fills.values()):
            if fill.happens(now) and not fill.script.hang and not fill.script.stall:
                replica_id = fill.request.replica_id
                self._starts[replica_id] = self._starts.get(replica_id, 0) + 1
                if fill.script.crash:
                    await self._crash(now)
                fill.fail(now)
                due.append(fill)
            elif fill.arrived(now):
                fill.complete()
                due.append(fill)
            elif fill.worth_writing(now):
                due.append(fill)
        if due:
            await self._flush(due)

    async def _crash(self, now: float) -> None:
        """The child is gone: its downloads are forgotten, their bytes stay."""
        log.warning("the simulated engine crashes as its script says", extra={"action": "simulated_crash"})
        fills = list(self._fills.values())
        self._fills.clear()
        self._down_until = Seconds(now + CRASHED_FOR)
        await self._flush(fills)
        self._check_up()

    def _hung(self) -> bool:
        now = self._clock.monotonic()
        return any(fill.script.hang and fill.happens(now) for fill in self._fills.values())

    def _problem(self) -> str:
        if not self._running:
            return "the engine is not started"
        return "the engine has crashed" if self._clock.monotonic() < self._down_until else ""

    def _check_up(self) -> None:
        problem = self._problem()
        if problem:
            raise EngineUnavailable(problem)

    def _is_at_work(self, replica_id: ReplicaId) -> bool:
        """Whether an add changes nothing: it is known, and has not failed."""
        fill = self._fills.get(replica_id)
        return fill is not None and fill.failure is None

    async def _flush(self, fills: Sequence[Fill]) -> None:
        async with self._disk:
            await self._write(fills)

    async def _write(self, fills: Sequence[Fill]) -> None:
        now = self._clock.monotonic()
        lengths = [(fill, fill.lengths(now)) for fill in fills]

        def write() -> None:
            for fill, have in lengths:
                fill.write(have)

        await _in_thread(write)


async def _in_thread(work: Callable[[], T]) -> T:
    """Runs blocking work in a thread and, when cancelled, waits for its end all the same: the caller's lock must not
    be free while the thread is at it. The work is a few small files."""
    task = asyncio.ensure_future(asyncio.to_thread(work))
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait([task])
        raise


def _name_of(source: Source) -> str:
    return display_name(source.name or "", default="simulated")


def _key_of(source: Source, options: Mapping[str, str]) -> CacheKey:
    if source.info_hash:
        return hash_key(NAME, source.info_hash)
    return url_key(NAME, source.normalised or source.uri, digest(validate(options)))
