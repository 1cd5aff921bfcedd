"""What `doctor` can see of this machine without a daemon. Each check looks, and changes nothing."""

from __future__ import annotations

import errno
import importlib.metadata
import json
import locale
import os
import platform
import shlex
import shutil
import socket
import stat
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from odproto import API_MAJOR, API_MINOR
from odproto.endpoint import default_runtime_dir

from odctl import __version__
from odctl.client.endpoints import BOOTED_WITH_SYSTEMD, Choice, find_socket, groups_to_come
from odctl.client.errors import OdctlError
from odctl.config import data_dir
from odctl.text import size

GROUP = "opendebrid"
"""Who may use the machine's own daemon."""
UNIT = "oddaemon.service"
MOST_SHEBANG = 256
"""Bytes of a script's first line that Linux reads: execve(2)."""
PORTS = {8080: "server.port", 8081: "node.file_server_port"}
"""Where a daemon listens on 127.0.0.1 unless a setting says otherwise: the API, and files."""
LITTLE = 1 << 30
"""Bytes: the default reserve."""
JS_RUNTIMES = ("deno", "node", "bun", "qjs")
SSH_PATH = (Path("/usr/local/bin"), Path("/usr/bin"), Path("/bin"), Path("/opt/opendebrid/bin"))
"""Where a command of an ssh session is looked for, besides ~/.local/bin."""
ASK_SECONDS = 5.0
SETTINGS_SECONDS = 20.0
"""As long as oddaemon may take to read its settings."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """`status` is ok, warn, fail or skip; `fix` a command that can be pasted. `mend` does what `fix` says: only what is
    safe, which is to say undone as easily and nobody else's business."""

    check: str
    status: str
    detail: str
    hint: str | None = None
    fix: str | None = None
    mend: Callable[[], None] | None = None


def of_the_client(choice: Choice) -> list[Check]:
    return [
        Check(
            check="client", status="ok",
            detail=f"odctl {__version__}, API {API_MAJOR}.{API_MINOR}, Python {platform.python_version()}",
        ),
        runtime_dir(choice),
        control_socket(choice),
        groups(),
        linger(),
        utf8(),
        terminal(),
        ssh_path(),
        for_others(choice),
    ]  # fmt: skip


def of_what_a_daemon_needs() -> list[Check]:
    """For a machine whose daemon does not run: what would be in its way."""
    seen, would = settings()
    return [seen, *programs(), disk(would.folder), ports(would.ports)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Would:
    """Where a daemon would keep what it downloads, and listen: each port with its setting."""

    folder: Path
    ports: Mapping[int, str]


def settings() -> tuple[Check, Would]:
    """What a daemon that `daemon start` began here would go by: the program itself says so."""
    name, usual = "settings", Would(folder=data_dir(), ports=PORTS)
    command = [sys.executable, "-P", "-m", "oddaemon", "config", "show", "--json"]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, errors="replace", timeout=SETTINGS_SECONDS, check=False, cwd="/",
            stdin=subprocess.DEVNULL,
        )  # fmt: skip
        if done.returncode:
            lines = [line.strip() for line in done.stderr.splitlines() if line.strip()]
            detail = " ".join(lines[:2]).removeprefix("oddaemon: ") or f"oddaemon ended with {done.returncode}"
            hint = "see all of it: oddaemon config check; disk and ports below are those of a daemon without settings"
            return Check(check=name, status="fail", detail=detail, hint=hint), usual
        found = json.loads(done.stdout)
        told = {key: str(item["value"] or "") for key, item in found.items()}
        places = {item["place"].rpartition(":")[0] for item in found.values() if item["source"] == "file"}
        folder = told.get("storage.local.base_path") or told["node.download_dir"] or told["paths.data_dir"]
        taken = {int(told[key]): key for key in PORTS.values() if told[key]}
    except (OSError, subprocess.TimeoutExpired, ValueError, KeyError, TypeError, AttributeError) as error:
        detail = f"oddaemon does not tell its settings: {type(error).__name__}"
        hint = "disk and ports below are those of a daemon without settings"
        return Check(check=name, status="warn", detail=detail, hint=hint), usual
    changed = sum(item["source"] != "default" for item in found.values())
    detail = f"{changed} of {len(found)} are not the defaults" + "".join(f", {place}" for place in sorted(places))
    return Check(check=name, status="ok", detail=detail), Would(
        folder=Path(folder) if folder else usual.folder, ports=taken
    )


def runtime_dir(choice: Choice) -> Check:
    if choice.configured and choice.paths:
        return Check(check="runtime folder", status="ok", detail=f"{choice.paths[0].parent} (from {choice.source})")
    folder = default_runtime_dir()
    if os.getuid() and not os.environ.get("XDG_RUNTIME_DIR"):
        hint = "usual under su, cron and some ssh set-ups; log in properly if the daemon is not found"
        detail = f"XDG_RUNTIME_DIR is not set; using {folder}"
        return Check(check="runtime folder", status="warn", detail=detail, hint=hint)
    return Check(check="runtime folder", status="ok", detail=str(folder))


