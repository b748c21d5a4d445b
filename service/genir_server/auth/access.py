"""Who gets in: certificates and callers put together from the settings, and kept up to date."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from genir_server.auth.authentication import Authentication
from genir_server.auth.tls import LiveCertificates

if TYPE_CHECKING:
    import grpc

    from genir_server.settings import ServerSettings


class Access:
    """What a server knows of its callers.

    Args:
        settings: names the files.

    Raises:
        ReloadError: a file cannot be used.
    """

    def __init__(self, settings: ServerSettings) -> None:
        self._certificates: LiveCertificates | None = None
        if settings.tls_cert is not None and settings.tls_key is not None:
            self._certificates = LiveCertificates(
                settings.tls_cert, settings.tls_key, settings.tls_client_ca
            )
        self.authentication = Authentication(
            settings.auth_file, certificates=settings.tls_client_ca is not None
        )
        self._following: list[asyncio.Task[None]] = []

    @property
    def credentials(self) -> grpc.ServerCredentials | None:
        """What the port is opened with; None for plaintext."""
        return self._certificates.server_credentials() if self._certificates else None

    def start(self) -> None:
        """Follows the files from now on."""
        followed = (
            self._certificates.files if self._certificates else None,
            self.authentication.files,
        )
        self._following = [
            asyncio.create_task(each.follow(), name="follow-files") for each in followed if each
        ]

    def stop(self) -> None:
        """Follows them no longer."""
        for task in self._following:
            task.cancel()
