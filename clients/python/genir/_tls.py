"""Channel credentials from PEM files."""

from __future__ import annotations

from typing import TYPE_CHECKING

import grpc

if TYPE_CHECKING:
    from pathlib import Path


def tls_credentials(
    *, ca: Path | None = None, cert: Path | None = None, key: Path | None = None
) -> grpc.ChannelCredentials:
    """Credentials for a TLS connection. Reads the PEM files once.

    Args:
        ca: file of the certificates to trust. Default: gRPC's own.
        cert: file of this caller's certificate, for mTLS. Default: none.
        key: file of that certificate's private key. Default: none.

    Raises:
        ValueError: only one of `cert` and `key` is given.
        OSError: a file cannot be read.

    """
    if (cert is None) != (key is None):
        msg = "cert and key must be given together"
        raise ValueError(msg)
    return grpc.ssl_channel_credentials(
        ca.read_bytes() if ca else None,
        key.read_bytes() if key else None,
        cert.read_bytes() if cert else None,
    )
