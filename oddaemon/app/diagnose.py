"""The daemon's half of `odctl doctor`: looks, and changes nothing but a file that it makes and removes at once."""

from __future__ import annotations

import asyncio
import errno
import os
import resource
import shlex
import shutil
import sys
import tempfile
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from importlib.util import find_spec
from pathlib import Path

from oddaemon.app.in_view import open_to_all
from oddaemon.app.paths import Paths
from oddaemon.domain.errors import StoreError
from oddaemon.domain.node import DiskUsage, EngineHealth
from oddaemon.domain.types import Bytes
from oddaemon.ports.clock import Clock

ENOUGH_DESCRIPTORS = 4096
ENOUGH_FREE = 64 << 20
"""Bytes on the disk of the data folder: the store's log may grow to so much."""
JS_RUNTIMES = ("deno", "node", "bun", "qjs")
"""What yt-dlp can run a page's player code with, best first (its wiki, "EJS")."""
_DEADLINE = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """`status` is ok, warn, fail or skip; `fix` is a command that can be pasted."""

    check: str
    status: str
    detail: str
    hint: str = ""
    fix: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Diagnosis:
    """Call it. Each part is asked anew; one that does not answer in time is a failed check, not an error."""

    paths: Paths
    clock: Clock
    reserve: Callable[[], Bytes]
    usage: Callable[[], DiskUsage]
    """May block: it is called in a thread."""
    health: Callable[[], Awaitable[Sequence[EngineHealth]]]
    damaged: Callable[[], Awaitable[int]]
    """How many damaged rows of the store were put aside."""
    store_kind: str = "sqlite"
    broken: Mapping[tuple[str, str], str] = field(default_factory=dict)
    listeners: Mapping[str, str] = field(default_factory=dict)
    """Name → address, as bound."""
    in_the_clear: Callable[[], Collection[str]] = tuple
    """Those of them that others reach without TLS and without a proxy that has it."""
    secrets_in_view: Callable[[], Mapping[str, Path]] = dict
    """Settings whose secret stands in a config file that everybody here may read, each with that file."""

    async def __call__(self) -> Sequence[Check]:
        checks = [*await self._engines(), *await self._store()]
        checks += [
            Check(check=f"plug-in {name}", status="fail", detail=why, hint="mend or remove it, then restart the daemon")
            for (_, name), why in self.broken.items()
        ]
        try:
            async with asyncio.timeout(_DEADLINE):
                checks += await asyncio.to_thread(self._of_this_machine)
        except TimeoutError:
            checks.append(Check(check="disk", status="fail", detail=f"did not answer in {_DEADLINE:g} s"))
        exposed = self.in_the_clear()
        checks += [listener(name, where, name in exposed) for name, where in self.listeners.items()]
        return checks

    async def _engines(self) -> Sequence[Check]:
        try:
            async with asyncio.timeout(_DEADLINE):
                healths = await self.health()
        except TimeoutError:
            return [Check(check="engines", status="fail", detail=f"did not answer in {_DEADLINE:g} s")]
        return [
            Check(
                check=f"engine {item.name}",
                status="ok" if item.ok else "fail",
                detail=" ".join(filter(None, (item.version, item.message))) or "no version",
                hint="" if item.ok else "odctl logs tells more",
            )
            for item in healths
        ]

    async def _store(self) -> Sequence[Check]:
        began = self.clock.monotonic()
        try:
            async with asyncio.timeout(_DEADLINE):
                count = await self.damaged()
        except TimeoutError:
            return [Check(check="store", status="fail", detail=f"did not answer in {_DEADLINE:g} s")]
        except StoreError as error:
            return [Check(check="store", status="fail", detail=error.message, hint=error.hint)]
        if not count:
            took = (self.clock.monotonic() - began) * 1000
            detail = f"{self.store_kind}, answered in {took:.0f} ms, no row is damaged"
            return [Check(check="store", status="ok", detail=detail)]
        return [
            Check(
                check="store", status="warn", detail=f"damaged rows that were put aside: {count}",
                hint="odctl logs says which; a backup may have them whole: oddaemon restore FILE",
            )
        ]  # fmt: skip

    def _of_this_machine(self) -> list[Check]:
        return [
            ffmpeg(),
            js_runtime(),
            *self._disk(),
            writable("download folder", self.paths.download_dir),
            private(with_room(writable("data folder", self.paths.data_dir), self.paths.data_dir), self.paths.data_dir),
            *(in_view(key, path) for key, path in self.secrets_in_view().items()),
            descriptors(),
            clock_sanity(self.clock.now(), self.paths.data_dir),
            locale_check(),
        ]

    def _disk(self) -> list[Check]:
        usage, reserve = self.usage(), self.reserve()
        if not usage.present:
            return [
                Check(
                    check="download disk",
                    status="fail",
                    detail=f"{self.paths.download_dir} has no .opendebrid file: the disk is not mounted",
                    hint="mount it; if this is a new, empty disk, make the file",
                    fix=f"touch {self.paths.download_dir}/.opendebrid",
                )
            ]
        free = f"{_gibibytes(usage.free)} of {_gibibytes(usage.total)} free"
        if usage.free <= reserve:
            return [
                Check(
                    check="download disk",
                    status="fail",
                    detail=f"{free}, the reserve is {_gibibytes(reserve)}",
                    hint="no download starts: make room, or lower limits.min_disk_free",
                    fix="odctl cache cleanup --older 30d",
                )
            ]
        low = usage.free < 2 * reserve
        return [Check(check="download disk", status="warn" if low else "ok", detail=free)]


