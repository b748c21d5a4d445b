"""The metrics port: HTTP in Prometheus's text format, with metrics of genir, vLLM and process."""

from __future__ import annotations

import socket
from socketserver import ThreadingMixIn
from threading import BoundedSemaphore, Thread
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from prometheus_client import REGISTRY, CollectorRegistry, make_wsgi_app

_Request = socket.socket | tuple[bytes, socket.socket]

MAX_CONNECTIONS = 16
"""Connections at one time, each of which takes a thread and a file descriptor."""

CONNECTION_SECONDS = 10.0
"""How long a connection may stay silent."""


class MetricsPortError(Exception):
    """The metrics port cannot be opened. The message is for the operator."""


class MetricsEndpoint:
    """A thread that answers GET with all metrics.

    vLLM registers its metrics (`vllm:…`) in prometheus_client's global registry, in this process.

    Args:
        registry: the metrics of genir.
        host: address to listen on.
        port: TCP port; 0 chooses a free one.

    Raises:
        MetricsPortError: the address is in use or does not belong to this host.
    """

    def __init__(self, registry: CollectorRegistry, host: str, port: int) -> None:
        combined = CollectorRegistry()
        combined.register(registry)
        combined.register(REGISTRY)
        try:
            self._server = _start_server(host, port, combined)
        except OSError as error:
            raise MetricsPortError(
                f"cannot serve metrics on {host}:{port}: {error.strerror}"
            ) from error
        self._thread = Thread(target=self._server.serve_forever, name="genir-metrics", daemon=True)
        self._thread.start()

    @property
    def port(self) -> int:
        """The open port."""
        return int(self._server.server_port)

    def close(self) -> None:
        """Closes the port."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class _Handler(WSGIRequestHandler):
    timeout = CONNECTION_SECONDS

    def log_message(self, *_: object) -> None:
        """Logs nothing."""


class _BoundedServer(ThreadingMixIn, WSGIServer):
    """A thread for each connection, and no more than `MAX_CONNECTIONS` of them."""

    daemon_threads = True

    def __init__(self, *arguments: object) -> None:
        self._places = BoundedSemaphore(MAX_CONNECTIONS)
        super().__init__(*arguments)  # type: ignore[arg-type] # as `make_server` calls it.

    def process_request(self, request: _Request, client_address: object) -> None:
        if not self._places.acquire(blocking=False):
            self.shutdown_request(request)
            return
        try:
            super().process_request(request, client_address)
        except RuntimeError:
            # No thread could be started.
            self._places.release()
            raise

    def process_request_thread(self, request: _Request, client_address: object) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._places.release()

    def handle_error(self, request: _Request, client_address: object) -> None:
        """Ignores a client that leaves early or stays silent; a traceback would follow."""


class _BoundedServer6(_BoundedServer):
    address_family = socket.AF_INET6


def _start_server(host: str, port: int, registry: CollectorRegistry) -> WSGIServer:
    [first, *_] = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    kind = _BoundedServer6 if first[0] == socket.AF_INET6 else _BoundedServer
    return make_server(str(first[4][0]), port, make_wsgi_app(registry), kind, _Handler)
