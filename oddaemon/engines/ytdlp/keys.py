"""Cache keys of what an extraction found (product.md section 4). Sans I/O."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from oddaemon.domain.cache import CacheKey, KeyKind, url_cache_key, url_key
from oddaemon.domain.source import Source
from oddaemon.domain.types import EngineName
from oddaemon.engines.ytdlp.options import digest

NAME = EngineName("ytdlp")
_MAX_ID = 200


def key_of(source: Source, found: Mapping[str, Any], choices: Mapping[str, str]) -> CacheKey:
    """`found`: the child's event of that name; `choices`: what changes the bytes (`options.effective`).

    A site's own id is an identity; that of the generic extractor is not. Ids come from pages: they are escaped, so that
    none can pass for another part of a key.
    """
    entries = found.get("entries")
    identities = [str(entry.get("identity")) for entry in entries] if isinstance(entries, list) else None
    made_of = digest(choices) if identities is None else digest(choices, identities)
    extractor, own_id = (
        str(found.get("extractor") or ""),
        str(found.get("id") or "").encode("utf-8", "replace").decode(),
    )
    if not own_id or not re.fullmatch(r"[a-z0-9_-]{1,80}", extractor):
        return url_key(NAME, source.normalised or source.uri, made_of)
    escaped = quote(own_id, safe="")
    if len(escaped) > _MAX_ID:
        escaped = url_cache_key(own_id)
    return CacheKey(engine=NAME, kind=KeyKind.CUSTOM_ID, value=f"{extractor}:{escaped}:{made_of}")
