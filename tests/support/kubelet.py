"""Probes a server as a kubelet does: gRPC health checks with the periods of a manifest."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

if TYPE_CHECKING:
    from types import TracebackType


@dataclass
class ProbeState:
    """The results of the probes, with times on the monotonic clock."""

    started_at: float | None = None
    ready: bool = False
    changes: list[tuple[float, bool]] = field(default_factory=list)
    restarts_wanted: list[tuple[float, str]] = field(default_factory=list)


class Kubelet:
    """Runs the probes of a container against a server until it is closed; use it in ``with``.

    Liveness and readiness begin once the startup probe has succeeded. A probe counts as failed
    after `failureThreshold` failures in a row; readiness is back after one success.

    Args:
        target: address of the server.
        container: the container of the manifest.
    """

    def __init__(self, target: str, container: dict[str, Any]) -> None:
        self.state = ProbeState()
        self._target = target
        self._over = threading.Event()
        self._changed = threading.Condition()
        self._threads = [
            threading.Thread(target=self._startup, args=(container["startupProbe"],)),
            threading.Thread(target=self._liveness, args=(container["livenessProbe"],)),
            threading.Thread(target=self._readiness, args=(container["readinessProbe"],)),
        ]
        self._started = threading.Event()
        for thread in self._threads:
            thread.start()

    def wait_for(self, *, ready: bool, seconds: float) -> float:
        """Waits for that readiness. Returns the time of the change."""
        with self._changed:
            if not self._changed.wait_for(lambda: self.state.ready is ready, seconds):
                raise TimeoutError(f"ready is not {ready} after {seconds} s: {self.state}")
            return self.state.changes[-1][0]

    def wait_for_restart(self, seconds: float) -> float:
        """Waits until a probe has failed often enough for a restart. Returns the time."""
        with self._changed:
            if not self._changed.wait_for(lambda: bool(self.state.restarts_wanted), seconds):
                raise TimeoutError(f"no restart was wanted within {seconds} s")
            return self.state.restarts_wanted[0][0]

    def _startup(self, probe: dict[str, Any]) -> None:
        if self._until_failed(probe, until_success=True):
            self.state.started_at = time.monotonic()
            self._started.set()
        else:
            self._want_restart("startup")

    def _liveness(self, probe: dict[str, Any]) -> None:
        if self._wait_started() and not self._until_failed(probe):
            self._want_restart("liveness")

    def _readiness(self, probe: dict[str, Any]) -> None:
        failures = 0
        going = self._wait_started()
        while going:
            failures = 0 if self._check(probe) else failures + 1
            if not failures:
                self._set_ready(ready=True)
            elif failures >= probe["failureThreshold"]:
                self._set_ready(ready=False)
            going = not self._over.wait(probe["periodSeconds"])

    def _until_failed(self, probe: dict[str, Any], *, until_success: bool = False) -> bool:
        """Probes until the failure threshold (False), or until a success or the end (True)."""
        failures = 0
        while not self._over.is_set():
            failures = 0 if self._check(probe) else failures + 1
            if failures >= probe["failureThreshold"]:
                return False
            if until_success and not failures:
                return True
            self._over.wait(probe["periodSeconds"])
        return True

    def _check(self, probe: dict[str, Any]) -> bool:
        # A new connection for each probe, as a kubelet opens it.
        with grpc.insecure_channel(self._target) as channel:
            stub: Any = health_pb2_grpc.HealthStub(channel)
            request = health_pb2.HealthCheckRequest(service=probe["grpc"]["service"])
            try:
                answer = stub.Check(request, timeout=probe["timeoutSeconds"])
            except grpc.RpcError:
                return False
            serving: bool = answer.status == health_pb2.HealthCheckResponse.SERVING
            return serving

    def _wait_started(self) -> bool:
        while not self._over.is_set():
            if self._started.wait(0.1):
                return True
        return False

    def _set_ready(self, *, ready: bool) -> None:
        if ready is not self.state.ready:
            with self._changed:
                self.state.ready = ready
                self.state.changes.append((time.monotonic(), ready))
                self._changed.notify_all()

    def _want_restart(self, probe: str) -> None:
        with self._changed:
            self.state.restarts_wanted.append((time.monotonic(), probe))
            self._changed.notify_all()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()
