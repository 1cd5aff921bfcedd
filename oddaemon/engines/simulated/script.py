"""What a scripted download does: its options, and the bytes it makes. Sans I/O."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from oddaemon.domain.errors import InvalidOption
from oddaemon.domain.failure import FailureCode, Retry
from oddaemon.ports.engine import OptionSpec

MAX_SIZE = 2**50
MAX_FILES = 10_000
DEFAULT_SIZE = 1024 * 1024
HEADER = 64
"""Bytes at the beginning of each file that tell it from every other; the rest is a hole."""

OPTIONS: tuple[OptionSpec, ...] = (
    OptionSpec(name="size", kind="size", description="bytes of all files together", changes_bytes=True),
    OptionSpec(name="files", kind="int", description="number of files", changes_bytes=True),
    OptionSpec(name="version", kind="int", description="another number: other bytes at the origin"),
    OptionSpec(name="rate", kind="size", description="bytes per second; 0: all at once"),
    OptionSpec(name="delay-add", kind="duration", description="how long starting it takes"),
    OptionSpec(name="delay-key", kind="duration", description="how long finding its cache key takes"),
    OptionSpec(name="delay-metadata", kind="duration", description="how long name, size and files stay unknown"),
    OptionSpec(name="fail-at", kind="int", description="percent of its bytes at which it fails, crashes or hangs"),
    OptionSpec(
        name="fail-code",
        kind="enum",
        choices=tuple(FailureCode),
        description="it fails with this code",
    ),
    OptionSpec(name="fail-times", kind="int", description="attempts that fail or crash; 0: every one"),
    OptionSpec(name="fail-retry", kind="enum", choices=tuple(Retry), description="what the failure means"),
    OptionSpec(name="retry-after", kind="duration", description="the wait that the origin asks for"),
    OptionSpec(name="crash", kind="bool", description="the engine's child dies, and is back after a second"),
    OptionSpec(name="hang", kind="bool", description="the engine's child does not answer any more"),
    OptionSpec(name="stall", kind="bool", description="no more bytes come"),
    OptionSpec(name="no-length", kind="bool", description="sizes stay unknown until the end"),
    OptionSpec(name="short", kind="size", description="bytes missing on disk when it says that it is complete"),
    OptionSpec(name="long", kind="size", description="bytes too many on disk when it says that it is complete"),
    OptionSpec(name="private", kind="bool", description="its metadata says that it is a private torrent"),
    OptionSpec(name="seeders", kind="int", description="seeders in the status"),
    OptionSpec(name="password", kind="text", description="a secret, otherwise without effect", secret=True),
)
_SPECS: Mapping[str, OptionSpec] = {option.name: option for option in OPTIONS}


@dataclass(frozen=True, slots=True, kw_only=True)
class Script:
    """The options of one download, read."""

    size: int = DEFAULT_SIZE
    files: int = 1
    version: int = 0
    rate: float = 0.0
    delay_add: float = 0.0
    delay_key: float = 0.0
    delay_metadata: float = 0.0
    fail_at: int | None = None
    fail_code: FailureCode | None = None
    fail_times: int = 0
    fail_retry: Retry = Retry.LASTING
    retry_after: float | None = None
    crash: bool = False
    hang: bool = False
    stall: bool = False
    no_length: bool = False
    short: int = 0
    long: int = 0
    private: bool = False
    seeders: int | None = None

    @property
    def fails(self) -> bool:
        return self.fail_code is not None or (self.fail_at is not None and not (self.crash or self.hang or self.stall))

    @property
    def sizes(self) -> list[int]:
        """Of the files, in index order: as equal as whole bytes allow."""
        each, more = divmod(self.size, self.files)
        return [each + (index < more) for index in range(self.files)]

    def barrier(self, total: int) -> int:
        """How many of `total` bytes can come before something happens."""
        return total if self.fail_at is None else total * self.fail_at // 100


def read_script(options: Mapping[str, str]) -> Script:
    """Raises InvalidOption."""
    normal = validate(options)

    def number(name: str) -> int | None:
        return int(normal[name]) if name in normal else None

    def seconds(name: str) -> float:
        return float(normal.get(name, 0))

    def yes(name: str) -> bool:
        return normal.get(name) == "true"

    size, files, fails = number("size"), number("files"), normal.get("fail-code")
    happens = fails or any(map(yes, ("crash", "hang", "stall")))
    return Script(
        size=DEFAULT_SIZE if size is None else size,
        files=files or 1,
        version=number("version") or 0,
        rate=float(normal.get("rate", 0)),
        delay_add=seconds("delay-add"),
        delay_key=seconds("delay-key"),
        delay_metadata=seconds("delay-metadata"),
        fail_at=number("fail-at") if "fail-at" in normal else (0 if happens else None),
        fail_code=FailureCode(fails) if fails else None,
        fail_times=number("fail-times") or 0,
        fail_retry=Retry(normal.get("fail-retry", Retry.LASTING)),
        retry_after=seconds("retry-after") if "retry-after" in normal else None,
        crash=yes("crash"),
        hang=yes("hang"),
        stall=yes("stall"),
        no_length=yes("no-length"),
        short=number("short") or 0,
        long=number("long") or 0,
        private=yes("private"),
        seeders=number("seeders"),
    )


def validate(options: Mapping[str, str]) -> Mapping[str, str]:
    """Normal form: sizes in bytes, durations in seconds, numbers without signs. Raises InvalidOption."""
    normal = {}
    for name, value in options.items():
        spec = _SPECS.get(name)
        if spec is None:
            raise InvalidOption(
                f"the simulated engine has no option {name!r}", field=name, hint=f"it has: {', '.join(_SPECS)}"
            )
        normal[name] = _READERS[spec.kind](spec, value)
    return normal


def digest(options: Mapping[str, str]) -> str:
    """Of the options that change the bytes."""
    parts = [f"{name}={options[name]}" for name in sorted(options) if _SPECS[name].changes_bytes]
    return hashlib.sha256("&".join(parts).encode()).hexdigest()[:16] if parts else ""


def header(uri: str, version: int, index: int) -> bytes:
    """The first bytes of a file."""
    return hashlib.sha256(f"{uri}\n{version}\n{index}".encode()).hexdigest().encode()


def file_bytes(uri: str, script: Script, index: int) -> bytes:
    """All bytes of file `index` (from 1), as they are on disk at the end: for tests."""
    size = script.sizes[index - 1]
    return header(uri, script.version, index)[:size].ljust(size, b"\0")


def _refuse(spec: OptionSpec, allowed: str) -> InvalidOption:
    return InvalidOption(f"{spec.name} has to be {allowed}", field=spec.name, hint=f"{spec.name}: {spec.description}")


def _integer(spec: OptionSpec, value: str) -> str:
    limit = {"files": MAX_FILES, "fail-at": 100}.get(spec.name, 10**9)
    if not re.fullmatch(r"[0-9]{1,10}", value) or int(value) > limit or (spec.name == "files" and int(value) < 1):
        raise _refuse(spec, f"a whole number up to {limit}")
    return str(int(value))


def _size(spec: OptionSpec, value: str) -> str:
    found = re.fullmatch(r"([0-9]{1,16})([KMGT]?)(i?B)?", value)
    size = int(found[1]) << " KMGT".index(found[2] or " ") * 10 if found else MAX_SIZE + 1
    if size > MAX_SIZE:
        raise _refuse(spec, "a size such as 500K or 10M")
    return str(size)


def _duration(spec: OptionSpec, value: str) -> str:
    found = re.fullmatch(r"([0-9]{1,7}(?:\.[0-9]{1,3})?)(ms|s|m|h|d)?", value)
    if not found:
        raise _refuse(spec, "a duration such as 1.5, 30s or 5m")
    unit = {"ms": 0.001, "m": 60.0, "h": 3600.0, "d": 86400.0}.get(found[2] or "", 1.0)
    return f"{round(float(found[1]) * unit, 3):.3f}".rstrip("0").rstrip(".")


def _bool(spec: OptionSpec, value: str) -> str:
    if value.lower() in {"true", "yes", "on", "1"}:
        return "true"
    if value.lower() in {"false", "no", "off", "0"}:
        return "false"
    raise _refuse(spec, "true or false")


def _enum(spec: OptionSpec, value: str) -> str:
    if value not in spec.choices:
        raise _refuse(spec, f"one of {', '.join(spec.choices)}")
    return str(value)


def _text(spec: OptionSpec, value: str) -> str:
    if len(value) > 1000 or not value.isprintable():
        raise _refuse(spec, "one line of text without control characters")
    return value


_READERS: Mapping[str, Callable[[OptionSpec, str], str]] = {
    "int": _integer,
    "size": _size,
    "duration": _duration,
    "bool": _bool,
    "enum": _enum,
    "text": _text,
}
