"""How a node and its controller prove to each other that they know the node's credential, without telling it. Sans I/O.

Each proof is HMAC-SHA-256 under the credential over both sides' nonces, the node's id, what the connection is for, who
proves, and the binding of the TLS connection: what was heard on one connection is worth nothing on another, and neither
side's proof can be handed back to it as the other's.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from dataclasses import dataclass, field
from enum import StrEnum

from oddaemon.domain.types import NodeId

NONCE_BYTES = 32
CREDENTIAL_BYTES = 32
_CONTEXT = b"opendebrid node proof 1"


class Purpose(StrEnum):
    """What a connection is for."""

    REGISTRY = "registry"
    """The node calls."""
    CALLS = "calls"
    """The controller calls."""
    JOIN = "join"
    """A node that has no credential yet shows a join token."""


class Side(StrEnum):
    NODE = "node"
    CONTROLLER = "controller"


@dataclass(frozen=True, slots=True, kw_only=True)
class Handshake:
    """What both sides of one connection know."""

    purpose: Purpose
    node_id: NodeId
    controller_nonce: bytes
    node_nonce: bytes
    binding: bytes
    """The TLS connection's own: no other connection has it."""


@dataclass(frozen=True, slots=True)
class JoinToken:
    """What lets a new node in. Neither side tells the secret: both prove, under `token_key(secret)`, that they know
    it."""

    id: str
    secret: str = field(repr=False)


def token_key(secret: str) -> bytes:
    """What a controller keeps of a token's secret, which is random and long: a plain digest hides it."""
    return hashlib.sha256(secret.encode()).digest()


def new_nonce() -> bytes:
    return secrets.token_bytes(NONCE_BYTES)


def new_credential() -> bytes:
    return secrets.token_bytes(CREDENTIAL_BYTES)


def proof(credential: bytes, side: Side, shaken: Handshake) -> bytes:
    """What `side` shows. Raises ValueError for nonces of another length and for a connection without a binding: they
    would prove too little."""
    if not (len(shaken.controller_nonce) == len(shaken.node_nonce) == NONCE_BYTES and shaken.binding and credential):
        raise ValueError("nonces of 32 bytes, a binding and a credential make a proof")
    parts = (
        _CONTEXT, side.encode(), shaken.purpose.encode(), shaken.node_id.encode("utf-8", "surrogatepass"),
        shaken.controller_nonce, shaken.node_nonce, shaken.binding,
    )  # fmt: skip
    # each with its length before it, so that no two handshakes give the same bytes
    return hmac.digest(credential, b"".join(len(part).to_bytes(4, "big") + part for part in parts), hashlib.sha256)


def proven(shown: bytes, credential: bytes, side: Side, shaken: Handshake) -> bool:
    """Whether `shown` is that side's proof; in a time that tells nothing."""
    return hmac.compare_digest(shown, proof(credential, side, shaken))
