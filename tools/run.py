"""`make run`: the daemon in the foreground, or what one already does; with RUN_URL also one download, start to finish.

Stops only what it started. Everything about the daemon it learns as any client would: from the settings and the socket.
"""

from __future__ import annotations

import json
import os
import shlex
import socket
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory

from ending import Stopped, end_on_signals, stop
from odproto.endpoint import default_socket_paths

from oddaemon.app.given import BadSettings
from oddaemon.app.load_settings import load
from oddaemon.app.paths import resolve_paths
from oddaemon.app.singleton import running_pid

BIN = Path(sys.executable).parent
START_DEADLINE = 90.0
POLL = 0.2
INTO = "downloads"
EX_UNAVAILABLE = 69
EX_CONFIG = 78


def main() -> int:
    end_on_signals()
    try:
        control = resolve_paths(load().settings).socket
    except BadSettings as error:
        print(f"the settings cannot be used:\n{error}", file=sys.stderr)
        return EX_CONFIG
    url = os.environ.pop("RUN_URL", "").strip()
    try:
        return fetch(control, url) if url else stay(control)
    except (Stopped, KeyboardInterrupt):
        return 130


def stay(control: Path) -> int:
    """Runs the daemon until it ends; its exit code. One that runs already is all that was wanted: 0."""
    pid = _running(control)
    if pid is not None:
        print(f"OpenDebrid is already running{f' (pid {pid})' if pid else ''}.")
        next_steps(control)
        return 0
    daemon = Daemon()
    try:
        if not daemon.wait_until_ready():
            code = ended_early(daemon, control)
            if code == 0:
                print("OpenDebrid is already running.")
                next_steps(control)
            return code
        print("\nOpenDebrid is running. Ctrl-C stops it; downloads go on at the next start.")
        next_steps(control)
        return daemon.wait()
    except (Stopped, KeyboardInterrupt):
        return daemon.stop()
    finally:
        daemon.stop()


def fetch(control: Path, url: str) -> int:
    """Adds `url`, waits, and brings the files into ./downloads."""
    daemon = Daemon(quiet=True) if _running(control) is None else None
    try:
        if daemon is not None and not daemon.wait_until_ready():
            code = ended_early(daemon, control)
            if code:
                return code
        number, code = add(control, url)
        if number is None:
            return code
        code = odctl(control, "wait", number, stdout=subprocess.DEVNULL)
        if code:
            odctl(control, "show", number)
            return code
        Path(INTO).mkdir(exist_ok=True)
        return odctl(control, "get", number, "--into", INTO)
    except (Stopped, KeyboardInterrupt):
        print("stopped; the download goes on when the daemon runs again", file=sys.stderr)
        raise
    finally:
        if daemon is not None:
            daemon.stop()


def add(control: Path, url: str) -> tuple[str | None, int]:
    """The job's number, or None with odctl's exit code; odctl has said why."""
    done = subprocess.run(
        [BIN / "odctl", "add", "--print-id", "--", url],
        env=environment(control), stdout=subprocess.PIPE, text=True, check=False,
    )  # fmt: skip
    return (None, done.returncode) if done.returncode else (done.stdout.strip(), 0)


def odctl(control: Path, *arguments: str, stdout: int | None = None) -> int:
    return subprocess.run([BIN / "odctl", *arguments], env=environment(control), stdout=stdout, check=False).returncode


def environment(control: Path) -> dict[str, str]:
    return {**os.environ, "ODCTL_HOST": f"unix://{control}"}


class Daemon:
    """A daemon that we started, in a session of its own: Ctrl-C reaches us, and we end it in order."""

    def __init__(self, *, quiet: bool = False) -> None:
        self._folder = TemporaryDirectory(prefix="od-run-")
        self._notified = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        address = f"{self._folder.name}/notify"
        self._notified.bind(address)
        self._notified.settimeout(POLL)
        command: list[str | Path] = [BIN / "oddaemon"]
        if quiet:
            command += ["--log-level", "warn"]
        self.process = subprocess.Popen(
            command, start_new_session=True, stdin=subprocess.DEVNULL, env={**os.environ, "NOTIFY_SOCKET": address}
        )

    def wait_until_ready(self) -> bool:
        """It says so itself (sd_notify(3)): a socket that listens is not yet a daemon that works."""
        deadline = time.monotonic() + START_DEADLINE
        while self.process.poll() is None and time.monotonic() < deadline:
            with suppress(TimeoutError):
                if b"READY=1" in self._notified.recv(4096).splitlines():
                    return True
        return False

    def wait(self) -> int:
        """Its exit code. Reads what it goes on to tell, so that it never writes to a full socket."""
        while self.process.poll() is None:
            with suppress(TimeoutError):
                self._notified.recv(4096)
        return self.process.returncode

    def stop(self) -> int:
        """Its exit code. Idempotent; a second Ctrl-C while it puts things away makes it hurry."""
        code = stop(self.process)
        self._notified.close()
        self._folder.cleanup()
        return code


def ended_early(daemon: Daemon, control: Path) -> int:
    """It has said why, on standard error. Another that was faster is no failure."""
    code = daemon.stop()
    if code == EX_UNAVAILABLE and _running(control) is not None:
        return 0
    print(f"the daemon did not start (exit code {code})", file=sys.stderr)
    return code or 1


def next_steps(control: Path) -> None:
    prefix = "" if control in default_socket_paths() else f"ODCTL_HOST=unix://{shlex.quote(str(control))} "
    program = f"{prefix}{shlex.quote(str(BIN / 'odctl'))}"
    print(
        f"""
  {program} add 'magnet:?xt=urn:btih:…' --wait     a magnet, .torrent, http, https, ftp or media page
  {program} ls                                     what there is
  {program} link 1                                 a link to its files
  {program} get 1                                  its files, here
  {program} doctor                                 whether all is well
{api_line(control)}
  shorter: export PATH={shlex.quote(str(BIN))}:"$PATH"
""",
        flush=True,
    )


def api_line(control: Path) -> str:
    """Where the REST API shows itself; nothing where the daemon does not tell."""
    asked = subprocess.run(
        [BIN / "odctl", "status", "--json"], env=environment(control), capture_output=True, text=True, check=False
    )
    url = json.loads(asked.stdout)["server"]["http_url"] if asked.returncode == 0 else None
    return f"\n  the REST API, as a page: {url}/api/v1/docs\n" if url else ""


def _running(control: Path) -> int | None:
    try:
        return running_pid(control)
    except PermissionError:
        print(f"{control} belongs to another user's daemon: run this as that user", file=sys.stderr)
        raise SystemExit(77) from None


if __name__ == "__main__":
    sys.exit(main())
