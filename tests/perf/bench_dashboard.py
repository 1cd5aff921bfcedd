"""The dashboard of a daemon with 10,000 jobs, on a pseudo-terminal of 160 by 50, against empty and idle Textual apps.

Run: python -m tests.perf.bench_dashboard. To reach: the first full paint in at most 1.5 times that of an empty Textual
app; 5 % of a core with 100 jobs that change at 4 Hz; while sorting, filtering and paging the event loop pauses at most
20 ms longer than an idle Textual app's; a key has its effect within 50 ms at the 95th percentile; at most 120 MB. CPU
and memory are those of both of the dashboard's processes (memory as proportional set size). Prints; asserts nothing.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import select
import signal
import statistics
import struct
import subprocess
import sys
import tempfile
import termios
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
TICKS = os.sysconf("SC_CLK_TCK")
LINES, COLUMNS = 50, 160
RUNS = 9
EMPTY = """
from textual.app import App
from textual.widgets import Static
class Empty(App):
    def compose(self):
        yield Static("the whole of it")
Empty().run()
"""
GAPS = """
import asyncio, os, time
async def probe(out):
    worst, last = 0.0, time.perf_counter()
    while True:
        await asyncio.sleep(0.005)
        now = time.perf_counter()
        gap, last = now - last - 0.005, now
        if os.path.exists(out + ".reset"):
            os.unlink(out + ".reset")
            gap = worst = 0.0
        if gap > worst:
            worst = gap
            with open(out, "w") as file:
                file.write(str(worst * 1000))
def probed(kind, out):
    mounted = kind.on_mount if hasattr(kind, "on_mount") else None
    async def on_mount(self):
        self.probe = asyncio.create_task(probe(out))
        if mounted is not None:
            await mounted(self)
    kind.on_mount = on_mount
