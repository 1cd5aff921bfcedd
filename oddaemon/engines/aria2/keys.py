"""Who the content of a source is, told from the source alone (product.md section 4)."""

from __future__ import annotations

import hashlib

from oddaemon.domain.cache import CacheKey, KeyKind
from oddaemon.domain.errors import EngineFailed
from oddaemon.domain.failure import Failure, FailureCode
from oddaemon.domain.source import Source, SourceKind
from oddaemon.domain.types import EngineName


def key_of(source: Source) -> CacheKey:
    """Raises EngineFailed for what has no identity here."""
    engine = EngineName("aria2")
    if source.kind is not SourceKind.URL:
        if source.info_hash is None:
            message = "a torrent without a v1 info-hash, which aria2 cannot download"
            failure = Failure(code=FailureCode.UNSUPPORTED, message=message)
            raise EngineFailed(failure.message, failure=failure)
        return CacheKey(engine=engine, kind=KeyKind.HASH, value=source.info_hash)
    normalised = source.normalised or source.uri
    return CacheKey(engine=engine, kind=KeyKind.URL, value=hashlib.sha256(normalised.encode()).hexdigest())
