"""Access to a server: TLS, authentication, and reloading of the files behind both."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import structlog

from genir_server.auth.authentication import Authentication
from genir_server.auth.tls import LiveCertificates

if TYPE_CHECKING:
    from collections.abc import Coroutine, Mapping
    from pathlib import Path

    import grpc

log = structlog.get_logger("genir.reload")


@dataclass(frozen=True, slots=True)
class AccessFiles:
    """The files that control access to a server. Without any, it is plaintext and open.

    Attributes:
        tls_cert: PEM file with the server's certificate and its intermediates.
        tls_key: PEM file with the certificate's key.
        tls_client_ca: PEM file with the authorities of client certificates; turns mTLS on.
        callers: the callers file.
    """

    tls_cert: Path | None = None
    tls_key: Path | None = None
    tls_client_ca: Path | None = None
    callers: Path | None = None


class AccessControl:
    """TLS credentials and authentication of a server, kept up to date with their files.

    Args:
        files: the files to use.

    Raises:
        ReloadError: a file cannot be used.

    Attributes:
        authentication: identifies the caller of each call.
    """

    def __init__(self, files: AccessFiles) -> None:
        self._certificates: LiveCertificates | None = None
        if files.tls_cert is not None and files.tls_key is not None:
            self._certificates = LiveCertificates(
                files.tls_cert, files.tls_key, files.tls_client_ca
            )
        self.authentication = Authentication(
            files.callers, certificates=files.tls_client_ca is not None
        )
        files_of = (
            self._certificates.files if self._certificates else None,
            self.authentication.files,
        )
        self._watched = tuple(filter(None, files_of))
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def credentials(self) -> grpc.ServerCredentials | None:
        """The credentials for the port; None for plaintext."""
        return self._certificates.server_credentials() if self._certificates else None

    def certificate_expiry(self) -> Mapping[str, float]:
        """Returns the Unix time at which the first certificate in each file expires."""
        return self._certificates.expiry if self._certificates else {}

    def start(self) -> None:
        """Starts to watch the files for changes."""
        for each in self._watched:
            self._keep(each.watch())

    def reload(self) -> None:
        """Reloads all files now, whether they have changed or not; the log has the outcome."""
        if not self._watched:
            log.info("no files to reload")
        for each in self._watched:
            self._keep(asyncio.to_thread(each.reload))

    def stop(self) -> None:
        """Stops watching the files."""
        for task in self._tasks:
            task.cancel()

    def _keep(self, work: Coroutine[Any, Any, None]) -> None:
        # The event loop holds only weak references to tasks.
        task = asyncio.create_task(work, name="watch-files")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
