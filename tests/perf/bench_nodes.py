"""A controller and its workers: what a call over the reversed connection costs more than a local one, and what the
heartbeats of 500 workers cost.

Run: python -m tests.perf.bench_nodes. To reach: a dispatch at most 3 ms more than a local one; 500 workers that beat
every 5 s at most half a core, each beat handled in under 20 ms at the 99th percentile. The workers are a process of
their own; behind the handlers are the registry, the watch and an SQLite store of a controller. Prints; asserts nothing.
"""

from __future__ import annotations

import asyncio
import gc
import os
import random
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import uuid4

from grpclib.protocol import Stream

from oddaemon import __version__
from oddaemon.app.system_clock import SystemClock
from oddaemon.domain.admission import Limits
from oddaemon.domain.cache import EntryFile
from oddaemon.domain.node import DiskUsage, Liveness, NodeSnapshot
from oddaemon.domain.types import Bytes, EngineName, NodeId, ReplicaId, Seconds
from oddaemon.ports.node_client import Dispatch, NodeClient
from oddaemon.ports.node_transport import ControllerAddress, Identity
from oddaemon.ports.store import Transaction
from oddaemon.rpc.connection import RequestHandler
from oddaemon.services.announcing import announcement
from oddaemon.services.board import Board
from oddaemon.services.node_registry import StoredRegistry
from oddaemon.services.node_watch import NodeWatch
from oddaemon.store.migrate import open_store
from oddaemon.transports.grpc.dialer import registry_client, served_node
from tests.support.node_samples import sample, simulated_node
from tests.support.nodes import WORKER, Controller, beat_of, controller

CALLS = 300
WORKERS = 500
EVERY = 5.0
SECONDS = 30.0
PART = 64 << 20
ENTRY = EntryFile(index=1, path="f", disk_path="f")


async def worker(address: ControllerAddress, credential: bytes, folder: Path) -> None:
    """A node, until the controller ends it."""
    async with simulated_node(folder) as (agent, _):
        identity = Identity(node_id=WORKER, credential=credential, instance="1")
        directory = folder / "downloads" / str(ReplicaId(uuid4()))
        directory.mkdir(mode=0o700)
        (directory / "f").write_bytes(os.urandom(1 << 20) * (PART >> 20))
        async with registry_client(address) as registry, served_node(address, identity, agent) as served:
            await registry.authenticate(identity)
            await registry.register(await announcement(agent, instance="1", software=__version__))
            await served.lost.wait()


async def crowd(address: ControllerAddress, credential: bytes, folder: Path) -> None:
    """Workers that do nothing but beat. Prints the milliseconds that the slowest hundredth of beats took."""
    async with simulated_node(folder) as (agent, _), AsyncExitStack() as stack:
        told = await announcement(agent, instance="1", software=__version__)
        beat = await beat_of(agent)
        took: list[float] = []

        doors = asyncio.Semaphore(20)

        async def one(number: int) -> None:
            async with doors:
                client = await stack.enter_async_context(registry_client(address))
                identity = Identity(node_id=NodeId(f"n{number}"), credential=credential, instance="1")
                await client.authenticate(identity)
                await client.register(replace(told, name=f"n{number}"))
            await asyncio.sleep(random.uniform(0, EVERY))
            while not client.lost.is_set():
                began = time.perf_counter()
                await client.heartbeat(beat)
                took.append((time.perf_counter() - began) * 1000)
                await asyncio.sleep(EVERY - (time.perf_counter() - began))

        await asyncio.gather(*(one(number) for number in range(WORKERS)), return_exceptions=True)
        print(f"{statistics.quantiles(took, n=100)[98]:.1f}", flush=True)


@asynccontextmanager
async def child(kind: str, built: Controller, credential: bytes) -> AsyncIterator[asyncio.subprocess.Process]:
    """Started; read its output after the controller has ended."""
    with tempfile.TemporaryDirectory() as folder:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "tests.perf.bench_nodes", kind, str(built.port), built.fingerprint, folder,
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
        )  # fmt: skip
        assert process.stdin is not None
        process.stdin.write(credential.hex().encode() + b"\n")
        try:
            yield process
        finally:
            await built.listener.end()
            async with asyncio.timeout(60):
                await process.wait()


async def milliseconds(call: Callable[[], Awaitable[object]]) -> list[float]:
    took = []
    for _ in range(CALLS):
        began = time.perf_counter()
        await call()
        took.append((time.perf_counter() - began) * 1000)
    return took


def dispatches(node: NodeClient) -> Callable[[], Awaitable[object]]:
    what = sample("x.bin", size="1K", rate="1")

    async def dispatch() -> None:
        order = Dispatch(
            replica_id=ReplicaId(uuid4()), engine=EngineName("simulated"), source=what.source, options=what.options
        )
        await node.dispatch(order)
        await node.cancel(order.engine, order.replica_id)

    return dispatch


