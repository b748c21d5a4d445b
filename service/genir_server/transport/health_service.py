"""The standard health service, `grpc.health.v1`.

grpcio's own asyncio servicer has two faults (1.78). All watchers of a name share one condition, and
the first watcher to leave deletes it, so the others get no further updates. A write to one watcher
also delays every change of status.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

if TYPE_CHECKING:
    from typing import Any

    Context = grpc.aio.ServicerContext[Any, Any]
    # One of HealthCheckResponse.ServingStatus, whose stubs name no type.
    Status = int


class HealthService(health_pb2_grpc.HealthServicer):
    """Serving statuses by service name, for Check and Watch."""

    def __init__(self) -> None:
        self._statuses: dict[str, Status] = {}
        self._change = asyncio.Event()
        self._final = False

    async def Check(  # noqa: N802 - the name in the contract.
        self, request: health_pb2.HealthCheckRequest, context: Context
    ) -> health_pb2.HealthCheckResponse:
        """The status of one name; NOT_FOUND for an unknown name."""
        status = self._statuses.get(request.service)
        if status is None:
            await context.abort(grpc.StatusCode.NOT_FOUND)
        return health_pb2.HealthCheckResponse(status=status)

    async def Watch(  # noqa: N802 - the name in the contract.
        self, request: health_pb2.HealthCheckRequest, context: Context
    ) -> None:
        """Sends the status of one name now and after each change.

        Ends when the client leaves, and after the final status of `stop`: gRPC waits for open
        streams before it closes the port. A change that is reverted while the previous one is being
        written is not sent.
        """
        sent: Status | None = None
        while True:
            change = self._change
            status = self._statuses.get(
                request.service, health_pb2.HealthCheckResponse.SERVICE_UNKNOWN
            )
            if status != sent:
                await context.write(health_pb2.HealthCheckResponse(status=status))
                sent = status
            elif self._final:
                return
            else:
                await change.wait()

    def set(self, name: str, status: Status) -> None:
        """Sets the status of a name. Has no effect after `stop`."""
        if not self._final:
            self._statuses[name] = status
            self._notify()

    def stop(self) -> None:
        """Sets every name to NOT_SERVING permanently."""
        self._final = True
        self._statuses = dict.fromkeys(self._statuses, health_pb2.HealthCheckResponse.NOT_SERVING)
        self._notify()

    def _notify(self) -> None:
        self._change.set()
        self._change = asyncio.Event()
