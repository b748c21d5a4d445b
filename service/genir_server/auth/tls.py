"""TLS for the port: certificate, key and the clients' authority, replaced while the server runs.

grpc-core asks for the certificate at every handshake, so that connections made after a change see
the new one, and those made before it go on.
"""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING

import grpc

from genir_server.auth.reloading import FollowedFiles, ReloadError

if TYPE_CHECKING:
    from pathlib import Path


class LiveCertificates:
    """The server's certificate and key and, for mTLS, the authority of its clients.

    Args:
        certificate: PEM file with the certificate, then its intermediates.
        key: PEM file with the private key, without a passphrase.
        client_ca: PEM file with the authorities whose certificates clients must have; None lets
            clients connect without one.

    Raises:
        ReloadError: a file cannot be read, or key and certificate do not belong together.
    """

    def __init__(self, certificate: Path, key: Path, client_ca: Path | None = None) -> None:
        self._certificate = certificate
        self._key = key
        self._client_ca = client_ca
        self._current: grpc.ServerCertificateConfiguration
        self._given: grpc.ServerCertificateConfiguration | None = None
        paths = (certificate, key, *((client_ca,) if client_ca else ()))
        self.files = FollowedFiles("certificates", paths, self._load)

    def server_credentials(self) -> grpc.ServerCredentials:
        """The credentials for one port; they follow the files."""
        self._given = self._current
        return grpc.dynamic_ssl_server_credentials(
            self._current,
            self._fetch,  # type: ignore[arg-type] # None is documented, but not in the types.
            require_client_authentication=self._client_ca is not None,
        )

    def _fetch(self) -> grpc.ServerCertificateConfiguration | None:
        """What grpc-core calls before a handshake, in a thread of its own: None for no change."""
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

    def _read(self) -> tuple[bytes, bytes, bytes | None]:
        try:
            client_ca = self._client_ca.read_bytes() if self._client_ca else None
            return self._certificate.read_bytes(), self._key.read_bytes(), client_ca
        except OSError as fault:
            raise ReloadError(f"cannot read {fault.filename}: {fault.strerror}") from fault

    def _check(self) -> None:
        # grpc-core would only fail every handshake; the standard library tells now.
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        try:
            context.load_cert_chain(self._certificate, self._key, password=_no_passphrase)
        except (ssl.SSLError, OSError, ValueError) as fault:
            raise ReloadError(
                f"{self._certificate} and {self._key} are not a certificate and its key: "
                f"{_reason(fault)}"
            ) from fault
        if self._client_ca is None:
            return
        try:
            context.load_verify_locations(self._client_ca)
        except (ssl.SSLError, OSError) as fault:
            raise ReloadError(
                f"{self._client_ca} holds no certificate: {_reason(fault)}"
            ) from fault


def _no_passphrase() -> str:
    raise ValueError("the key has a passphrase")


def _reason(fault: Exception) -> str:
    reason = getattr(fault, "reason", None)
    return str(reason or fault).lower().replace("_", " ")
