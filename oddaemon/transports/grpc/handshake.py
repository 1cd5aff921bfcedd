"""Versions and proofs at the beginning of a connection, as calls."""

from __future__ import annotations

from odproto import NODE_MAJOR, NODE_MINOR
from odproto.gen.opendebrid.node import v1 as pb

from oddaemon import __version__
from oddaemon.domain.errors import Unauthenticated, Unsupported
from oddaemon.domain.node_proof import NONCE_BYTES, Handshake, Side, proven
from oddaemon.domain.types import NodeId
from oddaemon.wire.values import clean

MAX_NODE_ID = 253
"""Characters: a host's name (RFC 1035) has no more."""
NOT_THE_NODE = "the caller does not know this node's credential"
NOT_THE_CONTROLLER = "the controller does not know this node's credential"
_ID_MARKS = frozenset("-_.")


def own_version() -> pb.Version:
    return pb.Version(major=NODE_MAJOR, minor=NODE_MINOR, software=__version__)


def check_version(told: pb.Version | None, who: str) -> None:
    """Raises Unsupported for another major version. Minor versions only add, and what is unknown is passed over."""
    major = told.major if told is not None else 0
    if major != NODE_MAJOR:
        software = clean(told.software)[:40] if told is not None else ""
        raise Unsupported(
            f"{who} speaks version {major} of the node protocol, this {NODE_MAJOR}: it runs {software or 'another'}",
            hint="upgrade the older of the two",
        )


def checked_node_id(text: str) -> NodeId:
    """Raises Unauthenticated for what no node is called."""
    if not (0 < len(text) <= MAX_NODE_ID and all(c.isascii() and (c.isalnum() or c in _ID_MARKS) for c in text)):
        raise Unauthenticated("this is no node's name")
    return NodeId(text)


def checked_nonce(nonce: bytes) -> bytes:
    if len(nonce) != NONCE_BYTES:
        raise Unauthenticated(f"a nonce has {NONCE_BYTES} bytes")
    return nonce




def check_proof(shown: bytes, credential: bytes | None, side: Side, shaken: Handshake, refusal: str) -> None:
    """Raises Unauthenticated with those words. Whether there is no such node or the proof is wrong is not
    told, nor by the time it takes."""
    good = proven(shown, credential or b"nobody's", side, shaken)
    if credential is None or not good:
        raise Unauthenticated(refusal)
