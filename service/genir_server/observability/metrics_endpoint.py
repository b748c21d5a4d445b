"""Serves the metrics over HTTP on a port of their own: ours, vLLM's and the process's together."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prometheus_client import REGISTRY, CollectorRegistry, start_http_server

if TYPE_CHECKING:
    from threading import Thread
    from wsgiref.simple_server import WSGIServer


class MetricsEndpoint:
    """A thread that answers GET with the text format of Prometheus.

    vLLM registers its metrics (`vllm:…`) in the library's global registry, in this process.

    Args:
        registry: our own metrics.
        host: address to listen on.
        port: TCP port; 0 takes a free one.

    Raises:
        OSError: the address cannot be listened on.
    """

    def __init__(self, registry: CollectorRegistry, host: str, port: int) -> None:
        together = CollectorRegistry()
        together.register(registry)
        together.register(REGISTRY)
        self._server: WSGIServer
        self._thread: Thread
        self._server, self._thread = start_http_server(port, host, together)

    @property
    def port(self) -> int:
        """The port that is open."""
        return int(self._server.server_port)

    def close(self) -> None:
        """Closes the port."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
