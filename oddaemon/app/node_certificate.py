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

# tags (X.690) and object identifiers, as they are written
_INTEGER, _BIT_STRING, _OBJECT_ID, _UTF8, _UTC_TIME, _GENERALIZED_TIME = 0x02, 0x03, 0x06, 0x0C, 0x17, 0x18
_SEQUENCE, _SET, _EXPLICIT_0 = 0x30, 0x31, 0xA0
_ECDSA_WITH_SHA256 = bytes.fromhex("2a8648ce3d040302")
_COMMON_NAME = bytes.fromhex("550403")


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
    from Cryptodome.Hash import SHA256
    from Cryptodome.IO import PEM
    from Cryptodome.PublicKey import ECC
    from Cryptodome.Random import get_random_bytes
    from Cryptodome.Signature import DSS

    key = ECC.generate(curve="P-256")
    algorithm = _der(_SEQUENCE, _der(_OBJECT_ID, _ECDSA_WITH_SHA256))
    common_name = _der(_SEQUENCE, _der(_OBJECT_ID, _COMMON_NAME), _der(_UTF8, NAMED.encode()))
    name = _der(_SEQUENCE, _der(_SET, common_name))
    body = _der(
        _SEQUENCE,
        _der(_EXPLICIT_0, _der(_INTEGER, b"\2")),  # version 3
        _der(_INTEGER, b"\1" + get_random_bytes(15)),
        algorithm,
        name,
        _der(_SEQUENCE, _time(now - timedelta(days=1)), _time(now + timedelta(days=365 * YEARS))),
        name,
        key.public_key().export_key(format="DER"),
    )
    signature = DSS.new(key, "fips-186-3", encoding="der").sign(SHA256.new(body))
    certificate = _der(_SEQUENCE, body, algorithm, _der(_BIT_STRING, b"\0", signature))
    return f"{PEM.encode(certificate, 'CERTIFICATE')}\n{key.export_key(format='PEM')}\n".encode()


def _der(tag: int, *parts: bytes) -> bytes:
    """One value with its tag and length (X.690 section 8.1)."""
    data = b"".join(parts)
    length = len(data)
    if length < 0x80:
        return bytes([tag, length]) + data
    octets = length.to_bytes((length.bit_length() + 7) // 8, "big")
    return bytes([tag, 0x80 | len(octets)]) + octets + data


def _time(moment: datetime) -> bytes:
    """UTCTime until 2049, GeneralizedTime from then on (RFC 5280 section 4.1.2.5)."""
    early = moment.year < 2050
    return _der(_UTC_TIME if early else _GENERALIZED_TIME, f"{moment:{'%y' if early else '%Y'}%m%d%H%M%S}Z".encode())
