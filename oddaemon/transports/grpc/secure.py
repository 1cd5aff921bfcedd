"""TLS between a worker and its controller. The worker trusts one certificate, by its fingerprint, which came with the
join token; the controller trusts no certificate at all but the proof that follows (domain.node_proof)."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import ssl

from oddaemon.domain.errors import Unauthenticated

CALLS_PROTOCOL = "opendebrid-node/1"
"""ALPN of a connection on which the controller calls. Nothing else speaks it by accident."""
REGISTRY_PROTOCOL = "h2"
"""ALPN of one on which the worker calls: plain gRPC."""


def controller_context(cert: str, key: str) -> ssl.SSLContext:
    """Reads both files: call it in a thread. Raises OSError, ssl.SSLError."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    # both ends are ours; from 1.3 on, what binds a connection cannot be made the same on two (RFC 9266 section 4.2)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.set_alpn_protocols([CALLS_PROTOCOL, REGISTRY_PROTOCOL])
    context.load_cert_chain(cert, key)
    # resumed sessions would save a worker a millisecond a day
    context.num_tickets = 0
    return context


def worker_context(protocol: str) -> ssl.SSLContext:
    """Checks no name and no chain: `check_fingerprint` does, before a byte is sent."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.set_alpn_protocols([protocol])
    return context


def fingerprint(der: bytes) -> str:
    """SHA-256 of a certificate, in hex."""
    return hashlib.sha256(der).hexdigest()


def fingerprint_of_file(cert: str) -> str:
    """Of the first certificate in a PEM file. Reads it: call it in a thread."""
    with open(cert, encoding="ascii", errors="replace") as file:
        text = file.read()
    end = "-----END CERTIFICATE-----"
    return fingerprint(ssl.PEM_cert_to_DER_cert(text[text.index("-----BEGIN") : text.index(end) + len(end)]))


def check_fingerprint(transport: asyncio.BaseTransport, wanted: str) -> None:
    """Raises Unauthenticated unless the other end showed that certificate."""
    shown = _tls(transport).getpeercert(binary_form=True)
    if shown is None or not hmac.compare_digest(fingerprint(shown), wanted.lower()):
        raise Unauthenticated(
            "the controller's certificate is not the one that the join token names",
            hint="somebody may be in between; if the controller has a new certificate, make a new join token",
        )


def spoken(transport: asyncio.BaseTransport) -> str | None:
    """The ALPN protocol that was agreed on."""
    return _tls(transport).selected_alpn_protocol()


def binding(transport: asyncio.BaseTransport) -> bytes:
    """What no other TLS connection has: the client's Finished, a MAC over the whole handshake under keys of this
    connection alone. Python tells it by the name that it had before TLS 1.3; the exporter of RFC 9266 it does not
    give."""
    found = _tls(transport).get_channel_binding("tls-unique")
    if not found:
        raise Unauthenticated("the TLS connection cannot be told from others")
    return found


def _tls(transport: asyncio.BaseTransport) -> ssl.SSLObject:
    found = transport.get_extra_info("ssl_object")
    if not isinstance(found, ssl.SSLObject):
        raise Unauthenticated("the connection is not encrypted")
    return found