async def calls() -> None:
    with tempfile.TemporaryDirectory() as folder:
        async with simulated_node(Path(folder)) as (agent, _):
            here = {
                "claims": await milliseconds(lambda: agent.claims("http://x.invalid")),
                "statuses": await milliseconds(agent.statuses),
                "dispatch and cancel": await milliseconds(dispatches(agent)),
            }
    async with controller() as built:
        credential = built.registry.add(WORKER)
        async with child("worker", built, credential):
            node = await built.connected()
            await node.claims("http://x.invalid")
            there = {
                "claims": await milliseconds(lambda: node.claims("http://x.invalid")),
                "statuses": await milliseconds(node.statuses),
                "dispatch and cancel": await milliseconds(dispatches(node)),
            }
            replicas = [
                replica for replica in await node.inventory() if (await node.verify(replica, [ENTRY]))[1] is not None
            ]
            began, count = time.perf_counter(), 0
            async for part in node.read(replicas[0], "f", offset=0, length=PART):
                count += len(part)
            rate = count / (time.perf_counter() - began) / 2**20
    for name, took in here.items():
        more = statistics.median(there[name]) - statistics.median(took)
        slow = statistics.quantiles(there[name], n=100)[98]
        each = " (two calls; to reach: 3 each)" if name.startswith("dispatch") else " (to reach: 3)"
        print(
            f"{name}: {statistics.median(took):.2f} ms here, {statistics.median(there[name]):.2f} ms over the "
            f"connection, {more:.2f} more{each}; 99 %: {slow:.2f}"
        )
    print(f"bytes of a file over the connection: {rate:.0f} MiB/s")


@asynccontextmanager
async def stored(credential: bytes, folder: Path) -> AsyncIterator[tuple[StoredRegistry, NodeWatch]]:
    """What a controller has behind its handlers, over SQLite: all workers have joined with this credential."""
    store, clock = await open_store(folder / "opendebrid.db", publish=lambda events: None), SystemClock()
    at = clock.now()

    def join(tx: Transaction) -> None:
        for number in range(WORKERS):
            node_id = NodeId(f"n{number}")
            disk = DiskUsage(total=Bytes(0), free=Bytes(0))
            new = NodeSnapshot(id=node_id, name=node_id, is_controller=False, online=False, disk=disk, engines=())
            tx.nodes.upsert(new, at)
            tx.nodes.put_credential(node_id, credential, token_id="bench", at=at)

    await store.write(join)
    watch = NodeWatch(
        store=store, clock=clock, board=Board(), limits=Limits, changed=lambda: None, local=NodeId("here"),
        life=lambda: Liveness(heartbeat_every=Seconds(EVERY)),
    )  # fmt: skip
    await watch.begin()
    yield StoredRegistry(
        store=store, clock=clock, local=NodeId("here"), every=lambda: Seconds(EVERY), heard=watch.heard,
        joined=lambda new: None, reported=lambda node_id, statuses: None,
    ), watch  # fmt: skip
    await store.close()


def timed(took: list[float]) -> None:
    """Notes for each call that is served how many milliseconds lie between its coming and its answer."""
    accept = RequestHandler.accept

    def accepting(self: RequestHandler, stream: Stream, *given: Any) -> None:
        began = time.perf_counter()
        accept(self, stream, *given)
        self._tasks[stream].add_done_callback(lambda _: took.append((time.perf_counter() - began) * 1000))

    RequestHandler.accept = accepting  # type: ignore[method-assign,assignment]


async def beats() -> None:
    took: list[float] = []
    timed(took)
    credential = os.urandom(32)
    with tempfile.TemporaryDirectory() as folder:
        async with controller() as built, stored(credential, Path(folder)) as (registry, watch):
            built.listener.registry = registry
            async with child("crowd", built, credential) as process:
                while sum(node.online for node in watch.board.nodes.values()) < WORKERS:
                    await asyncio.sleep(0.1)
                gc.collect()
                gc.freeze()  # as a daemon does when it has started
                await asyncio.sleep(EVERY)
                took.clear()
                cpu, began = time.process_time(), time.perf_counter()
                while time.perf_counter() - began < SECONDS:
                    await watch.listen()
                    await asyncio.sleep(0.2)
                elapsed, handled = time.perf_counter() - began, statistics.quantiles(took, n=100)[98]
                count, share = len(took), (time.process_time() - cpu) / elapsed
            assert process.stdout is not None
            slow = (await process.stdout.read()).decode().strip()
    print(
        f"{WORKERS} workers: {count / elapsed:.0f} beats a second, {share:.2f} of a core (to reach: 0.5), "
        f"99 % handled in {handled:.1f} ms (to reach: 20); there and back, with a worker's own part: {slow} ms"
    )


async def main() -> None:
    await calls()
    await beats()


if __name__ == "__main__":
    if len(sys.argv) > 1:
        kind, port, fingerprint, where = sys.argv[1:]
        at = ControllerAddress(host="127.0.0.1", port=int(port), fingerprint=fingerprint)
        secret = bytes.fromhex(sys.stdin.readline())
        asyncio.run((worker if kind == "worker" else crowd)(at, secret, Path(where)))
    else:
        asyncio.run(main())
