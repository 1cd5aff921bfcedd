"""In the child: yt_dlp's YoutubeDL, confined. What it may fetch, how it resumes, and under which names it writes."""

from __future__ import annotations

import hashlib
import io
import os
import re
import sys
from collections.abc import Mapping
from typing import Any

from yt_dlp import YoutubeDL
from yt_dlp.downloader import get_suitable_downloader
from yt_dlp.downloader.external import ExternalFD
from yt_dlp.downloader.fragment import FragmentFD
from yt_dlp.globals import plugin_dirs
from yt_dlp.networking.common import HEADRequest, Request
from yt_dlp.networking.exceptions import HTTPError, RequestError
from yt_dlp.utils import DownloadError, YoutubeDLError

from oddaemon.domain.failure import Retry
from oddaemon.engines.ytdlp.confinement import input_arguments, no_downloads_by_ffmpeg, require_media
from oddaemon.engines.ytdlp.failures import failure_of
from oddaemon.engines.ytdlp.fragments import FragmentsChanged, resuming
from oddaemon.engines.ytdlp.problems import problem_of
from oddaemon.engines.ytdlp.record import Record

_SAFE_ID = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9_.-]{0,39}")
_SAFE_LANGUAGE = re.compile(r"[A-Za-z0-9-]{1,40}")
_SAFE_EXTENSION = re.compile(r"[A-Za-z0-9]{1,8}")
_RANGE = re.compile(r"bytes=(\d+)-")
_TOTAL = re.compile(r"bytes \d+-\d+/(\d+)")


class Log:
    """Everything that yt_dlp says goes to stderr, of which the daemon keeps the end."""

    def debug(self, message: str) -> None:
        pass

    def warning(self, message: str) -> None:
        print("WARNING:", message, file=sys.stderr)  # noqa: T201

    def error(self, message: str) -> None:
        print(message, file=sys.stderr)  # noqa: T201


def parameters(task: Mapping[str, Any]) -> dict[str, Any]:
    """YoutubeDL's parameters. No configuration is read, nothing is cached, nothing is run but ffmpeg (and the
    JavaScript runtime that yt-dlp itself sandboxes)."""
    options = task["options"]
    found: dict[str, Any] = {
        "format": task["format"],
        "logger": Log(),
        "quiet": True,
        "noprogress": True,
        "color": "no_color",
        "cachedir": False,
        "usenetrc": False,
        "enable_file_urls": False,
        "noplaylist": options.get("no-playlist") == "true",
        "socket_timeout": 20,
        # short waits for hiccups; longer ones are the reconciler's, which counts them and honours Retry-After
        "retries": 4,
        "fragment_retries": 4,
        "file_access_retries": 1,
        "extractor_retries": 2,
        "retry_sleep_functions": dict.fromkeys(("http", "fragment", "extractor"), lambda n: min(0.15 * 2**n, 5)),
        # a video with a hole is not the video
        "skip_unavailable_fragments": False,
        "hls_prefer_native": True,
        "continuedl": True,
        "nopart": False,
        "overwrites": None,
        "updatetime": False,
        "ffmpeg_location": task["ffmpeg"],
        "http_headers": {},
        "outtmpl": {"default": "e00000.%(ext)s"},
        "postprocessors": _postprocessors(task),
        "postprocessor_args": input_arguments(),
    }
    if options.get("user-agent"):
        found["http_headers"]["User-Agent"] = options["user-agent"]
    if options.get("referer"):
        found["http_headers"]["Referer"] = options["referer"]
    if options.get("cookies"):
        # a stream and no file: they never touch the disk
        text = options["cookies"]
        found["cookiefile"] = io.StringIO(text if text.startswith("#") else "# Netscape HTTP Cookie File\n" + text)
    if options.get("username"):
        found |= {"username": options["username"], "password": options.get("password", "")}
    if task.get("rate"):
        found["ratelimit"] = task["rate"]
    if options.get("subtitles"):
        languages = options["subtitles"].split(",")
        found |= {"writesubtitles": True, "subtitleslangs": [re.escape(language) for language in languages]}
    return found


def _postprocessors(task: Mapping[str, Any]) -> list[dict[str, Any]]:
    options = task["options"]
    found: list[dict[str, Any]] = []
    if task["ffmpeg"] and options.get("audio-only") == "true":
        codec = options.get("audio-format", "best")
        quality = options.get("audio-quality", "5").removesuffix("K")
        found.append({"key": "FFmpegExtractAudio", "preferredcodec": codec, "preferredquality": quality})
    if task["ffmpeg"] and options.get("embed-subtitles") == "true":
        found.append({"key": "FFmpegEmbedSubtitle", "already_have_subtitle": False})
    return found


