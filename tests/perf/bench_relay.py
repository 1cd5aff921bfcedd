"""A file of another node through the controller, against the node's own link, on the loopback, in the same run.

    python -m tests.perf.bench_relay [--size-mib 1024] [--rounds 5]

Two ways: bytes that the node's file server sends to a controller on the same machine, and bytes that come over the
connection that the node opened. For the second one node and controller share one process and one core here, so that its
figure is a lower bound. To reach: the first at least half of the node's own throughput; memory must not grow with what
is sent. Memory is what the controller's file process and this process hold, before and while transfers run.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import statistics
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field, replace
from pathlib import Path

from oddaemon.domain.types import Bytes
from oddaemon.ports.store import Transaction
from tests.support.files_on_nodes import Estate, estate
from tests.support.nodes import WORKER

MIB = 1 << 20
RATIO = 0.5
GROWTH_MIB = 24.0
"""Of a relaying file process, whatever it sends."""


@dataclass
class Way:
    name: str
    url: str
    mib_per_s: list[float] = field(default_factory=list)


async def enlarge(built: Estate, size: int) -> None:
    """The job's first file gets so many bytes."""
    [replica] = [one for one in await built.house.replicas() if one.node_id == WORKER]
    path = built.attic.storage.base / str(replica.id) / "1.bin"

    def write() -> None:
        block = os.urandom(MIB)
        with path.open("wb") as file:
            for _ in range(size // MIB):
                file.write(block)

    await asyncio.to_thread(write)

    def record(tx: Transaction) -> None:
        known = tx.cache.files(replica.entry_id)
        tx.cache.put_files(
            replica.entry_id, [replace(file, size=Bytes(size)) if file.index == 1 else file for file in known]
        )

    await built.house.store.write(record)


async def fetched(url: str, size: int) -> float:
    """MiB/s of a whole transfer."""
    process = await asyncio.create_subprocess_exec(
        "curl", "-sf", "-o", "/dev/null", "-w", "%{speed_download} %{size_download}", url, stdout=subprocess.PIPE
    )
    out, _ = await process.communicate()
    rate, got = out.decode().split()
    if process.returncode or int(got) != size:
        raise SystemExit(f"{url} gave {got} of {size} bytes")
    return float(rate) / MIB


def resident(pid: int) -> float:
    """MiB."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS"):
            return int(line.split()[1]) / 1024
    return 0.0


@dataclass
class Memory:
    """Of one process: at the beginning, and the most since."""

    pid: int
    before: float = 0.0
    most: float = 0.0

    def look(self) -> None:
        now = resident(self.pid)
        self.before, self.most = self.before or now, max(self.most, now)


async def watched(memories: list[Memory]) -> None:
    while True:
        for memory in memories:
            memory.look()
        await asyncio.sleep(0.02)


async def measured(folder: Path, *, near: bool, size: int, rounds: int) -> tuple[Way, Way, list[Memory]]:
    async with estate(folder, near=near) as built:
        await enlarge(built, size)
        relayed = await built.link()
        built.remote.take(WORKER, built.attic.url)
        own = await built.link()
        ways = [Way("the node's own link", own.url), Way("relayed", relayed.url)]
        for way in ways:  # warm
            await fetched(way.url, size)
        assert (built.relay.by_near > 0) == near
        memories = [Memory(built.server.pids[0]), Memory(os.getpid())]
        watching = asyncio.create_task(watched(memories))
        for number in range(rounds):
            for way in ways if number % 2 else reversed(ways):
                way.mib_per_s.append(await fetched(way.url, size))
        watching.cancel()
        return ways[0], ways[1], memories


async def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size-mib", type=int, default=1024)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    size, missed = arguments.size_mib * MIB, 0
    with tempfile.TemporaryDirectory(prefix="opendebrid-bench-") as text:
        for near, name in ((True, "one machine"), (False, "the node's connection")):
            own, relayed, memories = await measured(
                Path(text) / name.replace(" ", "-"), near=near, size=size, rounds=arguments.rounds
            )
            ratio = statistics.median(relayed.mib_per_s) / statistics.median(own.mib_per_s)
            for way in (own, relayed):
                print(f"{name}: {way.name:20} {statistics.median(way.mib_per_s):8.0f} MiB/s")
            for who, memory in zip(("the file process", "this process"), memories, strict=True):
                print(f"{name}: memory of {who:18} {memory.before:6.1f} MiB before, {memory.most:6.1f} at most")
            good = not near or ratio >= RATIO
            target = f"to reach: >= {RATIO}" if near else "no target"
            print(f"{name}: relayed against own  {ratio:6.2f}   {target}  {'ok' if good else 'MISSED'}")
            steady = memories[0].most - memories[0].before <= GROWTH_MIB
            if not steady:
                print(f"{name}: the file process grew by more than {GROWTH_MIB} MiB  MISSED")
            missed += (not good) + (not steady)
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
