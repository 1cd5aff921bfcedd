"""The certificate of the HTTP listener: read at the start, and again on a reload."""

from __future__ import annotations

import ssl
from collections.abc import Sequence
from dataclasses import dataclass

from oddaemon.app.exit_codes import ExitCode, StartFailed


class BadCertificate(StartFailed):
    """The certificate or its key cannot be used."""

    def __init__(self, message: str) -> None:
        super().__init__(
            message, code=ExitCode.CONFIG,
            hint="server.tls_cert and server.tls_key are PEM files: the certificate with its chain, and its key",
        )  # fmt: skip

    @property
    def mistakes(self) -> Sequence[str]:
        return [self.message]


@dataclass(frozen=True, slots=True)
class Certificate:
    """`context` serves what was read last; connections that are open keep theirs."""

    cert: str
    key: str
    context: ssl.SSLContext

    @classmethod
    def read(cls, cert: str, key: str) -> Certificate:
        """Raises BadCertificate. May block: call it in a thread."""
        return cls(cert, key, _context(cert, key))

    def read_again(self) -> None:
        """Raises BadCertificate, and then the old one stays."""
        # into a context that serves nobody first: half a pair must not be loaded
        _context(self.cert, self.key)
        self.context.load_cert_chain(self.cert, self.key, password=_no_password)


def _context(cert: str, key: str) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    try:
        context.load_cert_chain(cert, key, password=_no_password)
    except ssl.SSLError as error:
        reason = (error.reason or "").replace("_", " ").lower() or "not PEM"
        raise BadCertificate(f"{cert} with {key} is no certificate and its key: {reason}") from error
    except OSError as error:
        raise BadCertificate(f"cannot read {_unreadable(cert, key)}: {error.strerror}") from error
    except ValueError as error:
        raise BadCertificate(f"the key {key} is encrypted: a daemon has nobody to ask for its passphrase") from error
    return context


def _no_password() -> str:
    """OpenSSL would ask on the terminal."""
    raise ValueError("encrypted")


def _unreadable(*paths: str) -> str:
    for path in paths:
        try:
            with open(path, "rb"):
                pass
        except OSError:
            return path
    return paths[0]