class Downloader(YoutubeDL):  # type: ignore[misc]
    """Fetches http and https only, writes into the working directory only."""

    def __init__(self, task: Mapping[str, Any], record: Record | None = None) -> None:
        plugin_dirs.value = []
        no_downloads_by_ffmpeg()
        self._record = record
        self._guarded: str | None = None
        """The file that the requests of this moment are for, if they may resume it."""
        self._login: Mapping[str, str] | None = task.get("login")
        """user:password of the source's URL as a header, for its origin alone. Not in a URL: those are shown."""
        super().__init__(parameters(task), auto_init=True)

    def write_to(self, stem: str) -> None:
        self.params["outtmpl"]["default"] = f"{stem}.%(ext)s"

    def save_cookies(self) -> None:
        """They are the user's; nothing is kept of what a site adds."""

    def process_info(self, info_dict: dict[str, Any]) -> None:
        """Formats and languages become parts of file names: their own names come from the page."""
        for chosen in info_dict.get("requested_formats") or ():
            chosen["format_id"] = _safe(str(chosen.get("format_id") or "0"))
        subtitles = info_dict.get("requested_subtitles") or {}
        info_dict["requested_subtitles"] = {
            language: facts
            for language, facts in subtitles.items()
            if _SAFE_LANGUAGE.fullmatch(language) and _SAFE_EXTENSION.fullmatch(str(facts.get("ext") or ""))
        } or None
        super().process_info(info_dict)

    def dl(self, name: str, info: dict[str, Any], subtitle: bool = False, test: bool = False) -> Any:
        """As the original, with resuming that cannot mix two versions. Raises DownloadError for other schemes."""
        if not info.get("url"):
            self.raise_no_formats(info, True)
        for chosen in info.get("requested_formats") or [info]:
            _require_http(str(chosen.get("url")))
        kind = get_suitable_downloader(info, self.params)
        if kind is None or issubclass(kind, ExternalFD):
            raise DownloadError("this needs a downloader that is not supported")
        copy = self._copy_infodict(info)
        if copy.get("http_headers") is None:
            copy["http_headers"] = self._calc_headers(copy)
        if issubclass(kind, FragmentFD):
            kind = resuming(kind)
        elif not subtitle:
            self._drop_outdated(name, copy)
            self._guarded = name
        try:
            try:
                found = self._fetch(kind, name, copy, subtitle)
            except FragmentsChanged:  # what was there of the old one is gone
                found = self._fetch(kind, name, copy, subtitle)
            if found[0] and not subtitle:
                require_media(name)
            return found
        except YoutubeDLError as error:
            # a subtitle that cannot be had is left out; one that may come later is worth another attempt
            if not subtitle or failure_of(problem_of(error)).retry is not Retry.LASTING:
                raise
            self.report_warning(f"subtitle left out: {error}")
            return False, False
        finally:
            self._guarded = None

    def _fetch(self, kind: Any, name: str, info: dict[str, Any], subtitle: bool) -> tuple[bool, bool]:
        worker = kind(self, self.params)
        for hook in self._progress_hooks:
            worker.add_progress_hook(hook)
        done, real = worker.download(name, info, subtitle)
        return bool(done), bool(real)

    def _drop_outdated(self, name: str, info: Mapping[str, Any]) -> None:
        """A format that an earlier run finished is merged with another one only if the origin still has it so."""
        known = None if self._record is None else self._record.validators.get(name)
        if known is None or not os.path.isfile(name):
            return
        headers = {**info["http_headers"], "Accept-Encoding": "identity"}
        try:
            with self.urlopen(HEADRequest(info["url"], headers=headers)) as response:
                found = _validators(response)
        except (RequestError, OSError):
            return  # it does not answer this question
        if any(known[part] and found[part] and known[part] != found[part] for part in found):
            os.unlink(name)

    def urlopen(self, req: Any) -> Any:
        request = Request(req) if isinstance(req, str) else req
        if not isinstance(request, Request):
            return super().urlopen(request)
        if self._login is not None and _origin(request.url) == self._login["origin"]:
            request.headers.setdefault("Authorization", self._login["authorization"])
        if self._guarded is None or self._record is None:
            return super().urlopen(request)
        return self._open_guarded(request, self._guarded, self._record)

    def _open_guarded(self, request: Request, name: str, record: Record) -> Any:
        """Goes on with a partial file only where the origin says that it is still the same (RFC 9110 section 13.1.5);
        otherwise asks for the whole, which makes yt_dlp begin anew."""
        known = record.validators.get(name)
        wanted = _RANGE.match(request.headers.get("Range") or "")
        resuming_at = int(wanted[1]) if wanted else 0
        if resuming_at and known is None:
            request = _whole(request)
            resuming_at = 0
        elif resuming_at and known and known["etag"]:
            request.headers["If-Range"] = known["etag"]
        try:
            response = super().urlopen(request)
        except HTTPError as error:
            if not resuming_at or error.status != 416:
                raise
            error.close()
            response = super().urlopen(_whole(request))
        found = _validators(response)
        if response.status == 206 and resuming_at and known is not None and not _same(known, found):
            response.close()
            response = super().urlopen(_whole(request))
            found = _validators(response)
        if found != known:
            record.validators[name] = found
            record.save()
        return response


def _origin(url: str) -> str:
    """Scheme, host and port."""
    return "/".join(url.split("/", 3)[:3]).lower()


def _whole(request: Request) -> Request:
    copy = request.copy()
    for header in ("Range", "If-Range"):
        if header in copy.headers:
            del copy.headers[header]
    return copy


def _validators(response: Any) -> dict[str, Any]:
    headers = response.headers
    etag = headers.get("ETag") or ""
    total = _TOTAL.match(headers.get("Content-Range") or "")
    length = total[1] if total else headers.get("Content-Length") if response.status == 200 else None
    return {
        # a weak one does not promise the same bytes
        "etag": etag if etag.startswith('"') else "",
        "modified": headers.get("Last-Modified") or "",
        "total": int(length) if length and str(length).isdecimal() else None,
    }


def _same(known: Mapping[str, Any], found: Mapping[str, Any]) -> bool:
    return all(known[part] == found[part] for part in ("etag", "modified", "total"))


def _require_http(url: str) -> None:
    if not re.match(r"https?://", url, re.IGNORECASE):
        raise DownloadError(f"refused: {url[:40]!r} is neither http nor https")


def _safe(text: str) -> str:
    if _SAFE_ID.fullmatch(text):
        return text
    return (
        re.sub(r"[^A-Za-z0-9]", "_", text)[:20] + "-" + hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()[:8]
    )
