"""The supervisor keeps real children running, and leaves none behind."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest
import pytest_asyncio

from oddaemon.app.system_clock import SystemClock
from oddaemon.domain.errors import EngineUnavailable
from oddaemon.domain.types import Seconds
from oddaemon.ports.supervisor import DaemonSpec
from oddaemon.supervision.supervisor import ProcessSupervisor
from tests.support.wait import until


class FastClock(SystemClock):
    """The real one, on which every wait that is asked for is noted and lasts no time."""

    def __init__(self) -> None:
        self.waits: list[float] = []

    async def sleep(self, duration: Seconds) -> None:
        self.waits.append(duration)
        await asyncio.sleep(0)


@pytest.fixture
def clock() -> FastClock:
    return FastClock()


@pytest_asyncio.fixture
async def supervisor(clock: FastClock) -> AsyncIterator[ProcessSupervisor]:
    supervisor = ProcessSupervisor(clock)
    yield supervisor
    await supervisor.stop_all()


class Probe:
    """A child in Python that touches a file when it is ready."""

    def __init__(
        self, tmp_path: Path, body: str, *, name: str = "probe", ready_timeout: float = 10, grace: float = 0.5
    ) -> None:
        self.flag = tmp_path / f"{name}.ready"
        self.starts = 0
        self.well = True
        self.body = body
        self.spec = DaemonSpec(
            name=name,
            command=self.command,
            ready=self.ready,
            healthy=self.healthy,
            ready_interval=Seconds(0.02),
            ready_timeout=Seconds(ready_timeout),
            health_interval=Seconds(0.05),
            stop_grace=Seconds(grace),
            environment={"EXTRA": "given"},
        )

    async def command(self) -> Sequence[str]:
        self.starts += 1
        self.flag.unlink(missing_ok=True)
        start = f"import os, signal, sys, time, subprocess\nflag = {str(self.flag)!r}\n"
        return [sys.executable, "-c", start + self.body]

    async def ready(self) -> bool:
        return self.flag.exists()

    async def healthy(self) -> bool:
        return self.well


READY = "open(flag, 'w').close()\n"
SLEEP = "time.sleep(600)\n"


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def children() -> list[int]:
    return [int(pid) for pid in Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()]


async def test_start_returns_when_the_child_is_ready(supervisor: ProcessSupervisor, tmp_path: Path) -> None:
    probe = Probe(tmp_path, "time.sleep(0.3)\n" + READY + SLEEP)
    daemon = await supervisor.start(probe.spec)
    assert probe.flag.exists()
    assert (daemon.running, daemon.generation, daemon.last_problem) == (True, 1, "")
    assert daemon.pid is not None
    assert os.getsid(daemon.pid) == daemon.pid, "a session of its own"


async def test_a_program_that_does_not_exist(supervisor: ProcessSupervisor, tmp_path: Path) -> None:
    probe = Probe(tmp_path, "")

    async def command() -> Sequence[str]:
        return ["no-such-program-anywhere"]

    spec = DaemonSpec(name="none", command=command, ready=probe.ready)
    with pytest.raises(EngineUnavailable, match="no-such-program-anywhere"):
        await supervisor.start(spec)
    await supervisor.stop("none")


async def test_a_child_that_ends_is_restarted_with_growing_waits(
    supervisor: ProcessSupervisor, clock: FastClock, tmp_path: Path
) -> None:
    probe = Probe(tmp_path, "print('cannot go on'); sys.exit(3)\n")
    daemon = await supervisor.start(probe.spec)
    assert not daemon.running
    await until(lambda: len(clock.waits) >= 8, what="eight restarts")
    assert clock.waits[:8] == [1, 2, 4, 8, 16, 30, 30, 30]
    assert "cannot go on" in daemon.last_problem
    assert "exit status 3" in daemon.last_problem


async def test_a_killed_child_comes_back(supervisor: ProcessSupervisor, tmp_path: Path) -> None:
    daemon = await supervisor.start(Probe(tmp_path, READY + SLEEP).spec)
    first = daemon.pid
    assert first is not None
    os.kill(first, signal.SIGKILL)
    await until(lambda: daemon.running and daemon.generation == 2, what="the second life")
    assert daemon.pid != first


async def test_a_hung_child_is_killed_and_restarted(supervisor: ProcessSupervisor, tmp_path: Path) -> None:
    probe = Probe(tmp_path, READY + SLEEP)
    daemon = await supervisor.start(probe.spec)
    first = daemon.pid
    assert first is not None
    os.kill(first, signal.SIGSTOP)  # a stopped process does not even react to TERM
    probe.well = False
    await until(lambda: daemon.pid != first and not alive(first), what="the end of the hung one")
    probe.well = True
    await until(lambda: daemon.running and daemon.generation >= 2, what="a new one")


async def test_a_child_that_never_gets_ready_is_replaced(supervisor: ProcessSupervisor, tmp_path: Path) -> None:
    probe = Probe(tmp_path, SLEEP, ready_timeout=0.3)
    daemon = await supervisor.start(probe.spec)
    assert not daemon.running
    await until(lambda: probe.starts >= 3, what="further attempts")
    assert "did not answer" in daemon.last_problem


async def test_stop_ends_the_whole_group(supervisor: ProcessSupervisor, tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    stubborn = "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
    program = f"import signal, time; {stubborn.strip()}; time.sleep(600)"
    grandchild = f"p = subprocess.Popen([sys.executable, '-c', {program!r}])\n"
    body = stubborn + grandchild + f"open({str(pids)!r}, 'w').write(str(p.pid))\n" + READY + SLEEP
    daemon = await supervisor.start(Probe(tmp_path, body).spec)
    members = [int(pids.read_text()), daemon.pid or 0]
    assert all(map(alive, members))
    await supervisor.stop("probe")
    assert not any(map(alive, members))
    await supervisor.stop("probe")


async def test_stop_all_goes_backwards(supervisor: ProcessSupervisor, tmp_path: Path) -> None:
    log = tmp_path / "ends"
    body = (
        f"def bye(*_):\n    open({str(log)!r}, 'a').write(sys.argv[-1] + os.path.basename(flag)[0])\n    os._exit(0)\n"
        "signal.signal(signal.SIGTERM, bye)\n"
    )
    for name in "abc":
        await supervisor.start(Probe(tmp_path, body + READY + SLEEP, name=name, grace=60).spec)
    await supervisor.stop_all()
    assert log.read_text().replace("-c", "") == "cba"


async def test_the_environment_is_clean(supervisor: ProcessSupervisor, tmp_path: Path) -> None:
    os.environ["OD_SECRET_OF_TESTS"] = "x"
    try:
        body = "print(sorted(os.environ))\nopen(flag, 'w').write(' '.join(os.environ))\n" + SLEEP
        probe = Probe(tmp_path, body)
        await supervisor.start(probe.spec)
        await until(probe.flag.read_text, what="its environment")
        # LC_CTYPE is Python's own doing (PEP 538)
        assert set(probe.flag.read_text().split()) - {"LC_CTYPE"} <= {"PATH", "HOME", "LANG", "EXTRA"}
    finally:
        del os.environ["OD_SECRET_OF_TESTS"]


async def test_output_reaches_the_log_and_forges_no_line(
    supervisor: ProcessSupervisor, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    body = "os.write(1, b'one\\x1b[31m\\ntwo' + b'x' * 100000 + b'\\xff\\n')\n" + READY + SLEEP
    with caplog.at_level(logging.INFO):
        await supervisor.start(Probe(tmp_path, body).spec)
        await until(lambda: sum(r.msg == "child output" for r in caplog.records) >= 2, what="its output")
    lines = [str(getattr(r, "line", "")) for r in caplog.records if r.msg == "child output"]
    assert lines[0] == "one\\x1b[31m"
    assert all(line.isprintable() and len(line) <= 9000 for line in lines)


DAEMON = """
import asyncio, sys
from oddaemon.app.system_clock import SystemClock
from oddaemon.domain.types import Seconds
from oddaemon.ports.supervisor import DaemonSpec
from oddaemon.supervision.supervisor import ProcessSupervisor

