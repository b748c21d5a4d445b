"""What a server shows of itself, put together from the settings: log lines, metrics, traces."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING

import structlog
from pydantic_settings import SettingsError

from genir_server.observability.call_log import CallLog
from genir_server.observability.metrics import Metrics
from genir_server.observability.metrics_endpoint import MetricsEndpoint
from genir_server.observability.versions import installed_versions
from genir_server.transport.server import BindError

if TYPE_CHECKING:
    from genir_server.admission import Admission
    from genir_server.engine.config import EngineConfig
    from genir_server.observability.call_record import CallObserver
    from genir_server.observability.tracing import CallTracing
    from genir_server.settings import ServerSettings
    from genir_server.supervision.lifecycle import Lifecycle

_TRACES_SECONDS = 5.0

log = structlog.get_logger("genir.server")


class Observation:
    """The observers of a server's calls, and the port of its metrics.

    Args:
        settings: what the operator set.
        config: names the model and the structured-output backend.
        lifecycle: the server's phase, and its engine once there is one.
        admission: counts the calls in flight and those that wait for their turn.

    Raises:
        SettingsError: traces are wanted, and the packages for them are not installed.

    Attributes:
        metrics: what is counted.
        observers: are told of every call.
    """

    def __init__(
        self,
        settings: ServerSettings,
        config: EngineConfig,
        lifecycle: Lifecycle,
        admission: Admission,
    ) -> None:
        self._host = settings.metrics_host
        self._port = settings.metrics_port
        self._endpoint: MetricsEndpoint | None = None
        self.metrics = Metrics(
            lifecycle,
            admission,
            model=config.model_name,
            configured_backend=config.structured_output_backend,
            versions=installed_versions(),
        )
        self._tracing = make_tracing(settings.otlp_endpoint)
        self.observers: list[CallObserver] = [CallLog(), self.metrics]
        if self._tracing is not None:
            self.observers.append(self._tracing)

    def open_port(self) -> None:
        """Serves the metrics from now on, where a port was set.

        Raises:
            BindError: the address is taken or not ours.
        """
        if self._port is None:
            return
        try:
            self._endpoint = MetricsEndpoint(self.metrics.registry, self._host, self._port)
        except OSError as fault:
            raise BindError(
                f"cannot serve metrics on {self._host}:{self._port}: {fault.strerror}"
            ) from fault
        log.info("serving metrics", host=self._host, port=self._endpoint.port)

    async def close(self) -> None:
        """Closes the port and sends the last traces."""
        if self._endpoint is not None:
            self._endpoint.close()
        if self._tracing is not None:
            # Traces are no reason to outlive the time that a pod is given to end.
            with suppress(TimeoutError):
                async with asyncio.timeout(_TRACES_SECONDS):
                    await asyncio.to_thread(self._tracing.close)


def make_tracing(endpoint: str | None) -> CallTracing | None:
    """What traces calls to that OTLP endpoint; None without one.

    Raises:
        SettingsError: the packages for it are not installed.
    """
    if endpoint is None:
        return None
    try:
        from genir_server.observability.tracing import CallTracing
    except ImportError as fault:
        raise SettingsError(
            f"otlp_endpoint: traces need more packages ({fault}): pip install 'genir[otel]'"
        ) from fault
    return CallTracing(endpoint, installed_versions()["genir"])
