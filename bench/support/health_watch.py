"""Records the changes of a server's standard health status."""

from __future__ import annotations

import threading
import time
from typing import Any, Self

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc


class HealthWatch:
    """Follows `Watch` of the standard health service and records each status with its time."""

    def __init__(self, target: str, name: str) -> None:
        self.name = name
        self._channel = grpc.insecure_channel(target)
        stub: Any = health_pb2_grpc.HealthStub(self._channel)
        self._call = stub.Watch(health_pb2.HealthCheckRequest(service=name))
        self.seen: list[tuple[float, int]] = []
        self._thread = threading.Thread(target=self._follow)
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._call.cancel()
        self._thread.join()
        self._channel.close()

    def not_serving_at(self, since: float) -> float:
        """When the status first became NOT_SERVING after `since`, on the monotonic clock."""
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:
            for moment, status in tuple(self.seen):
                if moment >= since and status == health_pb2.HealthCheckResponse.NOT_SERVING:
                    return moment
            time.sleep(0.01)
        raise AssertionError(f"{self.name} is still serving: {self.seen}")

    def _follow(self) -> None:
        try:
            for answer in self._call:
                self.seen.append((time.monotonic(), answer.status))
        except grpc.RpcError:
            return


class ReadinessWatch(HealthWatch):
    """Follows readiness."""

    def __init__(self, target: str) -> None:
        super().__init__(target, "readiness")
