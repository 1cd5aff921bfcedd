"""1,000 running and waiting downloads: the share of a core, and the memory, of the daemon's main process.

Run: python tests/perf/bench_running.py. To reach: at most 3 % of a core and 150 MB. Prints; asserts nothing.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from grpclib.client import Channel
from odproto.gen.opendebrid.control import v1 as pb

from tests.support.daemons import Daemon

JOBS = 1000
RUNNING = int(os.environ.get("BENCH_RUNNING", "500"))
SECONDS = 30.0
SETTLE = 45.0
TICKS = os.sysconf("SC_CLK_TCK")


def cpu(pid: int) -> float:
    """CPU seconds of a process, without its children."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def rss(pid: int) -> float:
    """Resident megabytes."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS"):
            return int(line.split()[1]) / 1024
    return 0.0


class Slow:
    """An origin that sends a few bytes a second, for as long as it is asked."""

    async def __aenter__(self) -> Slow:
        self.server = await asyncio.start_server(self._serve, "127.0.0.1", 0, backlog=2000)
        self.port = self.server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self.server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                writer.write(
                    b'HTTP/1.1 200 OK\r\nContent-Length: 100000000\r\nETag: "1"\r\n'
                    b"Content-Type: application/octet-stream\r\n\r\n"
                )
                if head.startswith(b"HEAD"):
                    continue
                while True:
                    writer.write(b"x" * 20_000)
                    await writer.drain()
                    await asyncio.sleep(2)
        except (OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            writer.close()


async def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        settings = {
            "LIMITS_PER_USER_CONCURRENT": str(RUNNING),
            "LIMITS_PER_NODE_CONCURRENT": str(RUNNING),
            "ENGINES_ARIA2_MAX_CONCURRENT": str(RUNNING),
            "LOGGING_LEVEL": "warn",
        }
        daemon = Daemon(Path(folder) / "od", settings)
        async with Slow() as origin, daemon:
            channel = Channel(path=str(daemon.socket))
            control = pb.ControlServiceStub(channel)
            for start in range(0, JOBS, 100):
                items = [
                    pb.AddItem(source=f"http://127.0.0.1:{origin.port}/{n}.bin", engine="aria2")
                    for n in range(start, start + 100)
                ]
                await control.add_jobs(pb.AddJobsRequest(items=items), timeout=30)
            deadline = time.monotonic() + 120
            while time.monotonic() < deadline:
                status = await control.get_status(pb.GetStatusRequest(), timeout=10)
                if status.jobs.get("active", 0) >= RUNNING and status.rate_down > 0:
                    break
                await asyncio.sleep(1)
            assert daemon.process is not None
            pid = daemon.process.pid
            await asyncio.sleep(SETTLE)
            if profile := os.environ.get("BENCH_PROFILE"):
                subprocess.run(["py-spy", "record", "-d", "15", "-f", "raw", "-o", profile, "-p", str(pid)], check=True)
            before, at = cpu(pid), time.monotonic()
            await asyncio.sleep(SECONDS)
            share = (cpu(pid) - before) / (time.monotonic() - at)
            status = await control.get_status(pb.GetStatusRequest(), timeout=10)
            print(f"jobs: {status.jobs}")
            print(f"daemon with {JOBS} jobs, {RUNNING} of them running: {share * 100:.2f} % of a core (to reach: 3)")
            print(f"memory of the main process: {rss(pid):.0f} MB (to reach: 150)")
            channel.close()


if __name__ == "__main__":
    asyncio.run(main())
