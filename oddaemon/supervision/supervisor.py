"""Starts, probes, watches and restarts child daemons. Knows nothing of what they do."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable

from oddaemon.domain.backoff import RestartBackoff
from oddaemon.domain.errors import EngineUnavailable, OpenDebridError
from oddaemon.domain.types import Seconds
from oddaemon.ports.clock import Clock
from oddaemon.ports.supervisor import DaemonSpec, SupervisedDaemon, Supervisor
from oddaemon.supervision.child import Child

log = logging.getLogger(__name__)

_PROBE_TIMEOUT = Seconds(5)
"""For one question to the child: a child that takes longer counts as not answering."""


class ProcessSupervisor(Supervisor):
    """One task per child; the task owns the process and everything that happens to it."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._keepers: dict[str, _Keeper] = {}

    async def start(self, spec: DaemonSpec) -> SupervisedDaemon:
        if spec.name in self._keepers:
            await self.stop(spec.name)
        keeper = _Keeper(spec, self._clock)
        self._keepers[spec.name] = keeper
        try:
            await keeper.start()
        except BaseException:
            await self.stop(spec.name)
            raise
        return keeper

    async def stop(self, name: str) -> None:
        keeper = self._keepers.pop(name, None)
        if keeper is not None:
            await keeper.stop()

    async def stop_all(self) -> None:
        for name in reversed(list(self._keepers)):
            await self.stop(name)


class _Keeper(SupervisedDaemon):
    """Keeps one child running."""

    def __init__(self, spec: DaemonSpec, clock: Clock) -> None:
        self._spec = spec
        self._clock = clock
        self._backoff = RestartBackoff()
        self._child: Child | None = None
        self._running = False
        self._generation = 0
        self._problem = ""
        self._settled: asyncio.Future[None] | None = None
        """Done when the first attempt has succeeded or failed; carries the error that makes trying again senseless."""
        self._task: asyncio.Task[None] | None = None

    @property
    def running(self) -> bool:
        return self._running

    @property
    def generation(self) -> int:
        return self._generation

    @property
    def last_problem(self) -> str:
        return self._problem

    @property
    def pid(self) -> int | None:
        return None if self._child is None else self._child.pid

    async def start(self) -> None:
        self._settled = asyncio.get_running_loop().create_future()
        # the one owner of the child: stop() cancels and awaits it
        self._task = asyncio.create_task(self._keep(), name=f"supervise {self._spec.name}")
        await asyncio.shield(self._settled)

    async def stop(self) -> None:
        task, self._task = self._task, None
        if task is None:
            return
        task.cancel()
        await asyncio.wait([task])
        if self._settled is not None and self._settled.done() and not self._settled.cancelled():
            self._settled.exception()  # it was raised to the caller of start, or nobody waits any more

    async def _keep(self) -> None:
        while True:
            ready_at: Seconds | None = None
            try:
                ready_at = await self._run_once()
            except EngineUnavailable as error:
                self._problem = error.message
                if self._settled is None or not self._settled.done():
                    self._settle(error)
                    return
                # the program went away while we ran, as in an upgrade: it may come back
            except (OSError, OpenDebridError) as error:
                self._problem = str(error)
            except Exception as error:
                self._problem = f"{type(error).__name__} while watching {self._spec.name}"
                log.exception("child cannot be watched", extra={"action": "child.error", "child": self._spec.name})
            self._settle(None)
            ran_for = Seconds(0 if ready_at is None else self._clock.monotonic() - ready_at)
            wait = self._backoff.next_wait(ran_for=ran_for)
            log.warning(
                "child is restarted",
                extra={"action": "child.restart", "child": self._spec.name, "wait_s": wait, "problem": self._problem},
            )
            await self._clock.sleep(wait)

    async def _run_once(self) -> Seconds | None:
        """One life of the child, until it ends or has to be ended; when it became ready, if it did."""
        spec = self._spec
        command = await spec.command()
        child = await Child.launch(spec.name, command, cwd=spec.cwd, environment=spec.environment)
        self._child = child
        ready_at: Seconds | None = None
        try:
            async with asyncio.TaskGroup() as group:
                output = group.create_task(child.relay_output(), name=f"output of {spec.name}")
                end = group.create_task(child.wait(), name=f"end of {spec.name}")
                if await self._until_ready(end):
                    ready_at = self._clock.monotonic()
                    self._running, self._problem = True, ""
                    self._generation += 1
                    self._settle(None)
                    await self._until_unwell(end)
                self._running = False
                ended_by_itself = end.done()
                await child.end(spec.stop_grace)
                # the output closes with the last process of the group that holds it
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(1):
                        await asyncio.shield(output)
                output.cancel()
                end.cancel()
            if ended_by_itself or not self._problem:
                self._problem = f"{spec.name} ended: {child.last_words}"
        finally:
            self._running = False
            self._child = None
            if not child.ended:
                await child.end(spec.stop_grace)
        return ready_at

    async def _until_ready(self, end: asyncio.Task[int]) -> bool:
        deadline = self._clock.monotonic() + self._spec.ready_timeout
        while not end.done():
            if await _answers(self._spec.ready):
                return True
            if self._clock.monotonic() > deadline:
                self._problem = f"{self._spec.name} did not answer within {self._spec.ready_timeout:g} s of its start"
                return False
            await asyncio.wait([end], timeout=self._spec.ready_interval)
        return False

    async def _until_unwell(self, end: asyncio.Task[int]) -> None:
        """Returns when the child has ended or no longer answers."""
        healthy = self._spec.healthy
        missed = 0
        while not end.done():
            await asyncio.wait([end], timeout=self._spec.health_interval)
            if healthy is None or end.done():
                continue
            missed = 0 if await _answers(healthy) else missed + 1
            if missed >= self._spec.health_misses:
                self._problem = f"{self._spec.name} stopped answering"
                return

    def _settle(self, error: EngineUnavailable | None) -> None:
        if self._settled is not None and not self._settled.done():
            if error is None:
                self._settled.set_result(None)
            else:
                self._settled.set_exception(error)


async def _answers(question: Callable[[], Awaitable[bool]]) -> bool:
    """Whether the child answers `question` in time; whatever goes wrong in asking is a no."""
    try:
        # not wait_for, which before Python 3.12 may swallow a cancellation that comes with the answer
        async with asyncio.timeout(_PROBE_TIMEOUT):
            return bool(await question())
    except (OSError, TimeoutError, OpenDebridError):
        return False
