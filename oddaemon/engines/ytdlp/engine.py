"""The engine: one child a replica, and the port's methods on them. `yt_dlp` is never imported here."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import logging
import os
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from oddaemon.domain.errors import DeadlineExceeded, EngineFailed, EngineUnavailable
from oddaemon.domain.failure import Failure, FailureCode, Retry
from oddaemon.domain.node import EngineHealth
from oddaemon.domain.source import Source, SourceKind
from oddaemon.domain.types import Bytes, EngineName, Handle, ReplicaId, Seconds
from oddaemon.engines.ytdlp.claims import Classifier
from oddaemon.engines.ytdlp.failures import clean, failure_of, killed
from oddaemon.engines.ytdlp.ffmpeg import find_ffmpeg
from oddaemon.engines.ytdlp.fill import Fill
from oddaemon.engines.ytdlp.keys import NAME, key_of
from oddaemon.engines.ytdlp.options import SPECS, digest, effective, validate
from oddaemon.engines.ytdlp.process import ChildProcess
from oddaemon.engines.ytdlp.progress import Progress, shown_title
from oddaemon.engines.ytdlp.settings import FORMAT_WITHOUT_FFMPEG, YtdlpSettings
from oddaemon.ports.engine import (
    Capabilities,
    ClaimingEngine,
    Engine,
    FillFile,
    FillRequest,
    FillStatus,
    KeyResolution,
    MediaFormat,
    OutspokenEngine,
    ProbeResult,
    ProbingEngine,
)
from oddaemon.ports.plugin import Parts
from oddaemon.ports.tasks import KeyedLocks, TaskScope

log = logging.getLogger(__name__)

_SCHEMES = ("http", "https")
_RESOLVE = Seconds(60)
_LOOKERS = 3
"""Extractions at a time: each is a process of 50 MB."""

CAPABILITIES = Capabilities(
    schemes=_SCHEMES,
    mime_types=("text/html", "application/vnd.apple.mpegurl", "application/dash+xml"),
    playlists=True,
    probe=True,
    claims_urls=True,
    custom={"media_pages": True, "playlists": True, "formats": True, "subtitles": True, "audio_extraction": True},
    options=SPECS,
)


class YtdlpEngine(Engine, ProbingEngine, ClaimingEngine, OutspokenEngine):
    """Handles hold no state: everything that is needed to go on lies in the replica's directory."""

    def __init__(self, settings: YtdlpSettings, parts: Parts) -> None:
        self._settings = settings
        self._home = parts.state_dir / "home"
        self._news = parts.news
        self._classifier = Classifier(self._home)
        self._fills: dict[ReplicaId, Fill] = {}
        self._locks = KeyedLocks()
        """One change of a replica at a time."""
        self._lookers = asyncio.Semaphore(_LOOKERS)
        self._looking: set[ChildProcess] = set()
        self._tasks = TaskScope("ytdlp fills")
        self._ffmpeg: str | None = None
        self._running = False
        self._version: str | None = None
        self._problem = "yt-dlp is not started"

    @property
    def name(self) -> EngineName:
        return NAME

    @property
    def capabilities(self) -> Capabilities:
        return CAPABILITIES

    # life

    async def start(self) -> None:
        if self._running:
            return
        try:
            self._version = await asyncio.to_thread(version, "yt-dlp")
        except PackageNotFoundError as error:
            self._problem = "the package yt-dlp is not installed"
            raise EngineUnavailable(self._problem, hint="pip install yt-dlp") from error
        self._ffmpeg = await asyncio.to_thread(find_ffmpeg)
        self._classifier.open()
        await asyncio.to_thread(self._home.mkdir, mode=0o700, parents=True, exist_ok=True)
        await self._tasks.open()
        self._running = True

    async def stop(self) -> None:
        self._running = False
        self._problem = "yt-dlp is stopped"
        # every task of a fill ends its own child before it ends
        await asyncio.gather(self._tasks.close(), self._classifier.close(), *[child.end() for child in self._looking])
        await self._no_one_looks()
        self._fills.clear()

    async def _no_one_looks(self) -> None:
        """Whoever looks holds a turn, also while the child is being started and is not yet known: when all turns are
        ours, no child is left."""
        async with contextlib.AsyncExitStack() as turns:
            for _ in range(_LOOKERS):
                await turns.enter_async_context(self._lookers)

    async def health(self) -> EngineHealth:
        return EngineHealth(
            name=NAME,
            ok=self._running,
            version=self._version,
            message="" if self._running else self._problem,
            max_concurrent=self._settings.max_concurrent,
            capabilities=dict(CAPABILITIES.custom)
            | {"pause": False, "select": False, "probe": True, "rate_limit": False, "ffmpeg": self._ffmpeg is not None},
            schemes=_SCHEMES,
        )

    def validate_options(self, options: Mapping[str, str]) -> Mapping[str, str]:
        return validate(options)

    # downloads

    async def add(self, request: FillRequest) -> Handle:
        options = validate(request.options)
        self._require_running()
        handle = _handle(request.replica_id)
        task = {
            **self._task("fill", request.source, options),
            "selection": None if request.selection is None else sorted(request.selection),
            "rate": request.max_rate_down,
        }
        async with self._locks.holding(request.replica_id):
            self._require_running()
            fill = self._fills.get(request.replica_id)
            if fill is not None and fill.progress.failure is None:
                return handle
            if fill is not None:
                await fill.end()
                self._require_running()
            languages = tuple(part for part in options.get("subtitles", "").split(",") if part)
            progress = Progress(request.replica_id, _frozen(request), languages)
            self._fills[request.replica_id] = Fill(
                self._tasks, task, progress, request.directory, self._home, self._news
            )
        return handle

    async def recover(self, handle: Handle, request: FillRequest) -> Handle:
        # a child never outlives its daemon, so there is nothing to take up but what lies in the directory
        return await self.add(request)

    async def statuses(self) -> Mapping[ReplicaId, FillStatus]:
        self._require_running()
        return {replica_id: fill.progress.status() for replica_id, fill in self._fills.items()}

    async def list_files(self, replica_id: ReplicaId) -> Sequence[FillFile]:
        fill = self._fills.get(replica_id)
        return fill.progress.files() if fill is not None else ()

    async def raw_status(self, replica_id: ReplicaId) -> Mapping[str, str | int | float | bool]:
        fill = self._fills.get(replica_id)
        event = {} if fill is None else fill.last_event
        # figures alone: a text may be an address
        return {key: value for key, value in event.items() if isinstance(value, (int, float)) or key == "event"}

    async def cancel(self, replica_id: ReplicaId) -> None:
        async with self._locks.holding(replica_id):
            fill = self._fills.get(replica_id)
            if fill is not None:
                try:
                    await fill.end()
                finally:
                    self._fills.pop(replica_id, None)

    async def remove(self, replica_id: ReplicaId) -> None:
        await self.cancel(replica_id)

    # finding out

    async def claims(self, url: str) -> bool:
        self._require_running()
        return await self._classifier.claims(url)

    async def resolve_cache_key(self, source: Source, options: Mapping[str, str]) -> KeyResolution | None:
        options = validate(options)
        try:
            async with self._lookers:  # waiting for a turn is not the page's fault
                found = await self._look("resolve", source, options, _RESOLVE)
        except DeadlineExceeded as error:
            failure = Failure(
                code=FailureCode.TIMEOUT, message=f"the page was not read within {_RESOLVE:g} s", retry=Retry.PASSING
            )
            raise EngineFailed(failure.message, failure=failure) from error
        return KeyResolution(key=self._key(source, found, options), name=_name_of(found), size=_size(found.get("size")))

    async def probe(
        self, source: Source, options: Mapping[str, str], *, torrent: bytes | None, deadline: Seconds
    ) -> ProbeResult:
        options = validate(options)
        try:
            async with asyncio.timeout(deadline), self._lookers:
                found = await self._look("probe", source, options, deadline)
        except TimeoutError as error:
            raise DeadlineExceeded(f"yt-dlp did not answer within {deadline:g} s") from error
        return ProbeResult(
            name=_name_of(found),
            size=_size(found.get("size")),
            files=_files_of(found),
            formats=[_media_format(row) for row in found.get("formats") or () if isinstance(row, dict)],
            key=self._key(source, found, options),
        )

    async def _look(self, mode: str, source: Source, options: Mapping[str, str], deadline: Seconds) -> dict[str, Any]:
        """The child's event `found`. Raises EngineFailed, DeadlineExceeded."""
        self._require_running()
        task = self._task(mode, source, options)
        try:
            async with asyncio.timeout(deadline):
                event = await self._ask(task)
        except TimeoutError as error:
            raise DeadlineExceeded(f"yt-dlp did not answer within {deadline:g} s") from error
        if event["event"] == "found":
            return event
        failure = event.get("failure") or failure_of(event.get("problem") or {})
        raise EngineFailed(failure.message, hint=failure.hint, failure=failure)

    async def _ask(self, task: Mapping[str, Any]) -> dict[str, Any]:
        try:
            child = await ChildProcess.start(cwd=self._home, home=self._home)
        except OSError as error:
            raise EngineUnavailable(f"yt-dlp cannot be started: {error}") from error
        self._looking.add(child)
        try:
            self._require_running()  # stopped while it was started
            await child.send(task)
            async for event in child.events():
                if event["event"] in ("found", "failed"):
                    return event
        finally:
            await child.end()
            self._looking.discard(child)
        return {"event": "failed", "failure": killed(child.last_words())}

    # what goes to the child

    def _task(self, mode: str, source: Source, options: Mapping[str, str]) -> dict[str, Any]:
        """Raises EngineFailed for what is not an http or https URL, or cannot be done without ffmpeg."""
        if source.kind is not SourceKind.URL or not source.uri.startswith(("http://", "https://")):
            raise _never(FailureCode.BAD_SOURCE, "yt-dlp takes http and https URLs only")
        chosen = self._choices(options)
        if self._ffmpeg is None and ("audio-format" in chosen or "embed-subtitles" in chosen):
            raise _never(FailureCode.UNSUPPORTED, "this needs ffmpeg, which is not installed on this node")
        return {
            "mode": mode,
            "parent": os.getpid(),
            "url": source.uri,
            "login": _login(source),
            "format": chosen["format"],
            "options": {**options, **{name: chosen[name] for name in ("audio-only",) if name in chosen}},
            "ffmpeg": self._ffmpeg,
            "digest": digest(chosen),
        }

    def _choices(self, options: Mapping[str, str]) -> Mapping[str, str]:
        return effective(options, self._settings.default_format if self._ffmpeg else FORMAT_WITHOUT_FFMPEG)

    def _key(self, source: Source, found: Mapping[str, Any], options: Mapping[str, str]) -> Any:
        return key_of(source, found, self._choices(options))

    def _require_running(self) -> None:
        if not self._running:
            raise EngineUnavailable(self._problem)


