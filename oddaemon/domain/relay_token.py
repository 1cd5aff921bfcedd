"""By which a controller shows a node's file server that it may have bytes of a file, and by which the file server shows
that it is that node's.

Both know the node's key (`domain.link_token`). A ticket names the replica, the file and the bytes, is good for a
minute, and counts as no use of a link: that is the controller's to count."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import os
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from oddaemon.domain.files import MAX_PATH_BYTES
from oddaemon.domain.types import ReplicaId

GOOD_SECONDS = 60
"""Of a ticket, on one machine with one clock."""
_HEAD = struct.Struct("!16s16sQQQ")
_MAC_BYTES = 16
# no link token begins with these bytes, whose first is its version
_TICKET, _ANSWER = b"opendebrid relay v1\0", b"opendebrid relay answer v1\0"


class BadTicket(Exception):
    """It was not made with this key, or its time is over."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ticket:
    replica_id: ReplicaId
    path: str
    """Below the replica's directory."""
    offset: int
    length: int
    good_until: int
    """Unix time."""


def new_ticket(ticket: Ticket, key: bytes) -> str:
    head = _HEAD.pack(os.urandom(16), ticket.replica_id.bytes, ticket.offset, ticket.length, ticket.good_until)
    payload = head + ticket.path.encode("utf-8", "surrogatepass")
    return base64.urlsafe_b64encode(_mac(_TICKET + payload, key) + payload).rstrip(b"=").decode()


def read_ticket(text: str, keys: Sequence[bytes], now: float) -> tuple[Ticket, bytes]:
    """What it says, and the key that made it. Raises BadTicket."""
    try:
        raw = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    except (binascii.Error, ValueError) as error:
        raise BadTicket from error
    mac, payload = raw[:_MAC_BYTES], raw[_MAC_BYTES:]
    made = [key for key in keys if hmac.compare_digest(_mac(_TICKET + payload, key), mac)]
    if not made or not 0 < len(payload) - _HEAD.size <= 2 * MAX_PATH_BYTES:
        raise BadTicket
    _, replica, offset, length, good_until = _HEAD.unpack_from(payload)
    if now >= good_until:
        raise BadTicket
    path = payload[_HEAD.size :].decode("utf-8", "surrogatepass")
    ticket = Ticket(
        replica_id=ReplicaId(UUID(bytes=replica)), path=path, offset=offset, length=length, good_until=good_until
    )  # fmt: skip
    return ticket, made[0]


def answer_to(text: str, key: bytes) -> str:
    """What only who knows the key can say to a ticket."""
    return _mac(_ANSWER + text.encode(), key).hex()


def _mac(message: bytes, key: bytes) -> bytes:
    return hmac.digest(key, message, hashlib.sha256)[:_MAC_BYTES]
