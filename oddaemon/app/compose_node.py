"""Builds what every node has, whatever the mode: supervisor, engines, storage, and the agent over them."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import asdict, dataclass, replace
from typing import Protocol

from oddaemon.app.exit_codes import ExitCode, StartFailed
from oddaemon.app.loaded import Loaded
from oddaemon.app.paths import Paths
from oddaemon.app.plugins import ENGINES, STORAGE, SUBSCRIBERS, TRANSPORTS, Plugins
from oddaemon.domain.errors import OpenDebridError, StorageMissing
from oddaemon.domain.labels import parse_labels
from oddaemon.domain.types import EngineName, NodeId
from oddaemon.fileserver.processes import StorageChoice
from oddaemon.ports.clock import Clock
from oddaemon.ports.engine import Engine, OptionSpec
from oddaemon.ports.node_transport import NodeTransport
from oddaemon.ports.plugin import Parts
from oddaemon.ports.storage import StorageProvider
from oddaemon.services.node_agent import NodeAgent
from oddaemon.supervision.supervisor import ProcessSupervisor

log = logging.getLogger(__name__)

STORAGE_STATE = "storage-{}"
TRANSPORT_STATE = "transport-{}"
BALANCER_STATE = "balancer"
"""One for all of them: which one is chosen may change while the daemon runs."""


@dataclass(slots=True)
class Bell:
    """What engines ring when a download has ended. Who hears it is known only after they are built."""

    heard: Callable[[], None] = lambda: None

    def ring(self) -> None:
        self.heard()


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    agent: NodeAgent
    storage: StorageProvider
    storage_choice: StorageChoice
    """What file processes build the same from."""
    supervisor: ProcessSupervisor
    bell: Bell
    parts: Mapping[str, Parts]
    option_specs: Mapping[EngineName, Sequence[OptionSpec]]
    """Of every engine that was built, started or not."""

    @property
    def secret_options(self) -> frozenset[str]:
        return frozenset(spec.name for specs in self.option_specs.values() for spec in specs if spec.secret)


def make_state_dirs(paths: Paths, plugins: Plugins) -> None:
    """Before anything is built: a private directory for every plug-in. Blocks on the disk."""
    names = [item.name for group in (ENGINES, SUBSCRIBERS) for item in plugins.of(group)]
    names += [STORAGE_STATE.format(item.name) for item in plugins.of(STORAGE)]
    names += [TRANSPORT_STATE.format(item.name) for item in plugins.of(TRANSPORTS)]
    for name in (*names, BALANCER_STATE):
        paths.engine_state(name).mkdir(mode=0o700, parents=True, exist_ok=True)


def plugin_parts(paths: Paths, name: str, supervisor: ProcessSupervisor, clock: Clock) -> Parts:
    return Parts(
        supervisor=supervisor, clock=clock, state_dir=paths.engine_state(name), download_dir=paths.download_dir
    )


def build_node(loaded: Loaded, paths: Paths, plugins: Plugins, clock: Clock, stack: AsyncExitStack) -> Node:
    """Everything built and nothing started, in the directories of `make_state_dirs`. Closing the stack stops all
    children."""
    supervisor = ProcessSupervisor(clock)
    stack.push_async_callback(supervisor.stop_all)
    bell = Bell()
    parts: dict[str, Parts] = {}
    engines: dict[EngineName, Engine] = {}
    problems = {EngineName(name): why for (group, name), why in plugins.broken.items() if group == ENGINES}
    for item in plugins.of(ENGINES):
        parts[item.name] = replace(plugin_parts(paths, item.name, supervisor, clock), news=bell.ring)
        engines[EngineName(item.name)] = item.plugin.build(item.settings, parts[item.name])
    storage, choice = _storage(loaded, paths, plugins, supervisor, clock)
    agent = NodeAgent(
        id=NodeId(loaded.settings.node_id),
        display_name=loaded.settings.node_name,
        engines=engines,
        storage=storage,
        problems=problems,
        labels=parse_labels(loaded.settings.node.labels),
    )
    specs = {name: engine.capabilities.options for name, engine in engines.items()}
    return Node(
        agent=agent, storage=storage, storage_choice=choice, supervisor=supervisor, bell=bell, parts=parts,
        option_specs=specs,
    )  # fmt: skip


def _storage(
    loaded: Loaded, paths: Paths, plugins: Plugins, supervisor: ProcessSupervisor, clock: Clock
) -> tuple[StorageProvider, StorageChoice]:
    """Raises StartFailed: another provider in its place would write where nobody looks for it."""
    name = loaded.settings.storage.provider
    chosen = plugins.get(STORAGE, name)
    if chosen is None:
        why = plugins.broken.get((STORAGE, name), "it is not installed")
        raise StartFailed(
            f"the storage provider {name!r} cannot be used: {why}",
            code=ExitCode.CONFIG,
            hint="mend or install it, or choose another one with storage.provider (OD_STORAGE_PROVIDER)",
        )
    parts = plugin_parts(paths, STORAGE_STATE.format(name), supervisor, clock)
    choice = StorageChoice(
        provider=name, settings=asdict(chosen.settings), state_dir=parts.state_dir, download_dir=parts.download_dir
    )
    storage: StorageProvider = chosen.plugin.build(chosen.settings, parts)
    return storage, choice


def build_transport(
    loaded: Loaded, paths: Paths, plugins: Plugins, supervisor: ProcessSupervisor, clock: Clock
) -> NodeTransport:
    """In the directories of `make_state_dirs`. Raises StartFailed."""
    name = loaded.settings.transport.adapter
    chosen = plugins.get(TRANSPORTS, name)
    if chosen is None:
        raise StartFailed(
            f"the transport {name!r} cannot be used: {plugins.broken.get((TRANSPORTS, name), 'it is not installed')}",
            code=ExitCode.CONFIG,
            hint="mend or install it, or choose another one with transport.adapter (OD_TRANSPORT_ADAPTER)",
        )
    built: NodeTransport = chosen.plugin.build(
        chosen.settings, plugin_parts(paths, TRANSPORT_STATE.format(name), supervisor, clock)
    )
    return built


class Sentinels(Protocol):
    """Remembers which folders for downloads have held a sentinel."""

    async def known(self, base: str) -> bool: ...

    async def remember(self, base: str) -> None:
        """On the disk when it returns."""


async def prepare_storage(node: Node, sentinels: Sentinels, paths: Paths) -> None:
    """A base that held a sentinel before is never given a new one: an unmounted disk has to be noticed."""
    base = str(paths.download_dir)
    known = await sentinels.known(base)
    try:
        await asyncio.to_thread(node.storage.prepare, known=known)
    except StorageMissing as error:
        # everything but downloads works, and they go on when the disk is there
        log.error("storage missing", extra={"action": "storage_missing", "error": error.message, "hint": error.hint})
    if not known:
        await sentinels.remember(base)


async def start_engines(node: Node, stack: AsyncExitStack) -> None:
    """An engine that cannot start is shown as down; the node works with the others."""
    for name, engine in node.agent.engines.items():
        stack.push_async_callback(engine.stop)
        try:
            await engine.start()
        except OpenDebridError as error:
            log.error(
                "engine does not start",
                extra={"action": "engine_start_failed", "engine": name, "error": error.message, "hint": error.hint},
            )
