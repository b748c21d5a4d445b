"""The metrics port: HTTP in Prometheus's text format, with metrics of genir, vLLM and process."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prometheus_client import REGISTRY, CollectorRegistry, start_http_server

if TYPE_CHECKING:
    from threading import Thread
    from wsgiref.simple_server import WSGIServer


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
        self._server: WSGIServer
        self._thread: Thread
        try:
            self._server, self._thread = start_http_server(port, host, combined)
        except OSError as error:
            raise MetricsPortError(
                f"cannot serve metrics on {host}:{port}: {error.strerror}"
            ) from error

    @property
    def port(self) -> int:
        """The open port."""
        return int(self._server.server_port)

    def close(self) -> None:
        """Closes the port."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