async def main():
    async def command():
        return ["sleep", "600"]
    async def ready():
        return True
    daemon = await ProcessSupervisor(SystemClock()).start(DaemonSpec(name="x", command=command, ready=ready))
    print(daemon.pid, flush=True)
    await asyncio.sleep(600)

asyncio.run(main())
"""


async def test_a_child_dies_with_a_daemon_that_is_killed() -> None:
    daemon = await asyncio.create_subprocess_exec(sys.executable, "-c", DAEMON, stdout=subprocess.PIPE)
    try:
        assert daemon.stdout is not None
        child = int(await asyncio.wait_for(daemon.stdout.readline(), 60))
        assert alive(child)
    finally:
        daemon.kill()
        await daemon.wait()
    await until(lambda: not alive(child), what="the child to die")


async def test_starting_can_be_cancelled(supervisor: ProcessSupervisor, tmp_path: Path) -> None:
    before = children()  # other tests of this process may have left it a helper of multiprocessing
    probe = Probe(tmp_path, SLEEP)
    starting = asyncio.ensure_future(supervisor.start(probe.spec))
    await until(lambda: set(children()) - set(before), what="the child")
    starting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await starting
    assert not [pid for pid in children() if pid not in before and alive(pid)]


async def test_a_program_that_goes_away_for_a_while(supervisor: ProcessSupervisor, tmp_path: Path) -> None:
    program = tmp_path / "program"
    program.symlink_to("/bin/sleep")

    async def command() -> Sequence[str]:
        return [str(program), "600"]

    async def ready() -> bool:
        return True

    daemon = await supervisor.start(DaemonSpec(name="x", command=command, ready=ready))
    assert daemon.pid is not None
    program.unlink()
    os.kill(daemon.pid, signal.SIGKILL)
    await until(lambda: "is not installed" in daemon.last_problem, what="the loss to be noticed")
    program.symlink_to("/bin/sleep")
    await until(lambda: daemon.running and daemon.generation == 2, what="the return")


async def test_a_stop_at_any_moment_after_the_childs_death_ends_it(supervisor: ProcessSupervisor) -> None:
    """The cancellation of a stop is lost at no step of the restart that it meets."""

    async def command() -> Sequence[str]:
        return ["sleep", "600"]

    async def ready() -> bool:
        return True

    spec = DaemonSpec(name="sleeper", command=command, ready=ready, health_interval=Seconds(0.05))
    for steps in range(60):
        daemon = await supervisor.start(spec)
        assert daemon.pid is not None
        os.kill(daemon.pid, signal.SIGKILL)
        while daemon.running:
            await asyncio.sleep(0)
        for _ in range(steps):
            await asyncio.sleep(0)
        async with asyncio.timeout(60):
            await supervisor.stop("sleeper")
