"""A daemon's life, whatever its mode: locks, start, say that it is ready, serve, drain, close in reverse order. Signals
end or reload it."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import signal
import sys
from collections.abc import Awaitable, Callable, Collection, Coroutine, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any, Protocol

from oddaemon.app.exit_codes import ExitCode
from oddaemon.app.loaded import Loaded
from oddaemon.app.logs import Logs
from oddaemon.app.paths import Paths, resolve_paths
from oddaemon.app.sd_notify import Notifier
from oddaemon.app.singleton import ControlSocket, lock_data_dir, open_control_socket

log = logging.getLogger(__name__)

DRAIN_SECONDS = 5.0
"""For calls in flight; streams are told at once."""
CLOSE_SECONDS = 8.0
"""For closing everything: together with the drain well below what service managers allow."""
WATCH_SECONDS = 5.0
SWITCH_SECONDS = 0.0005
"""Between the event loop and the threads of the store, each of which gives the interpreter up at every statement and
then waits that long for it: with Python's own 5 ms a busy daemon mostly waits."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """What a daemon is composed from. Calling `stop` ends it."""

    loaded: Loaded
    paths: Paths
    logs: Logs
    listening: ControlSocket
    stop: Callable[[], None]


class Daemon(Protocol):
    """A controller or a worker that serves."""

    @property
    def reload(self) -> Callable[[], tuple[Collection[str], Collection[str]]]:
        """Reads the settings again: the keys that changed, and those of them that only a restart brings about. Raises,
        and then nothing has changed."""

    @property
    def places(self) -> Mapping[str, str]:
        """Where it can be reached, for the log."""

    def background(self) -> Sequence[tuple[str, Coroutine[Any, Any, None]]]:
        """What has to run for as long as the daemon does."""

    async def drain(self, deadline: float) -> None:
        """New calls are refused, streams end, calls in flight may end in so many seconds."""

    def well(self) -> bool:
        """Whether its work comes round, not merely its loop."""

    def summary(self) -> str:
        """One line for a service manager."""


Compose = Callable[[Start, AsyncExitStack], Awaitable[Daemon]]
"""A daemon that serves. What was opened is closed by the stack, last first. Raises StartFailed."""


def run(loaded: Loaded, logs: Logs, compose: Compose) -> int:
    """Runs until a signal or a Shutdown call. The process's exit code; start-up errors are raised."""
    sys.setswitchinterval(SWITCH_SECONDS)
    return asyncio.run(_run(loaded, logs, compose))


async def _run(loaded: Loaded, logs: Logs, compose: Compose) -> int:
    settings = loaded.settings
    paths = resolve_paths(settings)
    paths.make()
    mode = int(settings.control.socket_mode, 8) if settings.control.socket_mode else None
    ending = asyncio.Event()
    forced = asyncio.Event()
    loop = asyncio.get_running_loop()

    def stop() -> None:
        # the second signal skips the drain
        (forced if ending.is_set() else ending).set()

    listening = open_control_socket(paths.socket, mode=mode, group=settings.control.socket_group)
    try:
        with lock_data_dir(paths.data_dir):
            for number in (signal.SIGTERM, signal.SIGINT):
                loop.add_signal_handler(number, stop)
            start = Start(loaded=loaded, paths=paths, logs=logs, listening=listening, stop=stop)
            await _live(start, compose, ending, forced)
    finally:
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            loop.remove_signal_handler(number)
        listening.close()
    log.info("stopped", extra={"action": "stopped"})
    return ExitCode.OK


async def _live(start: Start, compose: Compose, ending: asyncio.Event, forced: asyncio.Event) -> None:
    notifier = Notifier()
    async with AsyncExitStack() as stack:
        daemon = await compose(start, stack)
        asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, _reload, daemon, notifier)
        # what was made so far stays: the collector need not look through it again and again
        gc.collect()
        gc.freeze()
        notifier.ready()
        log.info("ready", extra={"action": "ready", "socket": str(start.paths.socket), **daemon.places})
        try:
            await _serve(daemon, notifier, ending, forced)
        finally:
            notifier.stopping()
        await _close(stack, forced)


async def _serve(daemon: Daemon, notifier: Notifier, ending: asyncio.Event, forced: asyncio.Event) -> None:
    """Everything that runs for as long as the daemon does, until the end is asked for; then the drain."""
    async with asyncio.TaskGroup() as group:
        background = [group.create_task(job, name=name) for name, job in daemon.background()]
        background.append(group.create_task(_watchdog(daemon, notifier), name="watchdog"))
        await ending.wait()
        log.info("shutting down", extra={"action": "stopping", "pid": os.getpid()})
        drain = asyncio.create_task(daemon.drain(DRAIN_SECONDS), name="drain")
        skip = asyncio.create_task(forced.wait(), name="second signal")
        await asyncio.wait({drain, skip}, return_when=asyncio.FIRST_COMPLETED)
        for task in (drain, skip, *background):
            task.cancel()
        await asyncio.gather(drain, skip, return_exceptions=True)


async def _close(stack: AsyncExitStack, forced: asyncio.Event) -> None:
    try:
        async with asyncio.timeout(1.0 if forced.is_set() else CLOSE_SECONDS):
            await stack.aclose()
    except TimeoutError:
        log.error("closing took too long", extra={"action": "close_timeout"})


async def _watchdog(daemon: Daemon, notifier: Notifier) -> None:
    """Tells a service manager that the loop makes progress, not merely that the process exists."""
    while True:
        if daemon.well():
            notifier.alive()
        notifier.status(daemon.summary())
        await asyncio.sleep(WATCH_SECONDS)


def _reload(daemon: Daemon, notifier: Notifier) -> None:
    notifier.reloading()
    try:
        changed, restart = daemon.reload()
        log.info("reloaded", extra={"action": "reloaded", "changed": changed, "needs_restart": restart})
    except Exception as error:  # noqa: BLE001
        # the old settings stay; a typing mistake must not end anybody's downloads
        log.error("reload failed", extra={"action": "reload_failed", "error": str(error)})
    finally:
        notifier.ready()
