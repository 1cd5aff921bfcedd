"""Results to stdout, everything else to stderr. Standard library only."""

from __future__ import annotations

import json
import re
import shutil
import sys
import unicodedata
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TextIO

from odctl.cli.filters import excerpt
from odctl.cli.pager import paged
from odctl.client.errors import OdctlError, UsageError
from odctl.text import clean

FORMATS = ("table", "wide", "plain", "csv", "json", "jsonl")
GAP = "  "
CLEAR = "\x1b[H\x1b[2J"
"""Empties a terminal: for a list that is drawn again."""
LEAST = 8
"""Columns of a terminal that a flexible column keeps."""
MOST_ERRORS = 5
"""Of many things at once that people are told of."""
AS_IT_IS = -1
"""The width of a column that is neither padded nor cut."""
_JSON_UNSAFE = re.compile("[\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """One column of a table. `show` gets a record as the JSON interface has it, times still being datetimes."""

    title: str
    show: Callable[[Any], object]
    right: bool = False
    wide: bool = False
    """Only with -o wide."""
    flexible: bool = False
    """Shortened first when the terminal is too narrow."""
    asked: bool = False
    """Somebody named it: it is shortened, too, rather than left out."""
    field: str = ""
    """The field of the JSON interface that it shows."""


@dataclass(slots=True, kw_only=True)
class Output:
    """How one run answers."""

    format: str = "table"
    fields: tuple[str, ...] = ()
    quiet: bool = False
    color: bool = False
    out: TextIO
    err: TextIO
    pager: str = ""
    """A program for answers that are longer than the terminal; empty: none."""
    began: bool = False
    """The heading of a CSV stream is out."""

    @property
    def is_json(self) -> bool:
        return self.format in ("json", "jsonl")

    @property
    def structured(self) -> bool:
        """The answer is to be fields, not words for people."""
        return self.is_json or self.format == "csv" or bool(self.fields)

    def paint(self, text: str, style: str) -> str:
        """`text` in a style of STYLES or COLORS where colours are on; they never are in data for programs."""
        code = COLORS.get(STYLES.get(style, style), "")
        return f"\x1b[{code}m{text}\x1b[0m" if code and self.color and self.format in ("table", "wide") else text

    def line(self, text: str = "") -> None:
        """One line of data, as it is."""
        self.out.write(text + "\n")

    def text(self, text: str) -> None:
        """One line for people on stdout; nothing with --json."""
        if not self.is_json:
            self.line(text)

    def note(self, text: str, *, always: bool = False) -> None:
        """One line on stderr. With --json, then as JSON, and with -q, only if it is `always` to be said."""
        if always or not (self.is_json or self.quiet):
            self.err.write((dumps({"note": text}) if self.is_json else text) + "\n")
            self.err.flush()

    def error(self, error: OdctlError) -> None:
        """At most three lines, or one line of JSON."""
        if self.is_json:
            self.err.write(dumps({"error": error.as_json()}) + "\n")
        else:
            self.err.writelines(f"{line}\n" for line in _told(error))
        self.err.flush()

    def errors(self, errors: Sequence[OdctlError]) -> None:
        """Those of many things: people are told of the first ones and how many more there are, programs of all."""
        told = errors if self.is_json or len(errors) <= MOST_ERRORS + 1 else errors[:MOST_ERRORS]
        for error in told:
            self.error(error)
        if more := len(errors) - len(told):
            self.note(f"odctl: and {more:,} more failed; --json tells of each", always=True)

    def value(self, record: Mapping[str, Any]) -> None:
        """One object as its fields: JSON, unless another format was asked for. It may hold models and datetimes."""
        if self.is_json or not self.structured:
            self.line(dumps(self.narrowed(jsonable(record))))
        else:
            self.records([record], (), known=tuple(record))

    def stream(self, item: Any, known: Sequence[str], *, open_ended: bool = False) -> None:
        """The next record of a stream, at once. `known`: its fields; with `open_ended` it may have more, and one that
        --fields asks for and this record has not is unknown."""
        names = self.fields or known
        if self.fields and not open_ended:
            check_fields(self.fields, known)
        record = jsonable(item)
        values = {name: record.get(name) for name in names}
        if self.is_json:
            self.line(dumps(values if self.fields else record))
        elif self.format == "csv":
            self._csv_rows([] if self.began else [list(names)])
            self._csv_rows([[_cell(value) for value in values.values()]])
            self.began = True
        else:
            self.line(GAP.join(_cell(value) for value in values.values()).rstrip())
        self.out.flush()

    def narrowed(self, record: Any) -> Any:
        """Only the fields that --fields asks for. Raises UsageError for one that does not exist."""
        if not self.fields or not isinstance(record, dict):
            return record
        check_fields(self.fields, tuple(record))
        return {name: record[name] for name in self.fields}

    def records(
        self, items: Sequence[Any], columns: Sequence[Column], *, known: Sequence[str] = (), ids: str = "id",
        none: str = "",
    ) -> None:  # fmt: skip
        """A list in the chosen format. `known`: the names of the fields; `ids`: the field that -q prints; `none`: what
        people are told of an empty list, on stderr."""
        known = known or (names_of(items[0]) if items else ())
        if self.fields and known:
            check_fields(self.fields, known)
        if self.format == "json":
            listed = [self.narrowed(jsonable(item)) for item in items]
            self.line(dumps(listed))
        elif self.format == "jsonl":
            for item in items:
                self.line(dumps(self.narrowed(jsonable(item))))
        elif self.quiet:
            for item in items:
                if text := clean(get(item, ids)):
                    self.line(text)
        elif self.format == "csv":
            self._csv(items, self.fields or known)
        else:
            if none and not items:
                self.note(none)
            with paged(self):
                self._table(items, [raw_column(name) for name in self.fields] or columns)

    def _csv(self, items: Sequence[Any], names: Sequence[str]) -> None:
        records = [jsonable(item) for item in items]
        self._csv_rows([list(names), *([_cell(record[name]) for name in names] for record in records)])

    def _csv_rows(self, rows: Sequence[Sequence[str]]) -> None:
        import csv
        import io

        buffer = io.StringIO()
        csv.writer(buffer, lineterminator="\n").writerows(rows)
        self.out.write(buffer.getvalue())

    def _table(self, items: Sequence[Any], columns: Sequence[Column]) -> None:
        shown = [column for column in columns if not column.wide or self.format in ("wide", "plain")]
        rows = [[clean(column.show(item)) for column in shown] for item in items]
        if not rows and self.format != "plain":
            return
        if self.out.isatty() and self.format != "plain":
            widths: Sequence[int | None] = fitted(shown, rows, shutil.get_terminal_size().columns)
        else:
            widths = ragged(shown, natural(shown, rows))
        self._row([column.title for column in shown], shown, widths, lambda text: "bold")
        for row in rows:
            self._row(row, shown, widths, lambda text: text)

    def _row(
        self, cells: Sequence[str], columns: Sequence[Column], widths: Sequence[int | None],
        style: Callable[[str], str],
    ) -> None:  # fmt: skip
        shown = zip(cells, columns, widths, strict=True)
        padded = [
            (cell, cell if room == AS_IT_IS else _pad(cut(cell, room), room, column.right))
            for cell, column, room in shown
            if room is not None
        ]
        padded[-1] = (padded[-1][0], padded[-1][1].rstrip())
        self.line(GAP.join(self.paint(text, style(cell)) for cell, text in padded).rstrip())


COLORS = {"bold": "1", "dim": "2", "red": "31", "green": "32", "yellow": "33", "cyan": "36"}
"""What SGR of ECMA-48 calls them."""
STYLES = {
    "active": "cyan", "completed": "green", "failed": "red", "cancelled": "dim", "paused": "yellow", "ok": "green",
    "warn": "yellow", "warning": "yellow", "fail": "red", "error": "red", "info": "cyan",
    "debug": "dim", "critical": "red",
}  # fmt: skip
"""Words that have a colour wherever they stand alone."""


def dumps(value: Any) -> str:
    """JSON whose strings hold nothing that could steer a terminal: such characters are escaped, which every reader
    undoes. ASCII only where stdout is not UTF-8."""
    ascii_only = (sys.stdout.encoding or "").lower().replace("-", "") != "utf8"
    text = json.dumps(value, ensure_ascii=ascii_only, allow_nan=False)
    return text if ascii_only else _JSON_UNSAFE.sub(lambda match: f"\\u{ord(match[0]):04x}", text)


def jsonable(value: Any) -> Any:
    """`value` in the types that json knows. The models are imported only when there is something to print."""
    from odctl.client import models

    return models.jsonable(value)


def names_of(item: Any) -> tuple[str, ...]:
    return tuple(item) if isinstance(item, Mapping) else tuple(item.__struct_fields__)


def get(item: Any, name: str) -> Any:
    return item.get(name) if isinstance(item, Mapping) else getattr(item, name, None)


def _told(error: OdctlError) -> Iterator[str]:
    """Three lines at most; of a text in which something is wrong, the text and a mark below that."""
    at, text = error.details.get("position"), error.details.get("text")
    if isinstance(text, str) and isinstance(at, int) and 0 <= at <= len(text):
        before, after = (clean(part) for part in excerpt(text, at))
        yield f"odctl: {clean(error.message)}"
        yield f"  {before}{after}"
        yield f"  {' ' * width(before)}^ {clean(error.hint)}".rstrip()
        return
    where = f" (at character {at + 1})" if isinstance(at, int) and at > 0 else ""
    yield f"odctl: {clean(error.message)}{where}"
    yield from (f"  {clean(line)}" for line in (error.why, error.hint) if line)


def check_fields(asked: Sequence[str], known: Sequence[str], option: str = "--fields") -> None:
    """Raises UsageError that points at the first that there is not."""
    for place, name in enumerate(asked):
        if name not in known:
            from difflib import get_close_matches

            near = get_close_matches(name[:40], known, n=1)
            raise UsageError(
                f"{option}: there is no field '{clean(name)}' here",
                hint=(f"did you mean {near[0]}? " if near else "") + "fields: " + ", ".join(known),
                details={"text": ",".join(asked), "position": len(",".join([*asked[:place], ""]))},
            )


def width(text: str) -> int:
    """Columns of a terminal."""
    return sum(0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text)


def natural(columns: Sequence[Column], rows: Sequence[Sequence[str]]) -> list[int]:
    """How wide each column would like to be."""
    return [max(map(width, [column.title, *(row[at] for row in rows)])) for at, column in enumerate(columns)]


def ragged(columns: Sequence[Column], widths: Sequence[int]) -> list[int]:
    """For what is no terminal: flexible columns at the end are not padded, or one long name made every row as long."""
    last_firm = max((at for at, column in enumerate(columns) if not column.flexible), default=-1)
    return [AS_IT_IS if at > last_firm else width for at, width in enumerate(widths)]


def fitted(columns: Sequence[Column], rows: Sequence[Sequence[str]], room: int) -> list[int | None]:
    """The widths for a terminal with `room` columns, None for a column that is left out: the widest flexible column
    gives way first. Where that does not help, columns that are not flexible go, those of -o wide before the others, the
    last first; never the first of all."""
    widths = dict(enumerate(natural(columns, rows)))
    soft = {at for at, column in enumerate(columns) if column.flexible or column.asked}
    least = {at: min(width, LEAST) if at in soft else width for at, width in widths.items()}
    firm = [at for at in range(1, len(columns)) if at not in soft]
    goes = sorted(firm, key=lambda at: (not columns[at].wide, -at))
    while goes and _total(least.values()) > room:
        del widths[goes[0]], least[goes.pop(0)]
    if _total(least.values()) > room:
        least = dict.fromkeys(widths, 1)
    excess = _total(widths.values()) - room
    while excess > 0:
        gives = [at for at in widths if widths[at] > least[at]]
        if not gives:
            break
        widths[max(gives, key=lambda at: widths[at])] -= 1
        excess -= 1
    return [widths.get(at) for at in range(len(columns))]


def _total(widths: Collection[int]) -> int:
    return sum(widths) + len(GAP) * (len(widths) - 1)


def cut(text: str, columns: int) -> str:
    """At most so wide; what was taken away is shown by a `…`."""
    if width(text) <= columns:
        return text
    while text and width(text) > columns - 1:
        text = text[:-1]
    return text + "…"


def _pad(text: str, to: int, right: bool) -> str:
    gap = " " * max(0, to - width(text))
    return gap + text if right else text + gap


def raw_column(name: str) -> Column:
    return Column(title=name.upper(), show=lambda item: _cell(jsonable(get(item, name))), asked=True)


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (dict, list)):
        return dumps(value)
    return clean(value)
