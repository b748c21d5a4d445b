"""TLS for the port: certificate, key and client authorities, reloaded while the server runs.

grpc-core fetches the certificate at every handshake. So connections made after a change get the
new one, and earlier connections go on.
"""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING

import grpc

from genir_server.auth.watched_files import ReloadError, WatchedFiles

if TYPE_CHECKING:
    from pathlib import Path


class LiveCertificates:
    """The server's certificate and key and, for mTLS, the authorities of its clients.

    Args:
        certificate: PEM file with the certificate, then its intermediates.
        key: PEM file with the private key, without a passphrase.
        client_ca: PEM file with the authorities that must have signed a client's certificate; None
            requires no client certificate.

    Raises:
        ReloadError: a file cannot be read, or the key does not match the certificate.

    Attributes:
        expiry: setting of each file -> Unix time at which the first certificate in it expires. A
            file that only OpenSSL can read is not in it.
    """

    def __init__(self, certificate: Path, key: Path, client_ca: Path | None = None) -> None:
        self._certificate = certificate
        self._key = key
        self._client_ca = client_ca
        self._current: grpc.ServerCertificateConfiguration
        self._given: grpc.ServerCertificateConfiguration | None = None
        self.expiry: dict[str, float]
        paths = (certificate, key, *((client_ca,) if client_ca else ()))
        self.files = WatchedFiles("certificates", paths, self._load)

    def server_credentials(self) -> grpc.ServerCredentials:
        """Returns credentials for one port; they stay up to date with the files."""
        self._given = self._current
        return grpc.dynamic_ssl_server_credentials(
            self._current,
            self._fetch,  # type: ignore[arg-type] # None is documented, but missing in the types.
            require_client_authentication=self._client_ca is not None,
        )

    def _fetch(self) -> grpc.ServerCertificateConfiguration | None:
        """Called by grpc-core before each handshake, in a thread of its own; None for no change."""
        current = self._current
        if current is self._given:
            return None
        self._given = current
        return current

    def _load(self) -> None:
        before = self._read()
        self._check()
        certificate, key, client_ca = self._read()
        if (certificate, key, client_ca) != before:
            raise ReloadError("the files changed while they were read")
        self._current = grpc.ssl_server_certificate_configuration(
            [(key, certificate)], root_certificates=client_ca
        )
        files = {"tls_cert": certificate, "tls_client_ca": client_ca}
        ends = {name: _first_expiry(pem) for name, pem in files.items() if pem is not None}
        self.expiry = {name: end for name, end in ends.items() if end is not None}

    def _read(self) -> tuple[bytes, bytes, bytes | None]:
        try:
            client_ca = self._client_ca.read_bytes() if self._client_ca else None
            return self._certificate.read_bytes(), self._key.read_bytes(), client_ca
        except OSError as error:
            raise ReloadError(f"cannot read {error.filename}: {error.strerror}") from error

    def _check(self) -> None:
        # grpc-core would accept unusable files and fail every handshake; the ssl module fails now.
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        try:
            context.load_cert_chain(self._certificate, self._key, password=_no_passphrase)
        except (ssl.SSLError, OSError, ValueError) as error:
            raise ReloadError(
                f"{self._certificate} and {self._key} are not a certificate with its key: "
                f"{_reason(error)}"
            ) from error
        if self._client_ca is None:
            return
        try:
            context.load_verify_locations(self._client_ca)
        except (ssl.SSLError, OSError) as error:
            raise ReloadError(
                f"{self._client_ca} contains no certificate: {_reason(error)}"
            ) from error


def _first_expiry(pem: bytes) -> float | None:
    from cryptography import x509  # Only servers with TLS need it.

    try:
        certificates = x509.load_pem_x509_certificates(pem)
        return min(each.not_valid_after_utc.timestamp() for each in certificates)
    except ValueError:
        return None


def _no_passphrase() -> str:
    raise ValueError("the key has a passphrase")


def _reason(error: Exception) -> str:
    reason = getattr(error, "reason", None)
    return str(reason or error).lower().replace("_", " ")
