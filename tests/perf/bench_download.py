"""4 GiB from a local origin through a job, against bare aria2c with the same options. Median of 5 pairs, taken in turn.

Run: python tests/perf/bench_download.py [GiB]. To reach: at most 1.10 of aria2c's time. Prints; asserts nothing.
The origin is nginx; the clock of the job runs from the add to the moment it is seen as completed.
"""

from __future__ import annotations

import asyncio
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from grpclib.client import Channel
from odproto.gen.opendebrid.control import v1 as pb

from tests.perf.origin import nginx
from tests.support.daemons import Daemon

PAIRS = 5


def bare(url: str, into: Path) -> float:
    """Seconds of one aria2c with the options that the engine gives it (engines/aria2: daemon.py and downloads.py)."""
    into.mkdir()
    began = time.monotonic()
    subprocess.run(
        ["aria2c", "--quiet", "--file-allocation=none", "--no-conf", "--max-connection-per-server=4", "--split=4",
         "--min-split-size=4M", "--auto-save-interval=1", f"--dir={into}", "--out=file.bin", url],
        check=True,
    )  # fmt: skip
    took = time.monotonic() - began
    shutil.rmtree(into)
    return took


async def through(control: pb.ControlServiceStub, url: str) -> float:
    """Seconds of one job, from the add to its completion; it is removed again."""
    began = time.monotonic()
    answer = await control.add_jobs(pb.AddJobsRequest(items=[pb.AddItem(source=url)]), timeout=10)
    job = answer.results[0].job
    assert job is not None, answer.results[0].error
    request = pb.EventsRequest(from_start=True, types=["job.completed", "job.failed"])
    async for news in control.events(request, timeout=600):
        if news.event is not None and news.event.job == job.id:
            assert news.event.type == "job.completed", news.event
            break
    took = time.monotonic() - began
    selector = pb.JobSelector(ids=[str(job.id)])
    await control.remove_jobs(pb.RemoveJobsRequest(selector=selector), timeout=30)
    return took


async def main(gib: float) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with nginx(folder / "origin", {"file.bin": int(gib * 2**30)}) as base:
            async with Daemon(folder / "od", {"LOGGING_LEVEL": "warn"}) as daemon:
                channel = Channel(path=str(daemon.socket))
                control = pb.ControlServiceStub(channel)
                pairs: list[tuple[float, float]] = []
                for number in range(PAIRS + 1):
                    url = f"{base}/file.bin?{number}"
                    pair = (await through(control, url), await asyncio.to_thread(bare, url, folder / "bare"))
                    while any((daemon.downloads / entry.name).is_dir() for entry in daemon.downloads.iterdir()):
                        await asyncio.sleep(0.1)
                    if number:  # the first warms the page cache
                        pairs.append(pair)
                        print(f"  job {pair[0]:.2f} s, bare aria2c {pair[1]:.2f} s: {pair[0] / pair[1]:.3f}")
                ratio = statistics.median(ours / theirs for ours, theirs in pairs)
                print(f"{gib:g} GiB through a job against bare aria2c: {ratio:.3f} of its time (to reach: 1.10)")
                channel.close()


if __name__ == "__main__":
    asyncio.run(main(float(sys.argv[1]) if len(sys.argv) > 1 else 4.0))
