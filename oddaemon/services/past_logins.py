"""The failed logins of the last minutes, as the events of the store tell them: a restart forgives nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from oddaemon.domain.events import Event, LoggedIn, LoginFailed
from oddaemon.domain.types import Seconds
from oddaemon.ports.store import Transaction
from oddaemon.services.throttle import FORGOTTEN_AFTER, Counted, Key, network

TYPES = (LoggedIn.type, LoginFailed.type)
STEP = 1000
MOST = 50_000
"""So many events at most are looked back: one must not have to wait for the daemon."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PastLogin:
    ago: Seconds
    failed: bool
    keys: Sequence[Key]
    """What it was counted by. What was typed for an account that there is not is not kept: it has no password."""


def past_logins(tx: Transaction, now: datetime) -> Sequence[PastLogin]:
    """Those that still count, oldest first."""
    since = now - timedelta(seconds=FORGOTTEN_AFTER)
    found = tx.events.after(_place(tx, since), limit=MOST, types=TYPES)
    return [_read(tx, event, now) for event in found if event.at >= since]


def _place(tx: Transaction, since: datetime) -> int:
    """A number behind which all events since then come."""
    newest = place = tx.events.newest_seq()
    while place > 0 and newest - place < MOST:
        place = max(place - STEP, 0)
        oldest = tx.events.after(place, limit=1)
        if oldest and oldest[0].at < since:
            break
    return place


def _read(tx: Transaction, event: Event, now: datetime) -> PastLogin:
    user = None if event.user_id is None else tx.users.get(event.user_id)
    keys: list[Key] = [] if user is None else [(Counted.ACCOUNT, user.username)]
    if address := event.data.get("address"):
        keys.append((Counted.ADDRESS, network(str(address))))
    ago = max((now - event.at).total_seconds(), 0)
    return PastLogin(ago=Seconds(ago), failed=isinstance(event, LoginFailed), keys=keys)
