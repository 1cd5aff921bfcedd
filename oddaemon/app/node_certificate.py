"""The certificate by which workers know their controller: the operator's, or one that is made at the first need.

Nobody's authority counts: a worker trusts the one certificate whose fingerprint came with its join token. So it signs
itself, lives for ten years and is never renewed: another one would shut every worker out.
"""

from __future__ import annotations

import os
import ssl
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import uuid4

from oddaemon.app.exit_codes import ExitCode, StartFailed
from oddaemon.app.settings import NodesSettings
from oddaemon.ports.node_transport import NodeTransport

NAME = "nodes.pem"
YEARS = 10
NAMED = "OpenDebrid controller"


@dataclass(frozen=True, slots=True)
class NodeCertificate:
    context: ssl.SSLContext
    fingerprint: str


def node_certificate(settings: NodesSettings, data_dir: Path, transport: NodeTransport) -> NodeCertificate:
    """Raises StartFailed. Blocks: call it in a thread."""
    cert, key = settings.tls_cert, settings.tls_key
    if not cert:
        cert = key = str(_made(data_dir / NAME))
    try:
        return NodeCertificate(transport.context(cert, key), transport.fingerprint(cert))
    except (OSError, ValueError) as error:
        reason = getattr(error, "reason", None) or getattr(error, "strerror", None) or error
        raise StartFailed(
            f"the certificate for nodes cannot be used: {cert}: {reason}", code=ExitCode.CONFIG,
            hint="nodes.tls_cert and nodes.tls_key are PEM files: the certificate and its key, without a passphrase",
        ) from error  # fmt: skip


def _made(path: Path) -> Path:
    """Certificate and key in one file, so that half of the pair is never there."""
    if path.exists():
        return path
    beside = path.with_name(f".{path.name}.{uuid4().hex}")
    try:
        descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with open(descriptor, "wb") as file:
            file.write(self_signed(datetime.now(UTC)))
            file.flush()
            os.fsync(file.fileno())
        # not over one that another process made meanwhile: its fingerprint may be in a token already
        os.link(beside, path)
    except FileExistsError:
        pass
    except OSError as error:
        raise StartFailed(
            f"the certificate for nodes cannot be written: {path}: {error.strerror}", code=ExitCode.IO
        ) from error
    finally:
        beside.unlink(missing_ok=True)
    _settle(path.parent)
    return path


def _settle(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def self_signed(now: datetime) -> bytes:
    """PEM of a new P-256 key and of a certificate that it signs (RFC 5280 section 4.1), valid from a day before `now`:
    clocks differ."""
    # wanted once in an installation's life
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.hashes import SHA256
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, NAMED)])
    certificate = (
        x509.CertificateBuilder(issuer_name=name, subject_name=name, public_key=key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=365 * YEARS))
        .sign(key, SHA256())
    )
    return certificate.public_bytes(Encoding.PEM) + key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
