"""The aria2c child: its config file, its port, its secret, and what the supervisor needs to keep it running."""

from __future__ import annotations

import asyncio
import logging
import os
import secrets
import socket
from collections.abc import Sequence
from pathlib import Path

from oddaemon.domain.errors import EngineUnavailable
from oddaemon.domain.types import Seconds
from oddaemon.engines.aria2.rpc import Rpc, RpcRefused
from oddaemon.engines.aria2.settings import Aria2Settings
from oddaemon.ports.supervisor import DaemonSpec

log = logging.getLogger(__name__)

PROGRAM = "aria2c"
_PROBE = Seconds(3)
_SAVES_PER_SECOND = 10
_SAVED_AT_MOST_EVERY = 60
"""Seconds; aria2's own default."""


class Aria2Process:
    """Makes a new config file, with a new port and a new secret, before each start of the child."""

    def __init__(self, settings: Aria2Settings, state_dir: Path, rpc: Rpc) -> None:
        self._settings = settings
        self._state_dir = state_dir
        self._rpc = rpc
        self._port = 0
        self.version = ""
        """Of the running aria2c; empty until it has answered once."""

    @property
    def port(self) -> int:
        """Where the aria2c that was started last listens; 0 before the first."""
        return self._port

    @property
    def spec(self) -> DaemonSpec:
        return DaemonSpec(
            name="aria2",
            command=self._command,
            ready=self._ready,
            healthy=self._healthy,
            stop_grace=Seconds(3),
            cwd=self._state_dir,
        )

    async def _command(self) -> Sequence[str]:
        self._port = _free_port()
        secret = secrets.token_hex(32)
        conf = self._state_dir / "aria2.conf"
        await asyncio.to_thread(self._prepare, conf, secret)
        self._rpc.connect(self._port, secret)
        return [PROGRAM, f"--conf-path={conf}"]

    def _prepare(self, conf: Path, secret: str) -> None:
        session = self._state_dir / "aria2.session"
        _write_private(session, paused(session.read_bytes() if session.exists() else b""))
        lines = [f"{name}={value}" for name, value in self._options(session, secret)]
        _write_private(conf, ("\n".join(lines) + "\n").encode())

    def _options(self, session: Path, secret: str) -> list[tuple[str, object]]:
        """Manual page aria2c(1). What a download may set itself is in `options.py` and `attach.py`."""
        settings = self._settings
        fixed: list[tuple[str, object]] = [
            ("enable-rpc", "true"),
            ("rpc-listen-all", "false"),
            ("rpc-listen-port", self._port),
            ("rpc-secret", secret),
            # a torrent in base64, four thirds of 10 MiB, and its list of disk names
            ("rpc-max-request-size", "64M"),
            ("rpc-save-upload-metadata", "false"),
            ("stop-with-process", os.getpid()),
            # error lines hold URLs, and URLs hold credentials
            ("quiet", "true"),
            ("save-session", session),
            ("save-session-interval", 1),
            ("input-file", session),
            ("max-concurrent-downloads", 1000),
            ("file-allocation", "none"),
            ("auto-save-interval", save_interval(settings.max_concurrent)),
            ("continue", "false"),
            ("allow-overwrite", "false"),
            ("auto-file-renaming", "false"),
            ("always-resume", "true"),
            ("max-download-result", 1000),
            ("no-netrc", "true"),
            ("follow-torrent", "false"),
            ("follow-metalink", "false"),
            ("check-certificate", "true"),
            ("dht-file-path", self._state_dir / "dht.dat"),
            ("enable-dht", _flag(settings.dht)),
            ("bt-enable-lpd", _flag(settings.lpd)),
            ("enable-peer-exchange", _flag(settings.pex)),
            ("listen-port", settings.listen_ports),
            ("dht-listen-port", settings.listen_ports),
            ("max-overall-download-limit", settings.max_rate_down),
            ("max-overall-upload-limit", settings.max_rate_up),
            ("seed-time", 0),
        ]
        if settings.ca_certificate:
            fixed.append(("ca-certificate", settings.ca_certificate))
        return fixed

    async def _ready(self) -> bool:
        if not await asyncio.to_thread(_listens_for_us, self._port):
            return False
        try:
            self.version = await self._rpc.version(timeout=_PROBE)
        except (EngineUnavailable, RpcRefused):
            return False
        return True

    async def _healthy(self) -> bool:
        try:
            await self._rpc.version(timeout=_PROBE)
        except (EngineUnavailable, RpcRefused):
            return False
        return True


def paused(session: bytes) -> bytes:
    """The session, with every download in it paused: what an earlier aria2c left waits until its origin has been looked
    at again, and what nobody wants any more is not begun.

    aria2c(1), Input File: a line of URIs, then indented lines with the options of that download. `pause` in the
    configuration would not do: aria2 1.36 applies it to the first download of the file alone.
    """
    lines: list[bytes] = []
    for line in session.splitlines():
        if line.startswith((b" ", b"\t")):
            if not line.strip().startswith(b"pause="):
                lines.append(line)
        elif line.strip():
            lines += [line, b" pause=true"]
    return b"".join(line + b"\n" for line in lines)


def save_interval(max_concurrent: int) -> int:
    """Seconds between two notes of what is there: what a kill may cost.

    At each, aria2 waits for the disk twice for every download that runs, in the one thread in which it does everything:
    with hundreds a second it would do nothing else, and be killed as hung.
    """
    return max(1, min(_SAVED_AT_MOST_EVERY, -(-max_concurrent // _SAVES_PER_SECOND)))


def _flag(value: bool) -> str:
    return "true" if value else "false"


def _free_port() -> int:
    """A port that is free now. Should another take it before aria2c does, aria2c ends and is started with a new one."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _listens_for_us(port: int) -> bool:
    """Whether a process of our own user listens on the port: nobody else may be shown the secret.

    proc(5), net/tcp: local address, state 0A (listening), uid in the eighth column. Where there is no /proc, True.
    """
    try:
        rows = Path("/proc/net/tcp").read_text(encoding="ascii").splitlines()[1:]
    except OSError:
        return True
    wanted = f"0100007F:{port:04X}"
    return any(
        columns[1] == wanted and columns[3] == "0A" and int(columns[7]) == os.geteuid()
        for columns in (row.split() for row in rows)
    )


def _write_private(path: Path, data: bytes) -> None:
    """Replaces the file as a whole; it is never readable for others, not even for a moment."""
    new = path.with_name(path.name + ".new")
    new.unlink(missing_ok=True)
    with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600), "wb") as file:
        file.write(data)
    new.rename(path)