def control_socket(choice: Choice) -> Check:
    try:
        path = find_socket(choice)
        found = path.stat()
    except OdctlError as error:
        why = error.message + (f"; {error.why}" if error.why else "")
        return Check(check="socket", status="fail", detail=why, hint=error.hint or None)
    except OSError as error:
        return Check(check="socket", status="fail", detail=str(error))
    mode = stat.S_IMODE(found.st_mode)
    detail = f"{path} (mode {mode:04o}, owner {found.st_uid}, group {found.st_gid}; from {choice.source})"
    if not mode & 0o002:
        return Check(check="socket", status="ok", detail=detail)
    return Check(
        check="socket", status="warn", detail=detail, hint="everybody on this machine may connect",
        fix=f"chmod o-rwx {path}", mend=lambda: path.chmod(mode & ~0o007),
    )  # fmt: skip


def groups() -> Check:
    """Members of a group have it only in sessions that began after they were added."""
    lacking = groups_to_come()
    if GROUP in lacking:
        detail = f"you ARE in group {GROUP}, but this login session started before you were added"
        hint = "or log out and in again"
        return Check(check="groups", status="fail", detail=detail, hint=hint, fix=f"newgrp {GROUP}")
    if lacking:
        detail = f"this login session is older than your membership in {', '.join(lacking)}"
        return Check(check="groups", status="warn", detail=detail, hint="log out and in again")
    return Check(check="groups", status="ok", detail="this session has all groups of its user")


def linger() -> Check:
    """A user's services end with the last session, unless the user lingers."""
    name = "linger"
    if not BOOTED_WITH_SYSTEMD.is_dir() or os.getuid() == 0:
        return Check(check=name, status="skip", detail="for daemons that a user's systemd runs")
    if said(["systemctl", "--user", "show", "--property", "LoadState", "--value", UNIT]) != "loaded":
        return Check(check=name, status="skip", detail="this user's systemd has no unit for the daemon")
    if said(["loginctl", "show-user", str(os.getuid()), "--property", "Linger", "--value"]) == "yes":
        return Check(check=name, status="ok", detail="downloads go on when you log out")
    command = ["loginctl", "enable-linger"]
    return Check(
        check=name, status="warn", detail="downloads stop when you log out", fix=" ".join(command),
        mend=lambda: _do(command),
    )  # fmt: skip


def utf8() -> Check:
    encoding = (sys.stdout.encoding or "").lower()
    if encoding.replace("-", "") != "utf8":
        detail = f"stdout is {encoding or 'unknown'}, not UTF-8"
        hint = "names with other scripts are shown as escapes"
        return Check(check="locale", status="warn", detail=detail, hint=hint, fix="export LANG=C.UTF-8")
    return Check(check="locale", status="ok", detail=f"UTF-8 ({locale.setlocale(locale.LC_CTYPE)})")


def terminal() -> Check:
    if not sys.stdout.isatty():
        return Check(check="terminal", status="skip", detail="stdout is no terminal")
    columns, rows = shutil.get_terminal_size()
    term = os.environ.get("TERM", "")
    if term in ("", "dumb"):
        detail = f"TERM is {term or 'not set'}"
        return Check(check="terminal", status="warn", detail=detail, hint="bars and colours are off")
    colours = "off by NO_COLOR" if os.environ.get("NO_COLOR") else "on"
    return Check(check="terminal", status="ok", detail=f"{term}, {columns}x{rows}, colours {colours}")


def ssh_path() -> Check:
    """`ssh HOST odctl …` runs no login shell: it finds only what lies in a few folders."""
    name, own = "ssh path", Path.home() / ".local" / "bin" / "odctl"
    found = next((path for path in (*(folder / "odctl" for folder in SSH_PATH), own) if os.access(path, os.X_OK)), None)
    if found is not None:
        return Check(check=name, status="ok", detail=str(found))
    program = Path(sys.argv[0]).absolute()
    if program.name != "odctl" or not os.access(program, os.X_OK) or os.path.lexists(own):
        return Check(check=name, status="skip", detail="no odctl that an ssh session to this machine would find")

    def link() -> None:
        own.parent.mkdir(parents=True, exist_ok=True)
        own.symlink_to(program)

    return Check(
        check=name, status="warn", detail="an ssh session to this machine would not find odctl",
        fix=shlex.join(["mkdir", "-p", str(own.parent)]) + " && " + shlex.join(["ln", "-s", str(program), str(own)]),
        mend=link,
    )  # fmt: skip


