"""Who showed what is not good, by address: after too many of them nobody from there is listened to for a while. (Nobody
guesses a proof; this keeps those who try from having work done for them.)"""

from __future__ import annotations

import ipaddress
from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass, field

MOST = 60
"""Within SECONDS. A node that was removed and does not know it comes six times a minute, and others may be behind the
same address."""
SECONDS = 60.0
MOST_KNOWN = 10_000


@dataclass(slots=True)
class Refusals:
    """`now`: a monotonic clock."""

    now: Callable[[], float]
    _known: OrderedDict[str, deque[float]] = field(default_factory=OrderedDict)
    """The one refused last comes last."""

    def count(self, address: str) -> bool:
        """Counts one; whether it is the one from which on nobody from there is listened to."""
        before, place = self.shut(address), place_of(address)
        times = self._known.setdefault(place, deque(maxlen=MOST))
        times.append(self.now())
        self._known.move_to_end(place)
        while len(self._known) > MOST_KNOWN:
            self._known.popitem(last=False)
        return not before and self.shut(address)

    def shut(self, address: str) -> bool:
        times = self._known.get(place_of(address))
        return times is not None and len(times) == MOST and self.now() - times[0] < SECONDS


def place_of(address: str) -> str:
    """One IPv6 machine has a whole network of 64 bits to come from."""
    try:
        found = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if found.version == 4:
        return address
    if found.ipv4_mapped is not None:
        return str(found.ipv4_mapped)
    return str(ipaddress.ip_network((found, 64), strict=False))
