"""The token of a signed link: what it says, and how a node knows without a database that the controller said
it.

100 characters of base64url over 75 bytes: version, kind and flags, link, replica, file, user, expiry, and the
first 128 bits of HMAC-SHA256 over all of these (NIST SP 800-107 section 5.3.3 allows the truncation). 75
bytes fill the characters completely, so that no character has spare bits: every alteration is noticed. The
link id is 128 random bits.

Each node has a key of its own, derived from the controller's master key: a node's key opens nothing on
another.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
import re
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from uuid import UUID

from oddaemon.domain.link import LinkKind
from oddaemon.domain.types import LinkId, NodeId, ReplicaId, UserId

TOKEN_LENGTH = 100
"""Characters of every token of version 1."""
MASTER_KEY_BYTES = 32
MASTER_KEY_NAME = "link_master"
"""Under which the store keeps the controller's."""
_VERSION = 1
_SIGNATURE_BYTES = 16
# version, kind and flags, link, replica, file index, user, expiry: its high byte and low 32 bits
_PAYLOAD = struct.Struct("!BB16s16sI16sBI")
_SHAPE = re.compile(f"[A-Za-z0-9_-]{{{TOKEN_LENGTH}}}")
_KINDS = (LinkKind.FILE, LinkKind.ZIP, LinkKind.M3U)
_INLINE_FLAG, _LIMITED_FLAG = 0x80, 0x40
_FLAGS = _INLINE_FLAG | _LIMITED_FLAG
_MAX_EXPIRY = (1 << 40) - 1


class TokenError(Exception):
    """A token that opens nothing. Seen by file processes alone, so it stands outside of the tree of errors."""


class TokenTampered(TokenError):
    """This link was not made here, or was altered."""


class TokenExpired(TokenError):
    """This link has expired."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkToken:
    """What a token says. `file_index` is 0 for a folder or a playlist."""

    link_id: LinkId
    replica_id: ReplicaId
    user_id: UserId
    file_index: int
    kind: LinkKind
    inline: bool
    limited: bool = False
    """It may be used so many times, or from one place, only: the daemon is asked at each use."""
    expires_at: int
    """Unix time in whole seconds; from this second on it is expired."""


def new_link_id() -> LinkId:
    """128 random bits, more than the 122 of a version 4 UUID."""
    return LinkId(UUID(bytes=os.urandom(16)))


def new_master_key() -> bytes:
    return os.urandom(MASTER_KEY_BYTES)


def node_key(master: bytes, node_id: NodeId) -> bytes:
    """The key of one node: HKDF-Expand (RFC 5869 section 2.3) with one block; the master key is uniformly
    random, so that no extraction is needed."""
    if len(master) < MASTER_KEY_BYTES:
        raise ValueError("the master key is too short")
    return hmac.digest(master, b"opendebrid link key v1\0" + node_id.encode() + b"\x01", hashlib.sha256)


def sign(token: LinkToken, key: bytes) -> str:
    """Raises ValueError for figures that do not fit."""
    if not 0 <= token.file_index < 1 << 32 or not 0 <= token.expires_at <= _MAX_EXPIRY:
        raise ValueError("the file index or the expiry is out of range")
    flags = _KINDS.index(token.kind)
    flags |= (_INLINE_FLAG if token.inline else 0) | (_LIMITED_FLAG if token.limited else 0)
    payload = _PAYLOAD.pack(
        _VERSION, flags, token.link_id.bytes, token.replica_id.bytes, token.file_index, token.user_id.bytes,
        token.expires_at >> 32, token.expires_at & 0xFFFFFFFF,
    )  # fmt: skip
    return base64.urlsafe_b64encode(payload + _signature(payload, key)).decode()


def verify(text: str, keys: Sequence[bytes], now: datetime) -> LinkToken:
    """What a token says, if one of `keys` signed it. Raises TokenTampered for anything that is not exactly a
    token that was made, TokenExpired for one that was."""
    if _SHAPE.fullmatch(text) is None:
        raise TokenTampered
    raw = base64.urlsafe_b64decode(text)
    payload, signature = raw[:-_SIGNATURE_BYTES], raw[-_SIGNATURE_BYTES:]
    # every key is tried, so that the time taken does not tell which one fits
    if sum(hmac.compare_digest(_signature(payload, key), signature) for key in keys) == 0:
        raise TokenTampered
    version, flags, link, replica, index, user, high, low = _PAYLOAD.unpack(payload)
    if version != _VERSION or flags & ~_FLAGS >= len(_KINDS):
        raise TokenTampered
    token = LinkToken(
        link_id=LinkId(UUID(bytes=link)),
        replica_id=ReplicaId(UUID(bytes=replica)),
        user_id=UserId(UUID(bytes=user)),
        file_index=index,
        kind=_KINDS[flags & ~_FLAGS],
        inline=bool(flags & _INLINE_FLAG),
        limited=bool(flags & _LIMITED_FLAG),
        expires_at=high << 32 | low,
    )
    if now.astimezone(UTC).timestamp() >= token.expires_at:
        raise TokenExpired
    return token


def _signature(payload: bytes, key: bytes) -> bytes:
    return hmac.digest(key, payload, hashlib.sha256)[:_SIGNATURE_BYTES]
