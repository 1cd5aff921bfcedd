"""Connections that have not shown yet who they are: how many there may be, and from where. Whoever only holds places
keeps no node out."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TypeVar

from oddaemon.domain.types import NodeId
from oddaemon.transports.grpc.refusals import MOST_KNOWN, Refusals, place_of

log = logging.getLogger(__name__)

T = TypeVar("T")

MAX_STRANGERS = 1000
"""At a time. More are cut at once, and come again."""
KEPT_FOR_KNOWN = 200
"""Of these, for addresses from which a node came before."""
MAX_OF_ONE_ADDRESS = 40
MAX_OF_KNOWN_ADDRESS = 500
"""500 workers behind one address, when their controller is back: the first forty make it known."""
SILENT_SECONDS = 0.5
"""One that ends without having shown who it is, and had its place for longer, only held it."""
SAID_EVERY = 60.0


@dataclass(frozen=True, slots=True)
class _Held:
    place: str
    known: bool
    """Whether the address was, when it came."""
    since: float


@dataclass(slots=True)
class Strangers:
    """`now`: a monotonic clock. Addresses count as for Refusals: of IPv6 the network of 64 bits."""

    now: Callable[[], float]
    _held: dict[asyncio.Transport, _Held] = field(default_factory=dict)
    _of_place: Counter[str] = field(default_factory=Counter)
    _unknown: int = 0
    """How many came from addresses that were not known."""
    _known: OrderedDict[str, NodeId] = field(default_factory=OrderedDict)
    """Addresses with the node that came from there last."""
    _said: OrderedDict[str, tuple[float, int]] = field(default_factory=OrderedDict)
    """When the log had last that somebody was silent, and how often it was since then."""
    _silent: Refusals = field(init=False)

    def __post_init__(self) -> None:
        self._silent = Refusals(self.now)

    def __len__(self) -> int:
        return len(self._held)

    def __iter__(self) -> Iterator[asyncio.Transport]:
        return iter(self._held)

    def __contains__(self, transport: object) -> bool:
        return transport in self._held

    def take(self, transport: asyncio.Transport, address: str) -> bool:
        """Gives it a place; False: there is none for it."""
        place = place_of(address)
        known = place in self._known
        if known:
            full = self._of_place[place] >= MAX_OF_KNOWN_ADDRESS
        else:
            full = self._of_place[place] >= MAX_OF_ONE_ADDRESS or self._unknown >= MAX_STRANGERS - KEPT_FOR_KNOWN
        if full or len(self._held) >= MAX_STRANGERS or (not known and self._silent.shut(place)):
            if not self._of_place[place]:
                del self._of_place[place]
            return False
        self._held[transport] = _Held(place, known, self.now())
        self._of_place[place] += 1
        self._unknown += not known
        return True

    def known(self, transport: asyncio.Transport, node_id: NodeId) -> None:
        """It has shown that it is this node: its address is known from now on. Idempotent."""
        held = self._leave(transport)
        if held is not None:
            _put(self._known, held.place, node_id)

    def gone(self, transport: asyncio.Transport) -> None:
        """It ended. Idempotent; nothing for one that is known."""
        held = self._leave(transport)
        if held is None or self.now() - held.since < SILENT_SECONDS:
            return
        self._say(held.place)
        # behind the address of a node there may be many of them, slow when all come back at once
        if held.place not in self._known and self._silent.count(held.place):
            say_shut(held.place)

    def forget(self, node_id: NodeId) -> None:
        """Where only this node came from last is no known address any more."""
        for place in [place for place, last in self._known.items() if last == node_id]:
            del self._known[place]

    def _leave(self, transport: asyncio.Transport) -> _Held | None:
        held = self._held.pop(transport, None)
        if held is not None:
            self._unknown -= not held.known
            self._of_place[held.place] -= 1
            if not self._of_place[held.place]:
                del self._of_place[held.place]
        return held

    def _say(self, place: str) -> None:
        """One line for an address and minute, with how many there were since the one before."""
        at, count = self._said.get(place, (None, 0))
        count += 1
        if at is None or self.now() - at >= SAID_EVERY:
            log.info("node connection cut", extra={"action": "node_silent", "address": place, "count": count})
            at, count = self.now(), 0
        _put(self._said, place, (at, count))


def say_shut(address: str) -> None:
    """Nobody from there is listened to from now on."""
    log.warning("nobody from there is listened to for a while", extra={
        "action": "node_address_shut", "address": address,
    })  # fmt: skip


def _put(kept: OrderedDict[str, T], place: str, value: T) -> None:
    kept[place] = value
    kept.move_to_end(place)
    while len(kept) > MOST_KNOWN:
        kept.popitem(last=False)
