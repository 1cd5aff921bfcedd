"""Labels of nodes: `room=attic`. Sans I/O."""

from __future__ import annotations

from collections.abc import Iterable

MAX_LABELS = 64
LONGEST_KEY, LONGEST_VALUE = 63, 200
DO_NOT_FIT = (
    f"key and value are printable and not empty, without = and comma; the key has at most {LONGEST_KEY} characters, "
    f"the value {LONGEST_VALUE}"
)


def fits(key: str, value: str) -> bool:
    """Whether that may be a label."""
    return _plain(key, LONGEST_KEY) and _plain(value, LONGEST_VALUE)


def parse_labels(texts: Iterable[str]) -> dict[str, str]:
    """Of `key=value` each. Raises ValueError, naming the one that is wrong."""
    found: dict[str, str] = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not equals or not fits(key, value):
            raise ValueError(f"{text[:80]!r} is no label such as room=attic: {DO_NOT_FIT}")
        if key in found:
            raise ValueError(f"the label {key!r} is given twice")
        found[key] = value
    if len(found) > MAX_LABELS:
        raise ValueError(f"a node has at most {MAX_LABELS} labels")
    return found


def _plain(text: str, longest: int) -> bool:
    return bool(text) and len(text) <= longest and text.isprintable() and "=" not in text and "," not in text