"""
PROBED_EMPTY = GAPS + EMPTY.replace("Empty().run()", "import sys\nprobed(Empty, sys.argv[1])\nEmpty().run()")
PROBED = GAPS + """
import sys
from odctl.dashboard.app import DashboardApp
probed(DashboardApp, sys.argv[1])
from odctl.dashboard.quick import open_quickly
open_quickly()
"""


class Terminal:
    """A program on a pseudo-terminal."""

    def __init__(self, arguments: Sequence[str], environment: Mapping[str, str]) -> None:
        self.began = time.perf_counter()
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            os.chdir(ROOT)
            os.execve(sys.executable, [sys.executable, *arguments], dict(environment))
        fcntl.ioctl(self.fd, termios.TIOCSWINSZ, struct.pack("HHHH", LINES, COLUMNS, 0, 0))

    def read(self, seconds: float) -> bytes:
        ready, _, _ = select.select([self.fd], [], [], max(0.0, seconds))
        return os.read(self.fd, 1 << 16) if ready else b""

    def until(self, marker: bytes, seconds: float = 20.0) -> float:
        """Seconds from its start until it wrote this."""
        seen, deadline = b"", time.perf_counter() + seconds
        while time.perf_counter() < deadline:
            seen = seen[-4096:] + self.read(0.05)
            if marker in seen:
                return time.perf_counter() - self.began
        raise RuntimeError(f"{marker!r} did not come")

    def rest(self, seconds: float) -> int:
        """Reads for so long. The bytes that came."""
        deadline, count = time.perf_counter() + seconds, 0
        while (left := deadline - time.perf_counter()) > 0:
            count += len(self.read(left))
        return count

    def key(self, keys: str) -> float:
        """Seconds until something was written after these keys."""
        began = time.perf_counter()
        os.write(self.fd, keys.encode())
        if not self.read(2.0):
            raise RuntimeError(f"{keys!r} had no effect")
        return time.perf_counter() - began

    def family(self) -> list[int]:
        children = Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()
        return [self.pid, *map(int, children)]

    def cpu(self) -> float:
        """CPU seconds of it and its children."""
        total = 0
        for pid in self.family():
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            total += int(fields[11]) + int(fields[12])
        return total / TICKS

    def memory(self) -> float:
        """Megabytes, each shared page once."""
        total = 0
        for pid in self.family():
            for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
                if line.startswith("Pss:"):
                    total += int(line.split()[1])
        return total / 1024

    def close(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)
        os.close(self.fd)


@contextlib.contextmanager
def terminal(arguments: Sequence[str], environment: Mapping[str, str]) -> Iterator[Terminal]:
    found = Terminal(arguments, environment)
    try:
        yield found
    finally:
        found.close()


DASHBOARD = ("-m", "odctl", "top")
LAST_ROW = b"Running 35"
"""Is on the screen when all of the first page is."""


def first_paint(environment: Mapping[str, str]) -> None:
    empty: list[float] = []
    ours: list[float] = []
    for _ in range(RUNS):
        with terminal(("-c", EMPTY), environment) as found:
            empty.append(found.until(b"the whole of it"))
        with terminal(DASHBOARD, environment) as found:
            ours.append(found.until(LAST_ROW))
    ratio = statistics.median(ours) / statistics.median(empty)
    print(
        f"first full paint: {statistics.median(ours) * 1000:.0f} ms, empty Textual app "
        f"{statistics.median(empty) * 1000:.0f} ms: {ratio:.2f} times (to reach: 1.5)",
        flush=True,
    )


def keys(environment: Mapping[str, str]) -> None:
    with terminal(DASHBOARD, environment) as found:
        found.until(LAST_ROW)
        found.rest(1.5)
        took = []
        for turn in range(120):
            took.append(found.key("jjkj\x1b[6~\x1b[5~ v\\gG"[turn % 4 : turn % 4 + 1] or "j"))
            found.rest(0.05)
    took.sort()
    print(
        f"a key to its effect: median {statistics.median(took) * 1000:.1f} ms, 95th percentile "
        f"{took[int(len(took) * 0.95)] * 1000:.1f} ms (to reach: 50)",
        flush=True,
    )


def worst_pause(arguments: Sequence[str], environment: Mapping[str, str], out: Path, marker: bytes) -> float:
    """Milliseconds."""
    with terminal((*arguments, str(out)), environment) as found:
        found.until(marker)
        found.rest(2.0)
        Path(f"{out}.reset").touch()
        found.rest(0.5)
        for typed in ("\x1b[6~",) * 8 + ("G", "g", "S", "S") + ("/", "n", "a", "m", "e", "~", "9", "9", "\r", "\x1b"):
            os.write(found.fd, typed.encode())
            found.rest(0.3)
        found.rest(0.5)
    return float(out.read_text()) if out.exists() else 0.0


def pauses(environment: Mapping[str, str], folder: Path) -> None:
    idle = min(
        worst_pause(("-c", PROBED_EMPTY), environment, folder / f"idle{n}", b"the whole of it") for n in range(2)
    )
    ours = min(worst_pause(("-c", PROBED), environment, folder / f"ours{n}", LAST_ROW) for n in range(2))
    print(
        f"worst pause while sorting, filtering and paging: {ours:.1f} ms, idle Textual app {idle:.1f} ms: "
        f"{ours - idle:.1f} ms more (to reach: 20)",
        flush=True,
    )


def running(environment: Mapping[str, str], go: subprocess.Popen[str]) -> None:
    with terminal(DASHBOARD, environment) as found:
        found.until(LAST_ROW)
        found.rest(2.0)
        assert go.stdin is not None
        go.stdin.write("go\n")
        go.stdin.flush()
        found.rest(3.0)
        before, began = found.cpu(), time.perf_counter()
        sent = found.rest(15.0)
        took = time.perf_counter() - began
        share, memory = (found.cpu() - before) / took, found.memory()
    print(f"100 jobs that change at 4 Hz: {share:.1%} of a core, {sent / took / 1024:.0f} KiB/s (to reach: 5 %)")
    print(f"memory of both processes: {memory:.0f} MB (to reach: 120)")


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="od") as name:
        folder = Path(name)
        arguments = [sys.executable, "-m", "tests.perf.restless", str(folder / "house")]
        daemon = subprocess.Popen(arguments, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        try:
            assert daemon.stdout is not None
            socket = daemon.stdout.readline().strip()
            config = folder / "config" / "opendebrid"
            config.mkdir(parents=True)
            (config / "tui.toml").write_text('interval_ms = 250\nsort = "id"\n')
            environment = {
                **os.environ, "ODCTL_HOST": f"unix://{socket}", "TERM": "xterm-256color", "COLORTERM": "truecolor",
                "XDG_CONFIG_HOME": str(folder / "config"), "LANG": "C.UTF-8",
            }  # fmt: skip
            first_paint(environment)
            keys(environment)
            pauses(environment, folder)
            running(environment, daemon)
        finally:
            daemon.kill()
            daemon.wait()


if __name__ == "__main__":
    main()