def listener(name: str, where: str, exposed: bool) -> Check:
    if not exposed:
        return Check(check=f"listener {name}", status="ok", detail=where)
    return Check(
        check=f"listener {name}", status="warn",
        detail=f"{where} without TLS: keys and passwords can be read on the way",
        hint="set server.tls_cert and server.tls_key, or put a reverse proxy in front and name it in "
        "server.trusted_proxies",
    )  # fmt: skip


def _gibibytes(value: int) -> str:
    return f"{value / (1 << 30):.1f} GiB"


def ffmpeg() -> Check:
    """On PATH, else in the extra; without it formats that need merging fail."""
    found = shutil.which("ffmpeg")
    if found:
        return Check(check="ffmpeg", status="ok", detail=found)
    if find_spec("imageio_ffmpeg") is not None:
        return Check(check="ffmpeg", status="ok", detail="from the extra opendebrid[ffmpeg]")
    return Check(
        check="ffmpeg", status="warn", detail="not found: video and audio cannot be merged",
        hint="install ffmpeg, or the extra", fix=f"{sys.executable} -m pip install 'opendebrid[ffmpeg]'",
    )  # fmt: skip


def js_runtime() -> Check:
    found = next((path for name in JS_RUNTIMES if (path := shutil.which(name))), None)
    if found:
        return Check(check="JavaScript for yt-dlp", status="ok", detail=found)
    return Check(
        check="JavaScript for yt-dlp", status="warn", detail="none of " + ", ".join(JS_RUNTIMES) + " found",
        hint="some sites (YouTube) give fewer formats or none without one: install deno",
    )  # fmt: skip


def writable(name: str, folder: Path) -> Check:
    """Tries it: permissions alone do not tell of read-only mounts and sandboxes."""
    try:
        with tempfile.NamedTemporaryFile(dir=folder, prefix=".opendebrid-doctor-"):
            return Check(check=name, status="ok", detail=str(folder))
    except OSError as error:
        hint = "make it, or mount what belongs there" if error.errno == errno.ENOENT else "make it writable"
        fix = ""
        if error.errno == errno.EROFS and os.environ.get("INVOCATION_ID"):
            hint = "the service's sandbox forbids it: add this to a drop-in of the unit"
            fix = f"ReadWritePaths=-{folder}"
        return Check(check=name, status="fail", detail=f"{folder}: {error.strerror}", hint=hint, fix=fix)


def with_room(check: Check, folder: Path) -> Check:
    """The check of a folder that is fine otherwise: an empty file can be made on a disk without a free byte."""
    if check.status != "ok":
        return check
    free = shutil.disk_usage(folder).free
    if free >= ENOUGH_FREE:
        return check
    detail = f"{folder}: {free / (1 << 20):.0f} MiB free"
    hint = "the store needs room for every change: without it adds are refused; make room"
    return replace(check, status="fail", detail=detail, hint=hint)


def private(check: Check, folder: Path) -> Check:
    """The check of a folder that is fine otherwise and for the daemon's user alone: one that was there before the
    daemon keeps the mode that it has."""
    if check.status != "ok" or not open_to_all(folder):
        return check
    hint = "everybody on this machine may enter it"
    return replace(check, status="warn", hint=hint, fix=f"chmod 700 {shlex.quote(str(folder))}")


def in_view(key: str, path: Path) -> Check:
    return Check(
        check="config file", status="warn", detail=f"{path} holds the secret {key}",
        hint="everybody on this machine may read it", fix=f"chmod o-rwx {shlex.quote(str(path))}",
    )  # fmt: skip


def descriptors() -> Check:
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= ENOUGH_DESCRIPTORS:
        return Check(check="open files", status="ok", detail=f"limit {soft}")
    return Check(
        check="open files", status="warn", detail=f"limit {soft}",
        hint=f"many downloads and links need more: raise it to {ENOUGH_DESCRIPTORS} (LimitNOFILE= or ulimit -n)",
    )  # fmt: skip


def clock_sanity(now: datetime, data_dir: Path) -> Check:
    """Links and tokens expire by this clock: it must not have gone back behind what we wrote ourselves."""
    try:
        newest = max((entry.stat().st_mtime for entry in os.scandir(data_dir)), default=0.0)
    except OSError:
        newest = 0.0
    behind = newest - now.timestamp()
    if behind > 60:
        return Check(
            check="clock", status="fail", detail=f"{behind:.0f} s behind the newest file in the data folder",
            hint="links expire at the wrong time: set the clock, or switch time synchronisation on",
            fix="timedatectl set-ntp true",
        )  # fmt: skip
    return Check(check="clock", status="ok", detail=now.isoformat(timespec="seconds"))


def locale_check() -> Check:
    encoding = sys.getfilesystemencoding()
    if encoding.lower().replace("-", "") == "utf8":
        return Check(check="file names", status="ok", detail="are UTF-8")
    return Check(
        check="file names", status="warn", detail=f"are {encoding}", hint="start the daemon with LANG=C.UTF-8"
    )
