"""Bytes → request. betterproto2 parses without checking: a field of the wrong wire type becomes a value of the wrong
Python type, what was cut off in the middle of a field is taken for the whole, and what it raises for broken bytes is of
many kinds. Here all become one InvalidArgument."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, TypeVar

import betterproto2

from oddaemon.domain.errors import InvalidArgument

M = TypeVar("M", bound=betterproto2.Message)

_BITS = {"int32": 32, "sint32": 32, "sfixed32": 32, "int64": 64, "sint64": 64, "sfixed64": 64, "enum": 32}
_UNSIGNED = {
    "uint32": 2**32 - 1,
    "fixed32": 2**32 - 1,
    # what a database can hold; no field of a request means more
    "uint64": 2**63 - 1,
    "fixed64": 2**63 - 1,
}
_OTHERS: Mapping[str, type] = {"string": str, "bytes": bytes, "bool": bool}

_VARINT, _FIXED64, _DELIMITED, _FIXED32 = 0, 1, 2, 5
"""Wire types (protobuf.dev/programming-guides/encoding). Groups, 3 and 4, are not of proto3."""
_WIRE_TYPES: Mapping[str, int] = {
    **dict.fromkeys(("fixed64", "sfixed64", "double"), _FIXED64),
    **dict.fromkeys(("fixed32", "sfixed32", "float"), _FIXED32),
    **dict.fromkeys(("string", "bytes", "message", "map"), _DELIMITED),
    **dict.fromkeys(("bool", "enum", "int32", "int64", "uint32", "uint64", "sint32", "sint64"), _VARINT),
}
_MAX_VARINT_BYTES = 10


def decoded(data: bytes, message_type: type[M]) -> M:
    """Raises InvalidArgument for bytes that are no such message, and for numbers that no field can mean: NaN, infinity,
    2^63 and above. Unknown fields are left out."""
    try:
        _walk(memoryview(data), message_type)
        message = message_type.parse(data)
    except InvalidArgument:
        raise
    except Exception as error:
        raise InvalidArgument(f"the request is not a {message_type.__name__}") from error
    check(message)
    return message


def _walk(data: memoryview, message_type: type[betterproto2.Message]) -> None:
    """The bytes are whole fields, one after the other, each of the wire type that its declaration asks for. Raises
    InvalidArgument, or ValueError. As deep as the declarations nest, which is not deep."""
    declared = message_type._betterproto  # type: ignore[arg-type]
    at = 0
    while at < len(data):
        key, at = _varint(data, at)
        number, form = key >> 3, key & 7
        start, at = _span(data, at, form)
        name = declared.field_name_by_number.get(number)
        if name is None:
            if not 0 < number < 1 << 29:
                raise ValueError(f"there is no field {number}")
            continue
        meta = declared.meta_by_field_name[name]
        asked = _WIRE_TYPES[meta.proto_type]
        if form != asked and not (meta.repeated and form == _DELIMITED):
            raise _wrong(message_type, name)
        if meta.proto_type in ("message", "map"):
            _walk(data[start:at], meta.unwrap() if meta.unwrap else declared.cls_by_field[name])


def _span(data: memoryview, at: int, form: int) -> tuple[int, int]:
    """Where the value begins and ends. Raises ValueError when it is not all there."""
    if form == _VARINT:
        start, (_, end) = at, _varint(data, at)
    elif form == _DELIMITED:
        size, start = _varint(data, at)
        end = start + size
    elif form in (_FIXED32, _FIXED64):
        start, end = at, at + (4 if form == _FIXED32 else 8)
    else:
        raise ValueError(f"there is no wire type {form}")
    if end > len(data):
        raise ValueError("it ends in the middle of a field")
    return start, end


def _varint(data: memoryview, at: int) -> tuple[int, int]:
    """The number, and where it ends. Raises ValueError for one without an end."""
    value = 0
    for index, byte in enumerate(data[at : at + _MAX_VARINT_BYTES]):
        value |= (byte & 0x7F) << 7 * index
        if byte < 0x80:
            return value, at + index + 1
    raise ValueError("a number without an end")


def check(message: betterproto2.Message) -> None:
    """Every field has the type and range that its declaration says. Raises InvalidArgument."""
    declared = type(message)._betterproto  # type: ignore[arg-type]
    for name, meta in declared.meta_by_field_name.items():
        value = getattr(message, name)
        if meta.map_meta is not None:
            if not isinstance(value, dict):
                raise _wrong(type(message), name)
            for key, item in value.items():
                _one(message, name, meta.map_meta[0].proto_type, key)
                _one(message, name, meta.map_meta[1].proto_type, item)
        elif meta.repeated:
            if not isinstance(value, list):
                raise _wrong(type(message), name)
            for item in value:
                _one(message, name, meta.proto_type, item)
        elif value is not None:
            _one(message, name, meta.proto_type, value)
        elif not (meta.optional or meta.proto_type == "message"):
            raise _wrong(type(message), name)


def _one(message: betterproto2.Message, name: str, kind: str, value: object) -> None:
    if kind == "message":
        if isinstance(value, betterproto2.Message):
            check(value)
        elif not isinstance(value, datetime):
            raise _wrong(type(message), name)
    elif not _FITS[kind](value):
        raise _wrong(type(message), name)


def _wrong(message_type: type[betterproto2.Message], name: str) -> InvalidArgument:
    return InvalidArgument(f"the value of {name} in {message_type.__name__} is not valid", field=name)


def _whole(least: int, most: int) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, int) and not isinstance(value, bool) and least <= value <= most


def _of(kind: type) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, kind)


def _finite(value: object) -> bool:
    return isinstance(value, float) and math.isfinite(value)


_FITS: Mapping[str, Callable[[Any], bool]] = {
    **{kind: _whole(-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) for kind, bits in _BITS.items()},
    **{kind: _whole(0, most) for kind, most in _UNSIGNED.items()},
    **{kind: _of(found) for kind, found in _OTHERS.items()},
    "double": _finite,
    "float": _finite,
}
