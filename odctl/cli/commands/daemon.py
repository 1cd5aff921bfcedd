"""`daemon …`: through systemd where it has a unit for the daemon, else a background process of this user's."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from odctl.cli.app import invocation
from odctl.cli.context import Invocation
from odctl.cli.exit_codes import ExitCode
from odctl.cli.output import check_fields
from odctl.cli.spawn import spawn
from odctl.client.endpoints import find_socket
from odctl.client.errors import ConnectionLost, OdctlError, Unreachable, UsageError
from odctl.text import clean

UNIT = "oddaemon.service"
FIELDS = ("manager", "unit", "state", "pid")
SYSTEMCTL_SECONDS = 120.0
STOP_SECONDS = 60.0

UserOpt = Annotated[bool, typer.Option("--user", help="The unit of this user.")]
SystemOpt = Annotated[bool, typer.Option("--system", help="The unit of the machine.")]
ArgsArg = Annotated[list[str] | None, typer.Argument(metavar="-- ARGS", help="For oddaemon.")]


@dataclass(frozen=True, slots=True)
class Manager:
    """Who runs the daemon: `systemd-user`, `systemd-system` or `background`."""

    name: str

    @property
    def command(self) -> list[str]:
        return ["systemctl", "--user"] if self.name == "systemd-user" else ["systemctl"]

    @property
    def is_systemd(self) -> bool:
        return self.name != "background"


def find_manager(run: Invocation, *, user: bool, system: bool) -> Manager:
    """Raises OdctlError for a unit that was asked for and is not there."""
    if user and system:
        raise UsageError("--user and --system exclude each other")
    wanted = ["systemd-user"] if user else ["systemd-system"] if system else ["systemd-user", "systemd-system"]
    if run.choice.configured and not (user or system):
        # somebody named a socket: whose unit that would be is not known
        return Manager("background")
    for name in wanted:
        manager = Manager(name)
        if shutil.which("systemctl") and _property(manager, "LoadState") == "loaded":
            return manager
    if user or system:
        raise OdctlError(f"systemd has no {UNIT} there", code="NOT_FOUND", exit_code=ExitCode.NOT_FOUND)
    return Manager("background")


def _property(manager: Manager, name: str) -> str:
    try:
        done = subprocess.run(
            [*manager.command, "show", "--property", name, "--value", UNIT],
            capture_output=True, text=True, timeout=5, check=False, stdin=subprocess.DEVNULL,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


def _systemctl(run: Invocation, manager: Manager, verb: str) -> None:
    command = [*manager.command, verb, UNIT]
    run.output.note("+ " + " ".join(command), always=True)
    try:
        code = subprocess.run(command, timeout=SYSTEMCTL_SECONDS, check=False, stdout=sys.stderr).returncode
    except (OSError, subprocess.TimeoutExpired) as error:
        raise OdctlError(f"systemctl did not end well: {error}") from error
    if code:
        look = "journalctl " + ("--user " if manager.name == "systemd-user" else "") + "-u oddaemon -n 50"
        raise OdctlError(f"systemctl {verb} failed (exit {code})", hint=f"look: {look}")


def start(ctx: typer.Context, args: ArgsArg = None, user: UserOpt = False, system: SystemOpt = False) -> None:
    """Start the daemon in the background and wait until it answers."""
    run = invocation(ctx)
    check_fields(run.output.fields, FIELDS)
    manager = find_manager(run, user=user, system=system)
    pid = _pid(run)
    if pid is None:
        pid = _start(run, manager, args or [])
    else:
        run.output.note(f"already running (pid {pid})")
    _tell(run, manager, "running", pid)


def _start(run: Invocation, manager: Manager, args: list[str]) -> int | None:
    if manager.is_systemd:
        _systemctl(run, manager, "start")
        return _pid(run)
    choice = run.choice
    named = ["--set", f"control.socket_path={choice.paths[0]}"] if choice.configured else []
    pid, log = spawn(choice, [*named, *args])
    run.output.note(f"started (pid {pid}, log {log}); stop it: odctl daemon stop")
    return pid


def stop(ctx: typer.Context, user: UserOpt = False, system: SystemOpt = False) -> None:
    """Stop the daemon. Downloads go on from where they are when it starts again. Exit 0 also when none runs."""
    run = invocation(ctx)
    check_fields(run.output.fields, FIELDS)
    manager = find_manager(run, user=user, system=system)
    if not manager.is_systemd and _pid(run) is None:
        run.output.note("none runs")
    else:
        _stop(run, manager)
    _tell(run, manager, "stopped", None)


def _stop(run: Invocation, manager: Manager) -> None:
    if manager.is_systemd and _property(manager, "ActiveState") in ("active", "activating", "reloading"):
        _systemctl(run, manager, "stop")
        return
    status = run.call(lambda client: client.status())
    pid = status["server"]["pid"]
    with suppress(ConnectionLost, Unreachable):
        # it may be gone before its answer is here: whether it ends is seen below
        run.call(lambda client: client.upkeep.shutdown())
    deadline = time.monotonic() + (run.timeout or STOP_SECONDS)
    while time.monotonic() < deadline:
        if not _answers(run) and (pid is None or not _alive(pid)):
            return
        time.sleep(0.05)
    raise OdctlError(
        f"the daemon (pid {pid}) still runs", code="DEADLINE_EXCEEDED", exit_code=ExitCode.TIMEOUT,
        hint=f"look what it does: odctl logs      end it by force: kill -9 {pid}",
    )  # fmt: skip


def restart(ctx: typer.Context, user: UserOpt = False, system: SystemOpt = False) -> None:
    """Stop it if it runs, and start it."""
    run = invocation(ctx)
    check_fields(run.output.fields, FIELDS)
    manager = find_manager(run, user=user, system=system)
    if manager.is_systemd:
        _systemctl(run, manager, "restart")
        _tell(run, manager, "running", _pid(run))
        return
    if _pid(run) is not None:
        _stop(run, manager)
    _tell(run, manager, "running", _start(run, manager, []))


def reload(ctx: typer.Context) -> None:
    """Make it read its configuration again; says what changed and what needs a restart."""
    run = invocation(ctx)
    check_fields(run.output.fields, ("changed", "needs_restart"))
    found = run.call(lambda client: client.upkeep.reload())
    if run.output.structured:
        run.output.value(found)
        return
    run.output.line("changed: " + (", ".join(map(clean, found["changed"])) or "nothing"))
    if found["needs_restart"]:
        run.output.line("needs a restart: " + ", ".join(map(clean, found["needs_restart"])))


def status(ctx: typer.Context, user: UserOpt = False, system: SystemOpt = False) -> None:
    """Whether it runs, who manages it, its process. Exit 5 when it does not run."""
    run = invocation(ctx)
    check_fields(run.output.fields, FIELDS)
    manager = find_manager(run, user=user, system=system)
    try:
        pid = run.call(lambda client: client.status())["server"]["pid"]
    except Unreachable as error:
        if run.output.is_json:
            _tell(run, manager, "stopped", None)
        raise error
    _tell(run, manager, "running", pid)


def run(ctx: typer.Context, args: ArgsArg = None) -> None:
    """Run the daemon in the foreground, in place of this process: odctl daemon run -- --config FILE."""
    invocation(ctx)
    sys.stdout.flush()
    sys.stderr.flush()
    os.execv(sys.executable, [sys.executable, "-P", "-m", "oddaemon", *(args or [])])  # noqa: S606 - that is the command


def _pid(run: Invocation) -> int | None:
    """The running daemon's; None if none answers."""
    try:
        status: dict[str, Any] = run.call(lambda client: client.status())
    except Unreachable as error:
        if not error.absent:
            raise
        return None
    found: int | None = status["server"]["pid"]
    return found


def _answers(run: Invocation) -> bool:
    try:
        find_socket(run.choice)
    except OdctlError:
        return False
    return True


def _alive(pid: int) -> bool:
    """The process runs: one that only waits for its parent to notice its end does not."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (OSError, IndexError):
        return False
    return state not in ("Z", "X")


def _tell(run: Invocation, manager: Manager, state: str, pid: int | None) -> None:
    unit = UNIT if manager.is_systemd else None
    if run.output.structured:
        run.output.value({"manager": manager.name, "unit": unit, "state": state, "pid": pid})
    else:
        run.output.line(state + (f"  pid {pid}" if pid else "") + f"  ({manager.name})")
