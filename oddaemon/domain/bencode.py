"""Bencoding (BEP 3): bytes ↔ values, strict and with limits, without recursion. Sans I/O.

Strict: no leading zeros, no `-0`, no key twice in one dictionary, nothing after the value. Keys out of order
are taken, because torrents with such keys exist; a hash must therefore be made of the bytes as they stand
(`Decoded.span_of`), never of a re-encoded value.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias

from oddaemon.domain.errors import InvalidSource

Value: TypeAlias = "int | bytes | list[Value] | dict[bytes, Value]"

_Stack: TypeAlias = "list[tuple[list[Value] | dict[bytes, Value], bytes | None, int]]"
"""The open containers: each with the key that waits for its value, and where the container began."""

_INTEGER_DIGITS = 20
"""A signed 64-bit number has at most 19: a longer one only makes us convert megabytes of digits."""

_DIGITS = frozenset(b"0123456789")


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What is refused before it costs memory or time."""

    size: int = 10 * 1024 * 1024
    """Bytes of the whole document."""
    depth: int = 100
    values: int = 2_000_000
    """Values and keys together."""


DEFAULT_LIMITS = Limits()


@dataclass(frozen=True, slots=True, kw_only=True)
class Decoded:
    """A value, and where the values of its outermost dictionary stand in the bytes."""

    value: Value
    spans: Mapping[bytes, tuple[int, int]]

    def span_of(self, key: bytes) -> tuple[int, int] | None:
        """Start and end of the value of `key` in the document."""
        return self.spans.get(key)


def bdecode(data: bytes, *, limits: Limits = DEFAULT_LIMITS) -> Value:
    """The value that `data` holds. Raises InvalidSource with the byte's position."""
    return bdecode_document(data, limits=limits).value


def bdecode_document(data: bytes, *, limits: Limits = DEFAULT_LIMITS) -> Decoded:
    """As `bdecode`, with the positions of the outermost dictionary's values."""
    if len(data) > limits.size:
        raise InvalidSource(f"{len(data)} bytes are more than the {limits.size} that are read")
    if not data:
        raise InvalidSource("it is empty", position=0)
    return _Decoder(data, limits).run()


class _Decoder:
    """One pass over the bytes with a stack of its own, so that depth costs no call frames."""

    def __init__(self, data: bytes, limits: Limits) -> None:
        self._data = data
        self._limits = limits
        self._at = 0
        self._closed_at = 0
        """Where the container that was closed last began."""
        self._spans: dict[bytes, tuple[int, int]] = {}

    def run(self) -> Decoded:
        data, end, limits = self._data, len(self._data), self._limits
        stack: _Stack = []
        values = 0
        while True:
            if self._at >= end:
                raise self._truncated()
            values += 1
            if values > limits.values:
                raise InvalidSource(f"it holds more than {limits.values} values", position=self._at)
            start, byte = self._at, data[self._at]
            value: Value
            if byte in b"ld":
                if len(stack) >= limits.depth:
                    raise InvalidSource(f"it is nested deeper than {limits.depth} levels", position=start)
                self._at += 1
                stack.append(([] if byte == 0x6C else {}, None, start))
                if not self._ends(stack):
                    continue
                value = self._close(stack)
                start = self._closed_at
            elif byte == 0x69:
                value = self._integer()
            elif byte in _DIGITS:
                value = self._string()
            else:
                raise InvalidSource("it is not bencoded", position=start)
            # hand the value to the container around it; that may end one container after another
            while stack:
                self._put(stack, value, start)
                if not self._ends(stack):
                    break
                value = self._close(stack)
                start = self._closed_at
            else:
                if self._at != end:
                    raise InvalidSource("something stands behind its end", position=self._at)
                return Decoded(value=value, spans=self._spans)

    def _ends(self, stack: _Stack) -> bool:
        """Whether the innermost container ends here. Of a dictionary that goes on, the next key is read."""
        if self._at < len(self._data) and self._data[self._at] == 0x65:
            self._at += 1
            return True
        container, _, start = stack[-1]
        if isinstance(container, dict):
            key_at = self._at
            if key_at >= len(self._data):
                raise self._truncated()
            if self._data[key_at] not in _DIGITS:
                raise InvalidSource("a dictionary's key is not a string", position=key_at)
            key = self._string()
            if key in container:
                raise InvalidSource("a dictionary holds the same key twice", position=key_at)
            stack[-1] = (container, key, start)
        return False

    def _put(self, stack: _Stack, value: Value, start: int) -> None:
        container, key, _ = stack[-1]
        if isinstance(container, dict):
            assert key is not None
            container[key] = value
            if len(stack) == 1:
                self._spans[key] = (start, self._at)
        else:
            container.append(value)

    def _close(self, stack: _Stack) -> Value:
        container, _, self._closed_at = stack.pop()
        return container

    def _truncated(self) -> InvalidSource:
        end = len(self._data)
        return InvalidSource(f"it ends in the middle, after {end} bytes", position=end)

    def _integer(self) -> int:
        start = self._at
        end = self._data.find(b"e", start, start + _INTEGER_DIGITS + 3)
        digits = self._data[start + 1 : end] if end >= 0 else b""
        unsigned = digits[1:] if digits.startswith(b"-") else digits
        if end < 0 and len(self._data) - start < _INTEGER_DIGITS:
            raise self._truncated()
        if not unsigned or not _DIGITS.issuperset(unsigned) or digits == b"-0" or _padded(unsigned):
            raise InvalidSource("a number is malformed", position=start)
        self._at = end + 1
        return int(digits)

    def _string(self) -> bytes:
        start = self._at
        colon = self._data.find(b":", start, start + 10)
        digits = self._data[start:colon] if colon >= 0 else b""
        if colon < 0 and len(self._data) - start < 10 and _DIGITS.issuperset(self._data[start:]):
            raise self._truncated()
        if not digits or not _DIGITS.issuperset(digits) or _padded(digits):
            raise InvalidSource("a string's length is malformed", position=start)
        self._at = colon + 1 + int(digits)
        if self._at > len(self._data):
            raise self._truncated()
        return self._data[colon + 1 : self._at]


def _padded(digits: bytes) -> bool:
    return len(digits) > 1 and digits.startswith(b"0")


def bencode(value: Value) -> bytes:
    """The canonical form: dictionary keys in the order of their bytes."""
    out: list[bytes] = []
    work: list[Value | _Raw] = [value]
    while work:
        item = work.pop()
        if isinstance(item, _Raw):
            out.append(item.data)
        elif isinstance(item, bytes):
            out.append(b"%d:%b" % (len(item), item))
        elif isinstance(item, int):
            out.append(b"i%de" % item)
        elif isinstance(item, list):
            out.append(b"l")
            work.append(_END)
            work.extend(reversed(item))
        else:
            out.append(b"d")
            work.append(_END)
            for key in sorted(item, reverse=True):
                work.append(item[key])
                work.append(_Raw(b"%d:%b" % (len(key), key)))
    return b"".join(out)


@dataclass(frozen=True, slots=True)
class _Raw:
    """Bytes that are already encoded."""

    data: bytes


_END = _Raw(b"e")