def _handle(replica_id: ReplicaId) -> Handle:
    return Handle(json.dumps({"v": 1, "replica": replica_id.hex}))


def _frozen(request: FillRequest) -> frozenset[int] | None:
    return None if request.selection is None else frozenset(request.selection)


def _never(code: FailureCode, message: str) -> EngineFailed:
    return EngineFailed(message, failure=Failure(code=code, message=message))


def _login(source: Source) -> dict[str, str] | None:
    """user:password of the URL as a header (RFC 7617) and where it may go."""
    if source.username is None:
        return None
    token = base64.b64encode(f"{source.username}:{source.password or ''}".encode()).decode()
    return {"origin": "/".join(source.uri.split("/", 3)[:3]).lower(), "authorization": f"Basic {token}"}


def _name_of(found: Mapping[str, Any]) -> str | None:
    title = found.get("title")
    if not isinstance(title, str) or not title:
        return None
    extension = found.get("ext")
    return f"{shown_title(title)}.{extension}" if isinstance(extension, str) and extension else shown_title(title)


def _files_of(found: Mapping[str, Any]) -> list[FillFile]:
    """What a download would yield, entry by entry."""
    entries, extension = found.get("entries"), found.get("ext")
    if not isinstance(entries, list):
        size = _size(found.get("size"))
        path = _name_of(found) or "video"
        return [FillFile(index=1, path=path, disk_path="e00001" + (f".{extension}" if extension else ""), size=size,
                         done=Bytes(0))]  # fmt: skip
    return [
        FillFile(index=index, path=f"{index:03d} - {shown_title(str(entry.get('title') or ''))}",
                 disk_path=f"e{index:05d}", size=None, done=Bytes(0))
        for index, entry in enumerate(entries, 1)
    ]  # fmt: skip


def _size(value: object) -> Bytes | None:
    return Bytes(int(value)) if isinstance(value, int | float) and 0 < value < 1 << 60 else None


def _media_format(row: Mapping[str, Any]) -> MediaFormat:
    def text(name: str) -> str | None:
        value = row.get(name)
        return clean(value)[:200] if isinstance(value, str) and value not in ("", "none") else None

    def number(name: str) -> float | None:
        value = row.get(name)
        return float(value) if isinstance(value, int | float) and 0 < value < 1e12 else None

    width, height = number("width"), number("height")
    return MediaFormat(
        id=text("format_id") or "0",
        extension=text("ext") or "",
        description=text("format") or "",
        size=_size(row.get("filesize") or row.get("filesize_approx")),
        video_codec=text("vcodec"),
        audio_codec=text("acodec"),
        width=None if width is None else int(width),
        height=None if height is None else int(height),
        bitrate_kbps=number("tbr"),
    )
