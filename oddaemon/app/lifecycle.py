"""A daemon's life: lock, start, say that it is ready, serve, drain, close in reverse order. Signals end or reload."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
from contextlib import AsyncExitStack

from oddaemon.app.compose_controller import Controller, compose_controller
from oddaemon.app.exit_codes import ExitCode
from oddaemon.app.loaded import Loaded
from oddaemon.app.logs import Logs
from oddaemon.app.paths import resolve_paths
from oddaemon.app.sd_notify import Notifier
from oddaemon.app.singleton import open_control_socket

log = logging.getLogger(__name__)

DRAIN_SECONDS = 5.0
"""For calls in flight; streams are told at once."""
CLOSE_SECONDS = 8.0
"""For closing everything: together with the drain well below what service managers allow."""
WATCH_SECONDS = 5.0
SWITCH_SECONDS = 0.0005
"""Between the event loop and the threads of the store, each of which gives the interpreter up at every statement and
then waits that long for it: with Python's own 5 ms a busy daemon mostly waits."""
STUCK_SECONDS = 60.0
"""The reconciler has not come round for so long: the watchdog is no longer told that all is well."""


def run_controller(loaded: Loaded, logs: Logs) -> int:
    """Runs until a signal or a Shutdown call. The process's exit code; start-up errors are raised."""
    sys.setswitchinterval(SWITCH_SECONDS)
    return asyncio.run(_run(loaded, logs))


async def _run(loaded: Loaded, logs: Logs) -> int:
    settings = loaded.settings
    paths = resolve_paths(settings)
    paths.make()
    mode = int(settings.control.socket_mode, 8) if settings.control.socket_mode else None
    listening = open_control_socket(paths.socket, mode=mode, group=settings.control.socket_group)
    notifier = Notifier()
    ending = asyncio.Event()
    forced = asyncio.Event()
    loop = asyncio.get_running_loop()

    def stop() -> None:
        # the second signal skips the drain
        (forced if ending.is_set() else ending).set()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop)
    try:
        async with AsyncExitStack() as stack:
            controller = await compose_controller(loaded, paths, logs, listening, stop, stack)
            loop.add_signal_handler(signal.SIGHUP, _reload, controller, notifier)
            notifier.ready()
            log.info(
                "ready",
                extra={
                    "action": "ready", "socket": str(paths.socket), "http": controller.http_url,
                    "files": controller.files_url,
                },
            )  # fmt: skip
            try:
                await _serve(controller, notifier, ending, forced)
            finally:
                notifier.stopping()
            await _close(stack, forced)
    finally:
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            loop.remove_signal_handler(number)
        listening.close()
    log.info("stopped", extra={"action": "stopped"})
    return ExitCode.OK


async def _serve(controller: Controller, notifier: Notifier, ending: asyncio.Event, forced: asyncio.Event) -> None:
    """Everything that runs for as long as the daemon does, until the end is asked for; then the drain."""
    async with asyncio.TaskGroup() as group:
        background = [group.create_task(job, name=name) for name, job in controller.background()]
        background.append(group.create_task(_watchdog(controller, notifier), name="watchdog"))
        await ending.wait()
        log.info("shutting down", extra={"action": "stopping", "pid": os.getpid()})
        drain = asyncio.create_task(controller.drain(DRAIN_SECONDS), name="drain")
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


async def _watchdog(controller: Controller, notifier: Notifier) -> None:
    """Tells a service manager that the loop makes progress, not merely that the process exists."""
    while True:
        if controller.reconciler.stalled_for() < STUCK_SECONDS:
            notifier.alive()
        notifier.status(controller.summary())
        await asyncio.sleep(WATCH_SECONDS)


def _reload(controller: Controller, notifier: Notifier) -> None:
    notifier.reloading()
    try:
        changed, restart = controller.reload()
        log.info("reloaded", extra={"action": "reloaded", "changed": changed, "needs_restart": restart})
    except Exception as error:  # noqa: BLE001
        # the old settings stay; a typing mistake must not end anybody's downloads
        log.error("reload failed", extra={"action": "reload_failed", "error": str(error)})
    finally:
        notifier.ready()
