"""What a database hands back → values of the domain, one row at a time.

Rows are read raw, without SQLAlchemy's own result processing: there, one value that cannot be read would fail a whole
list. Here it costs one row, which is reported as damaged (see `quarantine`). SQLite hands back text and numbers,
PostgreSQL UUIDs, times and JSON values; each function takes both and raises ValueError or TypeError for anything else.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping
from datetime import UTC, datetime
from functools import lru_cache
from itertools import islice
from typing import Any, TypeAlias, TypeVar
from uuid import UUID

import sqlalchemy as sa

from oddaemon.domain.failure import Failure, FailureCode, Reason, ReasonCode, Retry
from oddaemon.domain.types import Seconds

T = TypeVar("T")
RawRow: TypeAlias = "sa.Row[*tuple[Any, ...]]"
"""A row whose values are as the driver handed them back."""

CHUNK = 500
"""Values in one IN list: SQLite takes 999 before 3.32, PostgreSQL 65,535."""


def raw_columns(*columns: sa.Column[Any]) -> tuple[sa.ColumnElement[Any], ...]:
    """The columns as the driver hands them back."""
    return tuple(sa.type_coerce(column, sa.types.NullType()).label(column.name) for column in columns)


def chunks(values: Collection[T]) -> Iterator[list[T]]:
    """`values` in lists that fit an IN."""
    remaining = iter(values)
    while chunk := list(islice(remaining, CHUNK)):
        yield chunk


@lru_cache(maxsize=4096)
def _parsed_uuid(text: str) -> UUID:
    return UUID(text)


def uuid_of(raw: object) -> UUID:
    if type(raw) is str:
        return _parsed_uuid(raw)
    if isinstance(raw, UUID):
        return raw
    raise TypeError(f"not an id: {type(raw).__name__}")


def uuid_or_none(raw: object) -> UUID | None:
    return None if raw is None else uuid_of(raw)


def time_of(raw: object) -> datetime:
    if type(raw) is str:
        value = datetime.fromisoformat(raw)
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)
    if isinstance(raw, datetime):
        return raw.astimezone(UTC)
    raise TypeError(f"not a time: {type(raw).__name__}")


def time_or_none(raw: object) -> datetime | None:
    return None if raw is None else time_of(raw)


def text_of(raw: object) -> str:
    if type(raw) is str:
        return raw
    raise TypeError(f"not text: {type(raw).__name__}")


def text_or_none(raw: object) -> str | None:
    return None if raw is None else text_of(raw)


def int_of(raw: object) -> int:
    if type(raw) is int:
        return raw
    raise TypeError(f"not a whole number: {type(raw).__name__}")


def int_or_none(raw: object) -> int | None:
    return None if raw is None else int_of(raw)


def bool_of(raw: object) -> bool:
    if raw is True or raw is False:
        return raw
    if type(raw) is int and raw in (0, 1):
        return raw == 1
    raise ValueError(f"not a truth value: {raw!r:.40}")


def bytes_of(raw: object) -> bytes:
    if isinstance(raw, bytes):
        return raw
    raise TypeError(f"not bytes: {type(raw).__name__}")


def json_of(raw: object) -> Any:
    """A JSON value: text in SQLite, already parsed in PostgreSQL."""
    return json.loads(raw) if type(raw) is str else raw


def object_of(raw: object) -> dict[str, Any]:
    value = json_of(raw)
    if isinstance(value, dict):
        return value
    raise TypeError(f"not a JSON object: {type(value).__name__}")


def texts_of(raw: object) -> dict[str, str]:
    """A JSON object whose values are all text."""
    if raw == "{}":
        return {}
    found = object_of(raw)
    for value in found.values():
        text_of(value)
    return found


def strings_of(raw: object) -> tuple[str, ...]:
    """A JSON array of text."""
    if raw == "[]":
        return ()
    value = json_of(raw)
    if not isinstance(value, list):
        raise TypeError(f"not a JSON array: {type(value).__name__}")
    return tuple(text_of(item) for item in value)


def reason_row(reason: Reason | None) -> dict[str, Any] | None:
    if reason is None:
        return None
    row: dict[str, Any] = {"code": str(reason.code), "message": reason.message}
    if reason.retry_at is not None:
        row["retry_at"] = reason.retry_at.astimezone(UTC).isoformat()
    return row


def reason_of(raw: object) -> Reason | None:
    if raw is None:
        return None
    row = object_of(raw)
    return Reason(
        code=ReasonCode(row["code"]), message=text_of(row["message"]), retry_at=time_or_none(row.get("retry_at"))
    )


def failure_row(failure: Failure | None) -> dict[str, Any] | None:
    if failure is None:
        return None
    return {
        "code": str(failure.code),
        "message": failure.message,
        "retry": str(failure.retry),
        "retry_after": failure.retry_after,
        "hint": failure.hint,
    }


def failure_of(raw: object) -> Failure | None:
    if raw is None:
        return None
    row = object_of(raw)
    after = row.get("retry_after")
    return Failure(
        code=FailureCode(row["code"]),
        message=text_of(row["message"]),
        retry=Retry(row["retry"]),
        retry_after=None if after is None else Seconds(float(after)),
        hint=text_of(row.get("hint", "")),
    )


def storable(text: str | None) -> str | None:
    """`text` as both databases can hold it: neither takes a lone surrogate, PostgreSQL takes no NUL."""
    if text is None or (text.isascii() and "\0" not in text):
        return text
    return text.encode("utf-8", "replace").decode("utf-8").replace("\0", "\ufffd")


def storable_json(value: Any) -> Any:
    """As `storable`, for every text in a JSON value."""
    if isinstance(value, str):
        return storable(value)
    if isinstance(value, Mapping):
        return {storable(str(key)): storable_json(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [storable_json(item) for item in value]
    return value
