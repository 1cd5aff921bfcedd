"""What `add` and `probe` are given: sources on the line, in files, and in batches on stdin. No network."""

from __future__ import annotations

import json
import os
import re
import stat
from collections.abc import Mapping, Sequence
from typing import Any, BinaryIO

from msgspec import Struct, field
from msgspec.structs import replace

from odctl.client.errors import OdctlError, UsageError
from odctl.text import clean, parse_size

MAX_TORRENT = 10 << 20
"""Bytes of a .torrent file."""
MAX_SOURCE = 100_000
"""Characters of a source; the daemon has a limit of its own."""
MAX_PRIORITY = 1000
"""Of a job, up and down; the daemon's limit."""
PRIORITIES = {"low": -10, "normal": 0, "high": 10}
_HASH = re.compile(r"[0-9a-fA-F]{40}|[A-Za-z2-7]{32}|[0-9a-fA-F]{64}")
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:")
_KEYS = (
    "url", "source", "engine", "node", "files", "tags", "options", "name", "priority", "paused", "force",
    "checksum", "max_rate",
)  # fmt: skip


class Order(Struct, frozen=True, kw_only=True):
    """One source with what was asked for it: the fields of AddItem."""

    input: str
    line: int = 0
    """Of stdin; 0: it stood on the command line."""
    source: str = ""
    torrent: bytes = b""
    torrent_name: str = ""
    engine: str = ""
    node: str = ""
    node_labels: Mapping[str, str] = field(default_factory=dict)
    files: str = ""
    options: Mapping[str, str] = field(default_factory=dict)
    name: str = ""
    tags: tuple[str, ...] = ()
    priority: int = 0
    paused: bool = False
    force: bool = False
    checksum: str = ""
    max_rate_down: int | None = None

    @property
    def origin(self) -> dict[str, Any]:
        """Where it came from, for the details of an error."""
        return {"input": self.input[:500]} | ({"line": self.line} if self.line else {})

    def item(self) -> dict[str, Any]:
        return {
            "source": self.source, "torrent": self.torrent, "torrent_name": self.torrent_name,
            "engine": "" if self.engine == "auto" else self.engine, "node": self.node,
            "node_labels": dict(self.node_labels), "files": self.files,
            "options": dict(self.options), "name": self.name, "tags": list(self.tags), "priority": self.priority,
            "paused": self.paused, "force": self.force, "checksum": self.checksum,
            "max_rate_down": self.max_rate_down,
        }  # fmt: skip


def resolve(order: Order, text: str) -> Order:
    """`order` for one source as it was given. Raises OdctlError for one that the client can tell to be wrong."""
    if text.lower().startswith("file:"):
        raise _invalid("file: is not a source", "give the path of a .torrent file, or an http, https or ftp URL")
    if not text.strip():
        raise _invalid("an empty text is not a source", "")
    if _SCHEME.match(text) and not os.path.exists(text):
        return replace(order, input=text, source=_checked(text))
    if _is_torrent_path(text):
        return replace(order, input=text, torrent=read_torrent(text), torrent_name=os.path.basename(text))
    return replace(order, input=text, source=_checked(text))


def _is_torrent_path(text: str) -> bool:
    if _HASH.fullmatch(text) and not os.path.exists(text):
        return False
    return text.lower().endswith(".torrent") or ("\0" not in text and len(text) < 4096 and os.path.lexists(text))


