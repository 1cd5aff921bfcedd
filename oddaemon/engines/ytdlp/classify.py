"""In the child: answers, line by line, whether an extractor of its own wants a URL. No network."""

from __future__ import annotations

import json
from typing import Any, BinaryIO

_NOT_MEDIA = frozenset({"Generic", "CommonMistakes", "UnicodeBOM", "KnownDRM", "KnownPiracy"})
"""Take what no site's extractor takes, or only refuse."""


def answer(requests: BinaryIO, out: BinaryIO) -> None:
    from yt_dlp.extractor import gen_extractor_classes

    classes = [ie for ie in gen_extractor_classes() if ie.ie_key() not in _NOT_MEDIA]
    for line in requests:
        url = json.loads(line)["url"]
        reply = {"event": "claim", "url": url, "claimed": any(_wants(ie, url) for ie in classes)}
        out.write(json.dumps(reply).encode() + b"\n")
        out.flush()


def _wants(extractor: Any, url: str) -> bool:
    try:
        return bool(extractor.suitable(url))
    except Exception:  # noqa: BLE001  (one extractor's slip on an odd URL is not the others')
        return False
