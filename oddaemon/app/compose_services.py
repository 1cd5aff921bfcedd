"""Builds what the faces of a controller offer, over its store, its node and its file server."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Collection, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass

from oddaemon import __version__
from oddaemon.app.chosen_balancer import ChosenBalancer
from oddaemon.app.compose_accounts import Allowances, build_accounts
from oddaemon.app.compose_base import Base
from oddaemon.app.compose_core import Core, build_core
from oddaemon.app.compose_files import Files
from oddaemon.app.compose_node import BALANCER_STATE, Node, build_transport, plugin_parts
from oddaemon.app.compose_nodes import Fleet, build_nodes, fleet_of
from oddaemon.app.current_settings import liveness_of
from oddaemon.app.plugins import Plugins
from oddaemon.domain.types import Bytes, ReplicaId
from oddaemon.domain.user import User
from oddaemon.ports.store import Transaction
from oddaemon.services.accounts import Accounts
from oddaemon.services.cache import CacheService
from oddaemon.services.cleanup import Cleanup
from oddaemon.services.keyed_adds import KeyedAdds
from oddaemon.services.links import LinkService
from oddaemon.services.nodes import Nodes
from oddaemon.services.status import StatusService


@dataclass(frozen=True, slots=True, kw_only=True)
class Services:
    """Everything behind the faces."""

    base: Base
    node: Node
    files: Files
    core: Core
    accounts: Accounts
    allowed: Allowances
    links: LinkService
    cache: CacheService
    cleanup: Cleanup
    keyed_adds: KeyedAdds
    status: StatusService
    nodes: Nodes


async def build_services(
    base: Base, node: Node, plugins: Plugins, files: Files, allowed: Allowances, stack: AsyncExitStack
) -> Services:
    balancer, fleet = _balancer(base, node, plugins), fleet_of(node.agent)
    core = _core(base, node, fleet, files, balancer)
    stack.push_async_callback(core.reconciler.leave)
    _connect(core, node, files)
    _follow_settings(base, core, balancer)
    cache = CacheService(
        store=base.store, clock=base.clock, nodes=lambda: list(fleet.clients.values()), wake=core.reconciler.wake,
        settle=core.reconciler.deleter.settled, in_use=files.back.used.recent,
        measure=functools.partial(_measure, base, node),
    )  # fmt: skip
    return Services(
        base=base, node=node, files=files, core=core, allowed=allowed, links=files.links, cache=cache,
        accounts=await _accounts(base, core, files, allowed, stack),
        cleanup=Cleanup(cache=cache, clock=base.clock, limits=base.limits),
        keyed_adds=KeyedAdds(base.store, base.clock),
        status=StatusService(
            store=base.store, clock=base.clock, board=core.board, reconciler=core.reconciler, node=fleet.client,
            limits=base.limits, option_specs=lambda: node.option_specs, version=__version__,
            started_at=base.clock.now(),
        ),
        nodes=await build_nodes(
            store=base.store, clock=base.clock, core=core, fleet=fleet, agent=node.agent,
            settings=lambda: base.current.settings.nodes, data_dir=base.paths.data_dir,
            transport=build_transport(base.current.started, base.paths, plugins, node.supervisor, base.clock),
            files=files.remote, stack=stack,
        ),
    )  # fmt: skip


def _balancer(base: Base, node: Node, plugins: Plugins) -> ChosenBalancer:
    parts = plugin_parts(base.paths, BALANCER_STATE, node.supervisor, base.clock)
    return ChosenBalancer(base.current.settings.scheduler.adapter, plugins, parts)


def _core(base: Base, node: Node, fleet: Fleet, files: Files, balancer: ChosenBalancer) -> Core:
    return build_core(
        store=base.store, bus=base.bus, clock=base.clock, nodes=fleet.clients, local=node.agent.id,
        balancer=balancer, limits=base.limits, option_specs=lambda: node.option_specs,
        secret_options=node.secret_options, revoke=files.servers.push_revocations,
        tells_of_others=lambda: base.current.settings.auth.tell_availability,
        life=lambda: liveness_of(base.current.settings),
    )  # fmt: skip


def _connect(core: Core, node: Node, files: Files) -> None:
    """What was built before the core comes to know it."""
    files.back.gone = core.presence.suspect
    files.links.look = core.presence.check
    files.back.links.node = core.node
    core.reconciler.view.gone = files.server.forget
    node.bell.heard = core.reconciler.news


def _follow_settings(base: Base, core: Core, balancer: ChosenBalancer) -> None:
    def changed(keys: Collection[str]) -> None:
        if "scheduler.adapter" in keys:
            balancer.choose(base.current.settings.scheduler.adapter)
        core.reconciler.wake_at_once()

    base.runtime.on_change(changed)


async def _accounts(base: Base, core: Core, files: Files, allowed: Allowances, stack: AsyncExitStack) -> Accounts:
    def limits_changed(user: User) -> None:
        allowed.changed(user)
        core.reconciler.wake_at_once()

    accounts = build_accounts(
        lambda: base.current.settings, store=base.store, clock=base.clock, revoke=files.servers.push_revocations,
        rekey=files.servers.rekey, wake=core.reconciler.wake, limited=limits_changed, stack=stack,
    )  # fmt: skip
    await accounts.load()
    return accounts


async def _measure(base: Base, node: Node, replicas: Sequence[ReplicaId]) -> Mapping[ReplicaId, Bytes]:
    """Those on this machine's disk."""

    def mine(tx: Transaction) -> list[ReplicaId]:
        found = (tx.cache.replica(replica) for replica in replicas)
        return [replica.id for replica in found if replica is not None and replica.node_id == node.agent.id]

    here = await base.store.read(mine)
    return await asyncio.to_thread(lambda: {found: node.storage.size_of(found) for found in here})
