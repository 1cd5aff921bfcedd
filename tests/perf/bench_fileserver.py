"""The file server against nginx on the same machine, in the same run: ratios, not absolutes.

    python tests/perf/bench_fileserver.py [--size-mib 2048] [--rounds 5] [--seconds 5]

One large file: throughput and CPU per GiB. 64 connections of random 64 KiB ranges (wrk): CPU per request. CPU
is what the server's processes used by /proc; rounds of both servers alternate, the medians are compared.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import re
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from uuid import uuid4

from oddaemon.domain.link import LinkContent, LinkFile, LinkKind
from oddaemon.domain.link_token import LinkToken, new_link_id, new_master_key, sign
from oddaemon.domain.types import Bytes, LinkId, ReplicaId, UserId
from oddaemon.fileserver.processes import FileServer, LinkUsage
from oddaemon.storage.local import LocalStorage
from tests.support.core import stored_in

MIB = 1 << 20
RANGE_BYTES = 64 * 1024
TARGETS = {"throughput": 0.95, "cpu per GiB": 1.2, "cpu per range": 4.0}


@dataclass
class Server:
    """What is measured, and what was found."""

    name: str
    url: str
    pids: Callable[[], list[int]]
    mib_per_s: list[float] = field(default_factory=list)
    cpu_per_gib: list[float] = field(default_factory=list)
    ranges_per_s: list[float] = field(default_factory=list)
    cpu_us_per_range: list[float] = field(default_factory=list)


def cpu_seconds(pids: list[int]) -> float:
    """User and system time (proc(5), fields 14 and 15)."""
    total = 0
    for pid in pids:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        total += int(fields[11]) + int(fields[12])
    return total / os.sysconf("SC_CLK_TCK")


def children_of(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def make_file(path: Path, size: int) -> None:
    block = os.urandom(MIB)
    with path.open("wb") as file:
        for _ in range(size // MIB):
            file.write(block)


async def run(*command: str) -> str:
    process = await asyncio.create_subprocess_exec(*command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    out, err = await process.communicate()
    if process.returncode:
        raise SystemExit(f"{command[0]} failed: {err.decode()}")
    return out.decode()


@asynccontextmanager
async def nginx(directory: Path, root: Path, name: str) -> AsyncIterator[Server]:
    program = shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
    if program is None:
        raise SystemExit("nginx is not installed")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    config = directory / "nginx.conf"
    config.write_text(
        f"worker_processes 1; daemon off; pid {directory}/nginx.pid; error_log {directory}/error.log;\n"
        f"{'user root;' if os.geteuid() == 0 else ''}\n"
        "events { worker_connections 1024; }\n"
        "http { access_log off; sendfile on; tcp_nopush on; sendfile_max_chunk 2m; keepalive_requests 100000000;\n"
        f"  client_body_temp_path {directory}; proxy_temp_path {directory}; fastcgi_temp_path {directory};\n"
        f"  uwsgi_temp_path {directory}; scgi_temp_path {directory};\n"
        f"  server {{ listen 127.0.0.1:{port}; root {root}; }} }}\n"
    )
    process = await asyncio.create_subprocess_exec(
        program, "-c", str(config), "-p", str(directory), stderr=subprocess.DEVNULL
    )
    try:
        await until_open(port)
        workers = children_of(process.pid)
        yield Server("nginx", f"http://127.0.0.1:{port}/{name}", lambda: workers)
    finally:
        process.send_signal(signal.SIGTERM)
        await asyncio.wait_for(process.wait(), 10)


async def until_open(port: int) -> None:
    deadline = time.monotonic() + 10
    while True:
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
        except OSError:
            if time.monotonic() > deadline:
                raise
            await asyncio.sleep(0.02)
        else:
            writer.close()
            return


@asynccontextmanager
async def ours(storage: LocalStorage, replica_id: ReplicaId, name: str, size: int) -> AsyncIterator[Server]:
    key = new_master_key()

    async def look_up(_link: LinkId, _replica: ReplicaId, _index: int) -> LinkContent:
        file = LinkFile(path=name, disk_path=name, size=Bytes(size), content_type="application/octet-stream")
        return LinkContent(name=name, files=(file,))

    async def on_usage(_usage: LinkUsage) -> None:
        return None

    async def read_revoked() -> dict[LinkId, object]:
        return {}

    server = FileServer(
        host="127.0.0.1", port=0, storage=stored_in(storage.base), keys=[key], look_up=look_up, on_usage=on_usage,
        read_revoked=read_revoked,  # type: ignore[arg-type]
    )  # fmt: skip
    host, port = await server.start()
    token = sign(
        LinkToken(
            link_id=new_link_id(), replica_id=replica_id, user_id=UserId(uuid4()), file_index=1, kind=LinkKind.FILE,
            inline=False, expires_at=int(time.time()) + 86_400,
        ),
        key,
    )  # fmt: skip
    try:
        yield Server("opendebrid", f"http://{host}:{port}/d/{token}/{name}", lambda: list(server.pids))
    finally:
        await server.stop()


def pin(servers: list[Server]) -> None:
    """Servers on one core, clients on another: else a round shows where the scheduler put them, more than what they
    cost. Clients inherit the affinity of this process."""
    first, *others = sorted(os.sched_getaffinity(0))
    if others:
        for pid in (pid for server in servers for pid in server.pids()):
            os.sched_setaffinity(pid, {first})
        os.sched_setaffinity(0, {others[0]})


async def large(server: Server, size: int, transfers: int) -> None:
    """Whole transfers over one connection."""
    before = cpu_seconds(server.pids())
    urls = [argument for _ in range(transfers) for argument in ("-o", "/dev/null", server.url)]
    speeds = await run("curl", "-sf", "-w", "%{speed_download} %{size_download}\n", *urls)
    used = cpu_seconds(server.pids()) - before
    rates = []
    for line in speeds.split("\n"):
        if line:
            rate, got = line.split()
            if int(got) != size:
                raise SystemExit(f"{server.name} sent {got} of {size} bytes")
            rates.append(float(rate) / MIB)
    server.mib_per_s.append(statistics.median(rates))
    server.cpu_per_gib.append(used / (transfers * size / (1 << 30)))


async def ranges(server: Server, script: Path, seconds: int) -> None:
    before = cpu_seconds(server.pids())
    told = await run("wrk", "-t1", "-c64", f"-d{seconds}s", "-s", str(script), server.url)
    used = cpu_seconds(server.pids()) - before
    requests = int(re.search(r"(\d+) requests in", told)[1])  # type: ignore[index]
    if "Non-2xx" in told or "Socket errors" in told:
        raise SystemExit(f"{server.name} answered with errors:\n{told}")
    server.ranges_per_s.append(requests / seconds)
    server.cpu_us_per_range.append(used / requests * 1e6)


async def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size-mib", type=int, default=2048)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=4, help="of random ranges, each round")
    arguments = parser.parse_args()
    size = arguments.size_mib * MIB
    with tempfile.TemporaryDirectory(prefix="opendebrid-bench-") as text:
        directory = Path(text)
        storage = LocalStorage(directory / "downloads")
        storage.prepare(known=False)
        replica_id = ReplicaId(uuid4())
        root = storage.allocate(replica_id)
        make_file(root / "large.bin", size)
        script = directory / "ranges.lua"
        script.write_text(
            f"math.randomseed(1)\nrequest = function()\n  local s = math.random(0, {size - RANGE_BYTES})\n"
            '  return wrk.format("GET", nil, {["Range"] = "bytes=" .. s .. "-" .. (s + '
            f"{RANGE_BYTES - 1})}})\nend\n"
        )
        async with nginx(directory, root, "large.bin") as theirs, ours(storage, replica_id, "large.bin", size) as own:
            pin([theirs, own])
            for server in (theirs, own):  # warm
                await large(server, size, 1)
                await ranges(server, script, 1)
                server.__init__(server.name, server.url, server.pids)  # type: ignore[misc]
            for number in range(arguments.rounds):
                for server in (theirs, own) if number % 2 else (own, theirs):
                    await large(server, size, 2)
                for server in (theirs, own) if number % 2 else (own, theirs):
                    await ranges(server, script, arguments.seconds)
            return report(theirs, own)


def report(theirs: Server, own: Server) -> int:
    print(f"{'':12} {'MiB/s':>10} {'CPU s/GiB':>10} {'ranges/s':>10} {'CPU us/range':>13}")
    for server in (theirs, own):
        figures = [
            statistics.median(found)
            for found in (server.mib_per_s, server.cpu_per_gib, server.ranges_per_s, server.cpu_us_per_range)
        ]
        print(f"{server.name:12} {figures[0]:10.0f} {figures[1]:10.3f} {figures[2]:10.0f} {figures[3]:13.1f}")

    def ratio(of: Callable[[Server], list[float]]) -> float:
        return statistics.median(of(own)) / statistics.median(of(theirs))

    found = {
        "throughput": ratio(lambda server: server.mib_per_s),
        "cpu per GiB": ratio(lambda server: server.cpu_per_gib),
        "cpu per range": ratio(lambda server: server.cpu_us_per_range),
    }
    missed = 0
    for name, value in found.items():
        target = TARGETS[name]
        good = value >= target if name == "throughput" else value <= target
        missed += not good
        sign_ = ">=" if name == "throughput" else "<="
        print(f"{name + ' against nginx':32} {value:6.2f}   to reach: {sign_} {target}  {'ok' if good else 'MISSED'}")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
