"""The standard health service, `grpc.health.v1`.

grpcio has one for asyncio. In it, a watcher that leaves takes the others' notifications along: they
share a condition that the first to leave deletes (1.78), so that a load balancer behind another one
would not hear of a server that went away. It also holds up every change while one watcher is
written to.
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
    """Statuses by name, told to whoever asks and to whoever watches."""

    def __init__(self) -> None:
        self._statuses: dict[str, Status] = {}
        self._change = asyncio.Event()
        self._final = False

    async def Check(  # noqa: N802 - the name in the contract.
        self, request: health_pb2.HealthCheckRequest, context: Context
    ) -> health_pb2.HealthCheckResponse:
        """The status of one name; NOT_FOUND for one that there is not."""
        status = self._statuses.get(request.service)
        if status is None:
            await context.abort(grpc.StatusCode.NOT_FOUND)
        return health_pb2.HealthCheckResponse(status=status)

    async def Watch(  # noqa: N802 - the name in the contract.
        self, request: health_pb2.HealthCheckRequest, context: Context
    ) -> None:
        """The status of one name, now and after each change, until the caller leaves.

        A change that is undone while the one before is being written is not told.
        """
        told: Status | None = None
        while True:
            change = self._change
            status = self._statuses.get(
                request.service, health_pb2.HealthCheckResponse.SERVICE_UNKNOWN
            )
            if status != told:
                await context.write(health_pb2.HealthCheckResponse(status=status))
                told = status
            await change.wait()

    def set(self, name: str, status: Status) -> None:
        """Changes the status of a name, unless the service has been told to stop."""
        if not self._final:
            self._statuses[name] = status
            self._tell()

    def stop(self) -> None:
        """Turns every name to NOT_SERVING, for good."""
        self._final = True
        self._statuses = dict.fromkeys(self._statuses, health_pb2.HealthCheckResponse.NOT_SERVING)
        self._tell()

    def _tell(self) -> None:
        self._change.set()
        self._change = asyncio.Event()
