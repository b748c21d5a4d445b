"""The telemetry of a server: call log, metrics, traces and the metrics port."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING

import structlog

from genir_server.observability.call_log import CallLog
from genir_server.observability.metrics import Metrics
from genir_server.observability.metrics_endpoint import MetricsEndpoint
from genir_server.observability.versions import installed_versions

if TYPE_CHECKING:
    from genir_server.admission import Admission
    from genir_server.observability.call_record import CallObserver
    from genir_server.observability.tracing import CallTracing
    from genir_server.supervision.lifecycle import Lifecycle

TRACE_FLUSH_SECONDS = 5.0
"""How long sending the last traces may delay the exit."""

log = structlog.get_logger("genir.server")


class TracingUnavailableError(Exception):
    """Traces are configured, but their packages are not installed."""


class Telemetry:
    """The observers of a server's calls, and its metrics port.

    Args:
        lifecycle: the phase of the server, and its engine.
        admission: counts the calls in flight and in the queue.
        model: name of the model, a label of the metrics.
        configured_backend: the configured structured-output backend, a label of the metrics.
        metrics_host: address of the metrics port.
        metrics_port: TCP port of the metrics; 0 chooses a free one, None opens none.
        otlp_endpoint: where traces are sent; None for no traces.

    Raises:
        TracingUnavailableError: traces are configured, but their packages are not installed.

    Attributes:
        metrics: the metrics of the server.
        observers: notified of every call.
    """

    def __init__(
        self,
        lifecycle: Lifecycle,
        admission: Admission,
        *,
        model: str,
        configured_backend: str,
        metrics_host: str = "127.0.0.1",
        metrics_port: int | None = None,
        otlp_endpoint: str | None = None,
    ) -> None:
        self._host = metrics_host
        self._port = metrics_port
        self._endpoint: MetricsEndpoint | None = None
        self.metrics = Metrics(
            lifecycle,
            admission,
            model=model,
            configured_backend=configured_backend,
            versions=installed_versions(),
        )
        self._tracing = make_tracing(otlp_endpoint)
        self.observers: list[CallObserver] = [CallLog(), self.metrics]
        if self._tracing is not None:
            self.observers.append(self._tracing)

    def open_port(self) -> None:
        """Opens the metrics port, if one is configured.

        Raises:
            MetricsPortError: the address is in use or does not belong to this host.
        """
        if self._port is not None:
            self._endpoint = MetricsEndpoint(self.metrics.registry, self._host, self._port)
            log.info("serving metrics", host=self._host, port=self._endpoint.port)

    async def close(self) -> None:
        """Closes the metrics port and sends the last traces."""
        if self._endpoint is not None:
            self._endpoint.close()
        if self._tracing is not None:
            # A slow collector must not use up the pod's termination grace period.
            with suppress(TimeoutError):
                async with asyncio.timeout(TRACE_FLUSH_SECONDS):
                    await asyncio.to_thread(self._tracing.close)


def make_tracing(endpoint: str | None) -> CallTracing | None:
    """Makes the observer that sends traces to this OTLP endpoint; None without an endpoint.

    Raises:
        TracingUnavailableError: its packages are not installed.
    """
    if endpoint is None:
        return None
    try:
        from genir_server.observability.tracing import CallTracing
    except ImportError as error:
        raise TracingUnavailableError(
            f"--otlp-endpoint: traces need more packages ({error}): pip install 'genir[otel]'"
        ) from error
    return CallTracing(endpoint, installed_versions()["genir"])
