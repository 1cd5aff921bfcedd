"""Many who look on: event streams, and readers while downloads progress.

Run: python -m tests.perf.bench_events. To reach: 500 open event streams and 50 events a second, none lost, at most half
a core for the daemon's main process; 200 progress updates a second with 50 readers for a minute, no error, the 99th
percentile of a read below 100 ms. Those who look on are in this process, the daemon is another. A reader reads the
first page of 20 downloads, waits half a second and reads again. Prints; asserts nothing.
"""

from __future__ import annotations

import asyncio
import re
import sys
import tempfile
import time
from pathlib import Path

from tests.perf.bench_running import cpu
from tests.perf.rest_client import Caller, Door, door_of
from tests.support.daemons import Daemon

STREAMS = 500
EVENTS_A_SECOND = 50
EVENT_SECONDS = 20
DOWNLOADS = 200
READERS = 50
READ_SECONDS = 60
PAUSE = 0.5

_ID = re.compile(rb"^id: (\d+)$", re.MULTILINE)


class Stream(asyncio.Protocol):
    """The numbers of the events that came."""

    def __init__(self, request: bytes) -> None:
        self._request = request
        self._rest = b""
        self.opened = asyncio.Event()
        self.seen: list[int] = []
        self.progress = 0
        """Events of progress, which have no number."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        whole, _, self._rest = (self._rest + data).rpartition(b"\n")
        if b"retry: " in whole:
            self.opened.set()
        self.seen += map(int, _ID.findall(whole))
        self.progress += whole.count(b"event: job.progress")


async def events(daemon: Daemon, door: Door) -> None:
    assert daemon.process is not None
    pid, loop = daemon.process.pid, asyncio.get_running_loop()
    async with Caller(door) as caller:
        job = await caller.call(
            "POST", "/downloads", {"source": "http://127.0.0.1:9/x", "engine": "simulated", "paused": True}
        )
        streams = []
        for _ in range(STREAMS):
            made = await loop.create_connection(lambda: Stream(door.request("GET", "/events")), door.host, door.port)
            streams.append(made[1])
        await asyncio.gather(*(stream.opened.wait() for stream in streams))
        await asyncio.sleep(1)
        used, began, total = cpu(pid), time.perf_counter(), EVENTS_A_SECOND * EVENT_SECONDS
        for number in range(total):
            await asyncio.sleep(max(0.0, began + number / EVENTS_A_SECOND - time.perf_counter()))
            await caller.call("PATCH", f"/downloads/{job['id']}", {"priority": number % 2 + 1})
        rate = total / (time.perf_counter() - began)
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline and any(len(stream.seen) < total for stream in streams):
            await asyncio.sleep(0.1)
        share = (cpu(pid) - used) / (time.perf_counter() - began)
        last = max(stream.seen[-1] for stream in streams if stream.seen)
        wanted = list(range(last - total + 1, last + 1))
        whole = sum(stream.seen[-total:] == wanted for stream in streams)
        print(
            f"{STREAMS} event streams, {rate:.1f} events a second (wanted: {EVENTS_A_SECOND}): {whole} streams got all "
            f"{total}; {share:.2f} of a core (to reach: all, 0.5)",
            flush=True,
        )
        for stream in streams:
            stream.transport.abort()


async def reads(daemon: Daemon, door: Door) -> None:
    took: list[float] = []
    wrong = 0
    async with Caller(door) as caller:
        wishes = {"engine": "simulated", "options": {"size": "100000000", "rate": "100000"}}
        items = [{"source": f"http://127.0.0.1:9/{n}.bin", **wishes} for n in range(DOWNLOADS)]
        await caller.call("POST", "/bulk/add", {"items": items})
        active, deadline = 0, time.monotonic() + 60
        while active < DOWNLOADS and time.monotonic() < deadline:
            status, answer = await caller.send(door.request("GET", "/downloads?filter=state%3Dactive&per_page=1"))
            active = int(re.findall(rb'"total":(\d+)', answer)[-1]) if status == 200 else 0
            await asyncio.sleep(0.2)
    loop = asyncio.get_running_loop()
    # somebody has to listen: else no progress is told
    wish = door.request("GET", "/events?types=job.progress")
    _, listening = await loop.create_connection(lambda: Stream(wish), door.host, door.port)
    await listening.opened.wait()
    end = time.monotonic() + READ_SECONDS
    request = door.request("GET", "/downloads?per_page=20")

    async def some(place: int) -> None:
        nonlocal wrong
        await asyncio.sleep(PAUSE * place / READERS)
        async with Caller(door) as caller:
            while time.monotonic() < end:
                began = time.perf_counter()
                status, _ = await caller.send(request)
                took.append((time.perf_counter() - began) * 1000)
                wrong += status != 200
                await asyncio.sleep(PAUSE)

    assert daemon.process is not None
    used, began = cpu(daemon.process.pid), time.perf_counter()
    await asyncio.gather(*(some(place) for place in range(READERS)))
    share = (cpu(daemon.process.pid) - used) / (time.perf_counter() - began)
    took.sort()
    locked = sum("lock" in line for line in daemon.log.splitlines() if "warn" in line or "error" in line)
    print(
        f"{active} downloads, {listening.progress / READ_SECONDS:.0f} progress updates a second, {READERS} readers, "
        f"{len(took)} reads in {READ_SECONDS} s: median "
        f"{took[len(took) // 2]:.1f} ms, p99 {took[len(took) * 99 // 100]:.1f} ms (to reach: 100), {wrong} not "
        f"answered, {locked} lock errors; {share:.2f} of a core",
        flush=True,
    )


async def main() -> None:
    chosen = sys.argv[1:]
    settings = {
        "LOGGING_LEVEL": "warn", "ENGINES_SIMULATED_ENABLED": "true", "LIMITS_PER_USER_CONCURRENT": "1000",
        "LIMITS_PER_NODE_CONCURRENT": "1000",
    }  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        async with Daemon(Path(folder) / "od", settings) as daemon:
            door = await door_of(daemon)
            if not chosen or "events" in chosen:
                await events(daemon, door)
            if not chosen or "reads" in chosen:
                await reads(daemon, door)


if __name__ == "__main__":
    asyncio.run(main())
