"""Failed logins, counted per account and per address: after a few, each further one has to wait longer.

Kept in memory, and read anew from the events at a start. What nobody has tried for a while is forgotten, and of very
many the oldest go first.
"""

from __future__ import annotations

import ipaddress
import math
from collections import OrderedDict
from dataclasses import dataclass, field
from enum import StrEnum

from oddaemon.domain.errors import LoginThrottled
from oddaemon.domain.types import Seconds
from oddaemon.ports.clock import Clock

MAX_WAIT = Seconds(60)
FORGOTTEN_AFTER = Seconds(15 * 60)
MOST_KNOWN = 10_000


class Counted(StrEnum):
    """What attempts are counted by."""

    ACCOUNT = "account"
    ADDRESS = "address"
    REGISTRATION = "registration"
    """New accounts, by address."""


FREE = {Counted.ACCOUNT: 5, Counted.ADDRESS: 20, Counted.REGISTRATION: 20}
"""So many may fail before waits begin. Behind one address there may be many people."""
_MESSAGES = {
    Counted.ACCOUNT: "too many failed logins for this account",
    Counted.ADDRESS: "too many failed logins from this address",
    Counted.REGISTRATION: "too many new accounts from this address",
}

Key = tuple[Counted, str]


@dataclass(slots=True)
class _Tries:
    count: int = 0
    last: Seconds = Seconds(0)


@dataclass(slots=True)
class Throttle:
    clock: Clock
    _tries: OrderedDict[Key, _Tries] = field(default_factory=OrderedDict, repr=False)
    """The one tried last comes last. Never shown: people type passwords where names belong."""

    def begin(self, *keys: Key) -> None:
        """Counts one more attempt, as failed until `succeeded` says otherwise: many at once get no further than many in
        turn. Raises LoginThrottled while one of the keys has to wait, and then counts nothing."""
        now = self.clock.monotonic()
        self._forget(now)
        for kind, of in keys:
            tries = self._tries.get((kind, of))
            left = 0.0 if tries is None else tries.last + _wait(kind, tries.count) - now
            if left > 0:
                raise LoginThrottled(_MESSAGES[kind], retry_after=math.ceil(left))
        for key in keys:
            tries = self._tries.setdefault(key, _Tries())
            tries.count += 1
            tries.last = now
            self._tries.move_to_end(key)

    def remember(self, ago: Seconds, *keys: Key) -> None:
        """An attempt that failed so long ago, as told before the first one: oldest first."""
        for key in keys:
            tries = self._tries.setdefault(key, _Tries())
            tries.count += 1
            tries.last = Seconds(self.clock.monotonic() - ago)
            self._tries.move_to_end(key)

    def succeeded(self, *keys: Key) -> None:
        """The account's failures are forgotten; of the address only this attempt, or whoever has an account could go on
        guessing another's."""
        for key in keys:
            tries = self._tries.get(key)
            if tries is None:
                continue
            tries.count -= 1
            if key[0] is Counted.ACCOUNT or tries.count <= 0:
                del self._tries[key]

    def undo(self, *keys: Key) -> None:
        """The attempt did not come to be one."""
        for key in keys:
            if tries := self._tries.get(key):
                tries.count -= 1

    def _forget(self, now: Seconds) -> None:
        while self._tries:
            key, oldest = next(iter(self._tries.items()))
            if now - oldest.last < FORGOTTEN_AFTER and len(self._tries) < MOST_KNOWN:
                return
            del self._tries[key]


def keys_of(username: str, address: str) -> tuple[Key, ...]:
    """What a login is counted by. Without an address (the control socket) by the account alone."""
    account = (Counted.ACCOUNT, username[:64])
    return (account, (Counted.ADDRESS, network(address))) if address else (account,)


def network(address: str) -> str:
    """The address; of IPv6 its /64, which one household has to itself."""
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address[:64]
    if isinstance(parsed, ipaddress.IPv6Address):
        if parsed.ipv4_mapped is not None:
            return str(parsed.ipv4_mapped)
        return str(ipaddress.ip_network((parsed, 64), strict=False))
    return str(parsed)


def _wait(kind: Counted, count: int) -> Seconds:
    """1, 2, 4 … seconds after the attempts that are free."""
    over = count - FREE[kind]
    return Seconds(min(2.0 ** min(over, 10), MAX_WAIT)) if over >= 0 else Seconds(0)
