"""Conditional requests by RFC 9110 section 13, in the order of section 13.2.2. No I/O."""

from __future__ import annotations

import calendar
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum, auto

_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_MONTH_NUMBERS = {name: number for number, name in enumerate(_MONTHS, 1)}
_TIME = r"(?P<hour>\d\d):(?P<minute>\d\d):(?P<second>\d\d)"
_MONTH = f"(?P<month>{'|'.join(_MONTHS)})"
# IMF-fixdate, and the two obsolete forms that have to be understood (section 5.6.7)
_DATES = (
    re.compile(rf"[A-Z][a-z]{{2}}, (?P<day>\d\d) {_MONTH} (?P<year>\d{{4}}) {_TIME} GMT", re.ASCII),
    re.compile(rf"[A-Z][a-z]{{5,8}}, (?P<day>\d\d)-{_MONTH}-(?P<year>\d\d) {_TIME} GMT", re.ASCII),
    re.compile(rf"[A-Z][a-z]{{2}} {_MONTH} (?P<day>[ \d]\d) {_TIME} (?P<year>\d{{4}})", re.ASCII),
)
_ENTITY_TAG = re.compile(r'(W/)?("[\x21\x23-\x7e\x80-\xff]*")')
_ENTITY_TAGS = re.compile(rf"[ \t,]*(?:{_ENTITY_TAG.pattern}[ \t]*(?:,[ \t,]*|$))+")


class Verdict(Enum):
    PROCEED = auto()
    NOT_MODIFIED = auto()
    FAILED = auto()
    """412."""


@dataclass(frozen=True, slots=True)
class Validators:
    """What identifies a version of the bytes. `etag` is strong and quoted; `modified` is in whole Unix
    seconds."""

    etag: str
    modified: int


def evaluate(fields: Mapping[str, str], validators: Validators) -> Verdict:
    """What the preconditions of a GET or HEAD ask for; `fields` by lower-case name."""
    if (if_match := fields.get("if-match")) is not None:
        if not _matches(if_match, validators.etag, weakly=False):
            return Verdict.FAILED
    elif (since := _date_of(fields, "if-unmodified-since")) is not None and validators.modified > since:
        return Verdict.FAILED
    if (if_none_match := fields.get("if-none-match")) is not None:
        return Verdict.NOT_MODIFIED if _matches(if_none_match, validators.etag, weakly=True) else Verdict.PROCEED
    since = _date_of(fields, "if-modified-since")
    return Verdict.NOT_MODIFIED if since is not None and validators.modified <= since else Verdict.PROCEED


def range_applies(if_range: str | None, validators: Validators, now: float) -> bool:
    """Whether a Range field still means the version that the client has a part of (section 13.1.5). A weak
    tag never does; a date only if it is exactly ours, and ours is old enough to be a strong validator
    (section 8.8.2.2)."""
    if if_range is None:
        return True
    if if_range.startswith(('"', "W/")):
        return if_range == validators.etag
    return parse_date(if_range, now) == validators.modified and validators.modified + 1 < now


def http_date(seconds: float) -> str:
    """IMF-fixdate, whatever the locale."""
    moment = time.gmtime(seconds)
    return (
        f"{_DAYS[moment.tm_wday]}, {moment.tm_mday:02} {_MONTHS[moment.tm_mon - 1]} {moment.tm_year:04} "
        f"{moment.tm_hour:02}:{moment.tm_min:02}:{moment.tm_sec:02} GMT"
    )


def parse_date(text: str, now: float | None = None) -> int | None:
    """Unix seconds of an HTTP date in any of its three forms; None for what is none."""
    for form in _DATES:
        if match := form.fullmatch(text):
            year = int(match["year"])
            if len(match["year"]) == 2:
                year = _full_year(year, time.gmtime(now).tm_year)
            month = _MONTH_NUMBERS[match["month"]]
            day, hour, minute, second = (int(match[part]) for part in ("day", "hour", "minute", "second"))
            if year < 1 or not 1 <= day <= calendar.monthrange(year, month)[1]:
                return None
            if hour > 23 or minute > 59 or second > 60:
                return None
            return calendar.timegm((year, month, day, hour, minute, second))
    return None


def _full_year(two_digits: int, this_year: int) -> int:
    """More than 50 years ahead means the most recent year with these digits that is past (section 5.6.7)."""
    year = this_year - this_year % 100 + two_digits
    return year - 100 if year > this_year + 50 else year


def _matches(field: str, etag: str, *, weakly: bool) -> bool:
    if field == "*":
        return True
    if _ENTITY_TAGS.fullmatch(field) is None:
        return False
    return any(tag == etag and (weakly or not weak) for weak, tag in _ENTITY_TAG.findall(field))


def _date_of(fields: Mapping[str, str], name: str) -> int | None:
    text = fields.get(name)
    return None if text is None else parse_date(text)
