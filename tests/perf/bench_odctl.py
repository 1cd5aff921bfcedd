"""How long odctl takes to start, as ratios to what no command line in Python can avoid. Medians of 11 runs.

.venv/bin/python -m tests.perf.bench_odctl
"""

from __future__ import annotations

import asyncio
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.support.fake_control import FakeDaemon, job

RUNS = 11
ROOT = Path(__file__).resolve().parents[2]
BARE = ("-c", "pass")
IMPORTS = ("-c", "import grpclib.client, betterproto2")


def once(arguments: Sequence[str], environment: dict[str, str]) -> float:
    began = time.perf_counter()
    subprocess.run(
        [sys.executable, *arguments], env=environment, cwd=ROOT, check=True, stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )  # fmt: skip
    return time.perf_counter() - began


def medians(commands: Mapping[str, Sequence[str]], environment: dict[str, str]) -> dict[str, float]:
    """Seconds. The commands take turns, so that a busy moment meets all of them."""
    taken: dict[str, list[float]] = {name: [] for name in commands}
    for _ in range(RUNS):
        for name, arguments in commands.items():
            taken[name].append(once(arguments, environment))
    return {name: statistics.median(values) for name, values in taken.items()}


def report(found: dict[str, float]) -> list[tuple[str, float, float]]:
    """What, its ratio, and what it may be."""
    return [
        ("odctl --version / python -c pass", found["version"] / found["bare"], 3.0),
        ("odctl --help / python -c pass", found["help"] / found["bare"], 8.0),
        ("one call (odctl ls) / importing grpclib.client and betterproto2", found["call"] / found["imports"], 1.7),
    ]


async def main() -> int:
    with tempfile.TemporaryDirectory(prefix="od") as folder:
        path = Path(folder) / "control.sock"
        environment = {**os.environ, "ODCTL_HOST": f"unix://{path}"}
        async with FakeDaemon(path) as control:
            control.jobs[1] = job(1)
            commands = {
                "bare": BARE, "imports": IMPORTS, "version": ("-m", "odctl", "--version"),
                "help": ("-m", "odctl", "--help"), "call": ("-m", "odctl", "ls"),
            }  # fmt: skip
            found = await asyncio.to_thread(medians, commands, environment)
    for name, seconds in found.items():
        print(f"{name:<10} {seconds * 1000:7.1f} ms")
    lines = report(found)
    for what, ratio, allowed in lines:
        print(f"{ratio:5.2f} (at most {allowed:g})  {what}")
    return 0 if all(ratio <= allowed for _, ratio, allowed in lines) else 1


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