def for_others(choice: Choice) -> Check:
    """Whether those whom the socket lets in can run an odctl: for who let them in."""
    name = "odctl for others"
    try:
        found = find_socket(choice).stat()
    except (OdctlError, OSError):
        return Check(check=name, status="skip", detail="no socket")
    if found.st_uid != os.getuid() or not found.st_mode & 0o022:
        return Check(check=name, status="skip", detail="you let nobody else use your daemon")
    program = next((path for folder in SSH_PATH if os.access(path := folder / "odctl", os.X_OK)), None)
    if program is not None and _all_may_run(program):
        return Check(check=name, status="ok", detail=str(program))
    where = " or ".join(map(str, SSH_PATH))
    detail = f"none in {where}" if program is None else f"{program}, or its Python, lies in a folder closed to others"
    hint = "others may use the socket and cannot run odctl: install it for all (docs/operations/accounts.md)"
    return Check(check=name, status="warn", detail=detail, hint=hint)


def _all_may_run(program: Path) -> bool:
    """By modes alone: the script, and what its first line names."""
    try:
        with program.open("rb") as script:
            first = script.readline(MOST_SHEBANG)
        interpreter = Path(os.fsdecode(first[2:].split()[0])) if first[:2] == b"#!" else program
        wanted = (program.resolve(), interpreter, interpreter.resolve())
        return all(path.stat().st_mode & 0o001 and _open_to_all(path) for path in wanted)
    except (OSError, IndexError):
        return False


def _open_to_all(path: Path) -> bool:
    return all(folder.stat().st_mode & 0o001 for folder in path.parents)


def programs() -> list[Check]:
    """What engines are made of."""
    aria2c = shutil.which("aria2c")
    version = said([aria2c, "--version"]).partition("\n")[0] if aria2c else ""
    ffmpeg = shutil.which("ffmpeg") or ("from the extra opendebrid[ffmpeg]" if find_spec("imageio_ffmpeg") else None)
    js = next((path for name in JS_RUNTIMES if (path := shutil.which(name))), None)
    return [
        Check(check="aria2c", status="ok", detail=f"{version or 'no version'}, {aria2c}")
        if aria2c
        else Check(
            check="aria2c", status="fail", detail="not found: no torrents, and no files over http and ftp",
            hint="install aria2",
        ),
        _yt_dlp(),
        Check(check="ffmpeg", status="ok", detail=ffmpeg)
        if ffmpeg
        else Check(
            check="ffmpeg", status="warn", detail="not found: video and audio cannot be merged",
            hint="install ffmpeg, or the extra", fix=f"{sys.executable} -m pip install 'opendebrid[ffmpeg]'",
        ),
        Check(check="JavaScript for yt-dlp", status="ok", detail=js)
        if js
        else Check(
            check="JavaScript for yt-dlp", status="warn", detail=f"none of {', '.join(JS_RUNTIMES)} found",
            hint="some sites (YouTube) give fewer formats or none without one: install deno",
        ),
    ]  # fmt: skip


def _yt_dlp() -> Check:
    try:
        return Check(check="yt-dlp", status="ok", detail=importlib.metadata.version("yt-dlp"))
    except importlib.metadata.PackageNotFoundError:
        fix = f"{sys.executable} -m pip install yt-dlp"
        return Check(check="yt-dlp", status="fail", detail="not installed: no media pages", fix=fix)


def disk(folder: Path) -> Check:
    there = next((path for path in (folder, *folder.parents) if path.is_dir()), Path("/"))
    try:
        usage = shutil.disk_usage(there)
    except OSError as error:
        return Check(check="disk", status="fail", detail=f"{there}: {error.strerror}")
    detail = f"{size(usage.free)} of {size(usage.total)} free at {folder}"
    if usage.free < LITTLE:
        hint = "a download starts only while a reserve is left: make room, or lower limits.min_disk_free"
        return Check(check="disk", status="warn", detail=detail, hint=hint)
    return Check(check="disk", status="ok", detail=detail)


def ports(wanted: Mapping[int, str]) -> Check:
    """`wanted`: each with the setting that chooses another."""
    taken = {port: why for port in wanted if (why := _why_not(port))}
    if not wanted:
        return Check(check="ports", status="ok", detail="the system chooses them")
    if not taken:
        return Check(check="ports", status="ok", detail=", ".join(f"127.0.0.1:{port}" for port in wanted) + " are free")
    detail = ", ".join(f"127.0.0.1:{port} {why}" for port, why in taken.items())
    hint = "a daemon would listen there: give it others by " + ", ".join(wanted[port] for port in taken)
    return Check(check="ports", status="warn", detail=detail, hint=hint)


def _why_not(port: int) -> str:
    with socket.socket() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            sock.bind(("127.0.0.1", port))
        except OSError as error:
            taken = error.errno == errno.EADDRINUSE
            return "is taken by another program" if taken else f"cannot be used: {error.strerror}"
    return ""


def said(command: Sequence[str]) -> str:
    """What a program answers; nothing if it fails."""
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, errors="replace", timeout=ASK_SECONDS, check=False,
            stdin=subprocess.DEVNULL,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


def _do(command: Sequence[str]) -> None:
    try:
        subprocess.run(command, timeout=ASK_SECONDS, check=True, stdin=subprocess.DEVNULL, stdout=sys.stderr)
    except (subprocess.SubprocessError, OSError) as error:
        raise OdctlError(f"{' '.join(command)} did not end well: {error}") from error
