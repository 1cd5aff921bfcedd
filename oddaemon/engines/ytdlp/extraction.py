"""In the child: what a URL leads to, without downloading it."""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from yt_dlp.extractor import get_info_extractor
from yt_dlp.utils import ExtractorError, YoutubeDLError, sanitize_url

from oddaemon.engines.ytdlp.downloader import Downloader
from oddaemon.engines.ytdlp.options import MAX_ITEMS

_LISTS = frozenset({"playlist", "multi_video", "compat_list"})
_STEPS = 12
_DEPTH = 3
_ANONYMOUS = frozenset({"generic", "html5"})
"""Extractors whose ids are the last part of a path: not identities (every site has an `index.m3u8`)."""
_FORMATS = 500
_TITLE = 500
_IDENTITY = 120
"""Characters: 10,000 entries have to fit into one event (`process._LINE_LIMIT`)."""


class Emit(Protocol):
    def __call__(self, event: str, **facts: object) -> None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Leaf:
    """One video to be: extracted as far as its list tells."""

    index: int
    info: dict[str, Any]
    extra: dict[str, Any]

    @property
    def title(self) -> str:
        return title_of(self.info) or str(self.info.get("id") or "")[:_TITLE]

    @property
    def identity(self) -> str:
        return identity_of(self.info)


def title_of(info: Mapping[str, Any]) -> str:
    return str(info.get("title") or "")[:_TITLE]


def identity_of(info: Mapping[str, Any]) -> str:
    key = info.get("ie_key") or info.get("extractor_key") or ""
    text = f"{key}:{info.get('id') or info.get('url') or info.get('title') or ''}"
    return text if len(text) <= _IDENTITY else hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()


def follow(ydl: Downloader, info: dict[str, Any] | None) -> dict[str, Any]:
    """The video or list that a result refers to, through any number of embedding pages (within reason)."""
    for _ in range(_STEPS):
        if info is None:
            raise ExtractorError("the page led to nothing", expected=True)
        kind = info.get("_type", "video")
        if kind not in ("url", "url_transparent"):
            return info
        url = sanitize_url(info["url"], scheme="https")
        inner = ydl.extract_info(url, download=False, process=False, ie_key=info.get("ie_key"))
        if kind == "url_transparent" and inner is not None:
            kept = {"_type", "url", "ie_key", "id", "extractor", "extractor_key"}
            inner = {**inner, **{k: v for k, v in info.items() if v is not None and k not in kept}}
            if inner.get("_type") == "url":
                inner["_type"] = "url_transparent"
        info = inner
    raise ExtractorError("too many pages that embed one another", expected=True)


def root_of(ydl: Downloader, url: str) -> dict[str, Any]:
    return follow(ydl, {"_type": "url", "url": url})


def is_list(info: Mapping[str, Any]) -> bool:
    return info.get("_type", "video") in _LISTS


def leaves_of(ydl: Downloader, root: dict[str, Any], items: str | None) -> list[Leaf]:
    """The entries in order, counted from 1. `items` picks some of them first, as in the option `playlist-items`."""
    if not is_list(root):
        return [Leaf(index=1, info=root, extra={})]
    wanted = None if items is None else _numbers(items)
    last = MAX_ITEMS if wanted is None else max(wanted)
    found = itertools.islice(_entries(ydl, root, 0), last)
    chosen = [pair for number, pair in enumerate(found, 1) if wanted is None or number in wanted]
    return [Leaf(index=index, info=info, extra=extra) for index, (info, extra) in enumerate(chosen, 1)]


def _entries(ydl: Downloader, parent: dict[str, Any], depth: int) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    """Lists within lists, such as the tabs of a channel, are laid out flat."""
    extra = {
        name: parent[name] for name in ("extractor", "extractor_key", "webpage_url", "original_url") if parent.get(name)
    }
    entries = parent.get("entries") or ()
    for entry in entries.getslice(0, MAX_ITEMS) if hasattr(entries, "getslice") else entries:
        if not isinstance(entry, dict):
            continue
        inner = entry
        if _leads_to_list(entry) and depth < _DEPTH:
            with contextlib.suppress(YoutubeDLError):
                inner = follow(ydl, dict(entry))
        if is_list(inner) and depth < _DEPTH:
            yield from _entries(ydl, inner, depth + 1)
        else:
            yield entry, extra


def _leads_to_list(entry: Mapping[str, Any]) -> bool:
    if entry.get("_type") not in ("url", "url_transparent") or not entry.get("ie_key"):
        return False
    with contextlib.suppress(Exception):
        return get_info_extractor(entry["ie_key"]).is_single_video(entry["url"]) is False
    return False


def _numbers(items: str) -> set[int]:
    found: set[int] = set()
    for part in items.split(","):
        first, _, last = part.partition("-")
        found |= set(range(int(first), int(last or first) + 1))
    return found


def requested(info: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The formats that were chosen: several when they are merged."""
    return list(info.get("requested_formats") or [info])


def size_of(info: Mapping[str, Any]) -> int | None:
    """Of the chosen formats, bytes; exact or as yt_dlp estimates it."""
    sizes = [part.get("filesize") or part.get("filesize_approx") for part in requested(info)]
    return sum(int(size) for size in sizes if size) if all(sizes) else None


def look(task: Mapping[str, Any], emit: Emit) -> None:
    """The modes `resolve` and `probe`."""
    with Downloader(task) as ydl:
        root = root_of(ydl, task["url"])
        facts = {
            "extractor": str(root.get("extractor_key") or "").lower(),
            "id": str(root.get("id") or "") if _has_identity(root) else "",
            "title": title_of(root),
        }
        if is_list(root):
            leaves = leaves_of(ydl, root, task["options"].get("playlist-items"))
            entries = [{"identity": leaf.identity, "title": leaf.title} for leaf in leaves]
            emit("found", **facts, entries=entries)
            return
        info = ydl.process_ie_result(root, download=False)
        if info.get("is_live") and task["mode"] == "resolve":
            raise ExtractorError("this is a live stream, which has no end", expected=True)
        formats = [_format(f) for f in (info.get("formats") or ())[:_FORMATS]] if task["mode"] == "probe" else []
        emit(
            "found", **facts | {"title": title_of(info)}, entries=None, ext=info.get("ext"), size=size_of(info),
            formats=formats,
        )  # fmt: skip


def _has_identity(info: Mapping[str, Any]) -> bool:
    key, extractor = str(info.get("extractor_key") or ""), str(info.get("extractor") or "")
    if not key or not info.get("id") or {key.lower(), extractor.lower()} & _ANONYMOUS:
        return False
    with contextlib.suppress(Exception):
        patterns = get_info_extractor(key)._VALID_URL
        patterns = [patterns] if isinstance(patterns, str) else list(patterns or ())
        return any(re.search(r"\(\?P<id>", pattern) for pattern in patterns)
    return False


def _format(found: Mapping[str, Any]) -> dict[str, Any]:
    names = ("format_id", "ext", "format", "filesize", "filesize_approx", "vcodec", "acodec", "width", "height", "tbr")
    return {name: found.get(name) for name in names}
