"""Accounts in words, and what forms about them ask for."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from odctl import text as words
from odctl.client.errors import UsageError
from odctl.client.models import Usage, User
from odctl.dashboard.dialogs.form import Field

Fact = tuple[str, object, str]
PASSWORD = (
    Field(name="password", label="password", secret=True),
    Field(name="again", label="once more", secret=True),
)
NEW = (
    Field(name="name", label="name", placeholder="letters, digits and _ . -"),
    Field(name="role", label="role", value="user", placeholder="user or admin"),
    Field(name="unix", label="Unix user, who then needs no password", placeholder="none"),
    Field(name="email", label="address, for people to know whose it is", placeholder="none"),
    *PASSWORD,
)
INVITATION = (
    Field(name="role", label="role", value="user", placeholder="user or admin"),
    Field(name="ttl", label="good for", placeholder="24h"),
)
NONE = frozenset({"none", "unlimited"})
LIMITS: tuple[tuple[str, str, bool], ...] = (
    ("storage", "stored", True), ("running", "downloads at a time", False), ("jobs", "downloads altogether", False),
    ("served_per_day", "served in a day", True), ("requests_per_minute", "requests in a minute", False),
)  # fmt: skip
"""Name, words, and whether it is a size."""


def password(values: Mapping[str, str], *, empty: bool) -> str:
    """What was typed twice. Raises UsageError."""
    if values["password"] != values["again"]:
        raise UsageError("the two passwords differ: nothing was changed", hint="type the same one twice")
    if not values["password"] and not empty:
        raise UsageError("no password was given: nothing was changed")
    return values["password"]


def limit(value: int | None, shown: Callable[[int], str]) -> str:
    """One limit of a user's own: None is the setting's, 0 none."""
    return "settings" if value is None else "none" if value == 0 else shown(value)


def limit_fields(user: User) -> tuple[Field, ...]:
    found = []
    for name, label, is_size in LIMITS:
        value = getattr(user.limits, name)
        shown = "" if value is None else limit(value, words.exact_size if is_size else str)
        found.append(Field(name=name, label=label, value=shown, placeholder="as the settings say"))
    return tuple(found)


def limits(values: Mapping[str, str]) -> dict[str, int | None]:
    """All of them, as they are to be. Raises UsageError."""
    found: dict[str, int | None] = {}
    for name, label, is_size in LIMITS:
        text = values[name].strip()
        if not text:
            found[name] = None
        elif text in NONE:
            found[name] = 0
        elif is_size:
            found[name] = words.parse_size(text, label)
        elif text.isascii() and text.isdigit():
            found[name] = int(text)
        else:
            raise UsageError(f"{label}: {words.clean(text)!r} is no whole number", hint="a number, none, or nothing")
    return found


def limits_told(user: User) -> str:
    told = [
        f"{label} {limit(value, words.size if is_size else str)}"
        for name, label, is_size in LIMITS
        if (value := getattr(user.limits, name)) is not None
    ]
    return ", ".join(told) or "as the settings say"


def ended(counts: Mapping[str, int]) -> str:
    """What ended with it."""
    some = [f"{count} {kind[: -1 if count == 1 else None]}" for kind, count in counts.items() if count]
    return f"; ended: {', '.join(some)}" if some else ""


def facts(user: User, usage: Usage | None) -> Iterator[Fact]:
    yield "name", user.name, "bold"
    yield "role", user.role, ""
    state, style = ("active", "") if user.active else ("disabled: nobody gets in as this user", "bold red")
    yield "state", state, style
    yield "email", user.email, ""
    yield "unix", "" if user.unix_uid is None else f"{user.unix_user} (uid {user.unix_uid})", ""
    yield "password", "yes" if user.has_password else "none: only API keys or the uid get in", ""
    yield "limits", limits_told(user), ""
    if usage is not None:
        held = usage.limits
        yield "running", _of(usage.running, held.running, str), ""
        yield "downloads", _of(usage.jobs, held.jobs, str), ""
        yield "stored", _of(usage.stored, held.storage, words.size), ""
        yield "served", f"{_of(usage.served_today, held.served_per_day, words.size)} today", ""
        yield "requests", f"{_of(usage.requests, held.requests_per_minute, str)} this minute", ""
    yield "seen", words.moment(user.last_seen_at) if user.last_seen_at else "never", ""
    yield "made", words.moment(user.created_at), ""


def _of(value: int, limit: int | None, shown: Callable[[int], str]) -> str:
    return shown(value) if limit is None else f"{shown(value)} of {shown(limit)}"
