"""Placing what waits: 5,000 queued jobs on 50 nodes, from the moment at which they may start.

Run: python -m tests.perf.bench_placing. To reach: at most 5 s until every job has its node in the store and that node
was told, by the reconciler's own loop, which learns that the queue was opened as it does from the settings. The nodes
are in this process and do nothing; the store is SQLite on disk, as it is by default. Beside the seconds it prints those
of this process's CPU, which say more on a machine that is busy. Prints; asserts nothing.
"""

from __future__ import annotations

import asyncio
import cProfile
import pstats
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from oddaemon.balancers.least_loaded import LeastLoaded
from oddaemon.balancers.most_free import MostFree
from oddaemon.balancers.round_robin import RoundRobin
from oddaemon.balancers.weighted import Weighted
from oddaemon.domain.node import DiskUsage, Liveness, NodeSnapshot
from oddaemon.domain.types import Bytes, Handle, ReplicaId, Seconds
from oddaemon.ports.engine import FillState, FillStatus
from oddaemon.ports.load_balancer import LoadBalancer
from oddaemon.ports.node_client import Dispatch, NodeStatuses
from tests.support.core import HERE
from tests.support.many import ManyHouse, Worker
from tests.support.wait import until

JOBS, NODES = 5000, 50
SIZE = Bytes(1 << 30)
BALANCERS: tuple[type[LoadBalancer], ...] = (RoundRobin, LeastLoaded, MostFree, Weighted)


class Idle:
    """Takes what it is given, and never ends."""

    def __init__(self, worker: Worker) -> None:
        self.agent = worker.line.agent
        self.given: dict[ReplicaId, FillStatus] = {}

    def __getattr__(self, name: str) -> Any:
        return getattr(self.agent, name)

    async def dispatch(self, order: Dispatch) -> Handle:
        self.given[order.replica_id] = FillStatus(
            replica_id=order.replica_id, state=FillState.ACTIVE, done=Bytes(0), total=SIZE
        )
        return Handle("1")

    async def statuses(self) -> NodeStatuses:
        return NodeStatuses(statuses=dict(self.given), down={})


def roomy(seen: NodeSnapshot) -> NodeSnapshot:
    return replace(seen, disk=DiskUsage(total=Bytes(1 << 50), free=Bytes(1 << 49)))


async def measure(balancer: LoadBalancer, folder: Path) -> tuple[float, float, float]:
    """Seconds until all are stored, and until all nodes are told; and the longest time that the loop stood still."""
    home = ManyHouse(folder, names=[f"node{number:02}" for number in range(NODES)])
    home.limits = replace(home.limits, per_user=0, per_node=200, queue_paused=True)
    home.life = Liveness(heartbeat_every=Seconds(5))
    home.balancer = balancer
    await home.start()
    nodes = []
    for worker in home.workers.values():
        worker.disk = roomy
        nodes.append(Idle(worker))
        home.clients[worker.id] = nodes[-1]
    await home.until_online()
    for first in range(0, JOBS, 100):
        await asyncio.gather(*(
            home.add(f"http://sim.invalid/{number}.bin", options={"size": str(SIZE)})
            for number in range(first, first + 100)
        ))  # fmt: skip
    await until(
        lambda: len(home.core.reconciler.view.by_entry) == JOBS, timeout=600, what="every job to be understood"
    )
    slowest = 0.0

    async def watch() -> None:
        nonlocal slowest
        while True:
            before = time.perf_counter()
            await asyncio.sleep(0.01)
            slowest = max(slowest, time.perf_counter() - before)

    home.beat = 5.0
    watching = asyncio.create_task(watch())
    home.limits = replace(home.limits, queue_paused=False)
    began, cpu = time.perf_counter(), time.process_time()
    home.core.reconciler.wake_at_once()

    async def stored() -> bool:
        return len([found for found in home.core.reconciler.view.filling() if found.node_id != HERE]) == JOBS

    await until(stored, timeout=600, every=0.05)
    placed = time.perf_counter() - began
    await until(lambda: sum(len(node.given) for node in nodes) == JOBS, timeout=600, every=0.01)
    told = time.perf_counter() - began
    watching.cancel()
    print(f"  {time.process_time() - cpu:.2f} s of CPU", flush=True)
    most, least = max(len(node.given) for node in nodes), min(len(node.given) for node in nodes)
    print(f"  {balancer.name}: between {least} and {most} on a node", flush=True)
    await home.close()
    return placed, told, slowest


async def main() -> None:
    for kind in BALANCERS[: 1 if {"--profile", "--one"} & set(sys.argv) else None]:
        with tempfile.TemporaryDirectory() as folder:
            placed, told, slowest = await measure(kind(), Path(folder))
        print(
            f"  {JOBS} jobs on {NODES} nodes: {placed:.2f} s until stored, {told:.2f} s until told "
            f"(to reach: 5 s); the loop stood still for {slowest:.2f} s at most", flush=True,
        )  # fmt: skip


if __name__ == "__main__":
    if "--profile" in sys.argv:
        profile = cProfile.Profile()
        profile.runcall(asyncio.run, main())
        pstats.Stats(profile).sort_stats("cumtime").print_stats(60)
    else:
        asyncio.run(main())