def _checked(text: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise _invalid(f"{clean(text[:80])} is not valid UTF-8", "") from None
    if len(text) > MAX_SOURCE:
        raise _invalid(f"a source may have {MAX_SOURCE:,} characters, this one has {len(text):,}", "")
    return text


def read_torrent(path: str) -> bytes:
    """The file's bytes. Raises OdctlError for one that is missing, empty, no plain file, or larger than 10 MiB, and
    for one that does not start as a torrent does."""
    shown = clean(path[:200])
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        hint = "give a magnet link, an info-hash, a .torrent file, or an http, https or ftp URL"
        raise _invalid(f"cannot read {shown}: {reason}", hint) from error
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise _invalid(f"{shown} is not a file", "")
    with os.fdopen(descriptor, "rb") as stream:
        data = stream.read(MAX_TORRENT + 1)
    if not data:
        raise _invalid(f"{shown} is empty", "it is no torrent: download it again")
    if len(data) > MAX_TORRENT:
        raise _invalid(f"{shown} is larger than {MAX_TORRENT >> 20} MiB", "a .torrent file may have 10 MiB")
    if not data.startswith(b"d"):
        raise _invalid(f"{shown} is not a torrent", "a .torrent file starts with the letter d; is this a web page?")
    return data


def read_batch(stream: BinaryIO, order: Order, *, nul: bool) -> list[Order | OdctlError]:
    """The sources of stdin, one a line or ended by NUL: blank ones and `#` comments skipped, JSON objects unpacked.
    What is wrong with one stands in its place."""
    found: list[Order | OdctlError] = []
    for number, raw in enumerate(stream.read().split(b"\0" if nul else b"\n"), start=1):
        text = raw.decode(errors="surrogateescape").strip()
        if not text or text.startswith("#"):
            continue
        try:
            here = replace(order, line=number)
            found.append(_from_json(text, here) if text.startswith("{") else resolve(here, text))
        except OdctlError as error:
            error.details = {"input": text[:500], "line": number, **error.details}
            found.append(error)
    return found


def _from_json(text: str, order: Order) -> Order:
    try:
        record = json.loads(text)
        json.dumps(record, ensure_ascii=False).encode()  # half a surrogate pair, which no text of the protocol holds
    except UnicodeEncodeError as error:
        raise _invalid("a JSON object that is not valid UTF-8", "") from error
    except (ValueError, RecursionError) as error:
        raise _invalid(f"not a JSON object: {error}", "") from error
    if not isinstance(record, dict):
        raise _invalid("not a JSON object", "")
    for key in record:
        if key not in _KEYS:
            raise _invalid(f"unknown key '{clean(key)}'", "keys: " + ", ".join(_KEYS))
    source = record.get("url", record.get("source"))
    if not isinstance(source, str) or not source:
        raise _invalid('a JSON object needs "url", a text', "")
    changed = {name: record[name] for name in ("engine", "node", "name", "checksum") if _text(record, name)}
    if "files" in record:
        files = record["files"]
        changed["files"] = ",".join(str(item) for item in files) if isinstance(files, list) else str(files)
    if "tags" in record:
        tags = record["tags"]
        if not isinstance(tags, list) or not all(isinstance(tag, str) for tag in tags):
            raise _invalid('"tags" has to be a list of texts', "")
        changed["tags"] = tuple(tags)
    if "options" in record:
        options = record["options"]
        if not isinstance(options, dict):
            raise _invalid('"options" has to be an object', "")
        changed["options"] = {**order.options, **{str(key): _option(value) for key, value in options.items()}}
    if "priority" in record:
        changed["priority"] = parse_priority(str(record["priority"]))
    if "max_rate" in record:
        changed["max_rate_down"] = parse_size(str(record["max_rate"]), "max_rate")
    for name in ("paused", "force"):
        if name in record:
            if not isinstance(record[name], bool):
                raise _invalid(f'"{name}" has to be true or false', "")
            changed[name] = record[name]
    return resolve(replace(order, **changed), source)


def _text(record: Mapping[str, Any], name: str) -> bool:
    if name in record and not isinstance(record[name], str):
        raise _invalid(f'"{name}" has to be a text', "")
    return name in record


def _option(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return value if isinstance(value, str) else json.dumps(value)


def parse_options(pairs: Sequence[str], what: str = "--opt") -> dict[str, str]:
    """`-O key=value`. Raises UsageError naming `what`."""
    found: dict[str, str] = {}
    for pair in pairs:
        key, separator, value = pair.partition("=")
        if not separator or not key.strip():
            hint = "the options: odctl engines ls -o wide" if what == "--opt" else ""
            raise UsageError(f"{what}: '{clean(pair)}' is not key=value", hint=hint)
        found[key.strip()] = value
    return found


def parse_priority(text: str) -> int:
    """`low`, `normal`, `high` or a whole number. Raises UsageError."""
    word = text.strip().lower()
    if word in PRIORITIES:
        return PRIORITIES[word]
    try:
        number = int(word)
    except ValueError:
        raise UsageError(
            f"--priority: '{clean(text)}' is not a priority", hint="low, normal, high or a number"
        ) from None
    if not -MAX_PRIORITY <= number <= MAX_PRIORITY:
        raise UsageError(f"--priority: a number is between -{MAX_PRIORITY} and {MAX_PRIORITY}")
    return number


def _invalid(message: str, hint: str) -> UsageError:
    return UsageError(message, hint=hint, code="INVALID_SOURCE")
