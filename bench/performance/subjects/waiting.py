"""Waits for a server's standard health service."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import grpc
from grpc_health.v1 import health_pb2

from bench.performance.server import last_lines
from bench.performance.subjects.base import READY_SECONDS

if TYPE_CHECKING:
    from bench.performance.server import Server

_PAUSE = 0.02


async def until_serving(
    health: Any,  # noqa: ANN401 - generated without types.
    request: health_pb2.HealthCheckRequest,
    server: Server,
) -> None:
    """Waits until the service of the request is SERVING.

    Raises:
        RuntimeError: the server ended. The message has the end of its log.
        TimeoutError: it took too long.
    """
    async with asyncio.timeout(READY_SECONDS):
        while True:
            try:
                answer = await health.Check(request, timeout=5, wait_for_ready=True)
            except grpc.aio.AioRpcError:
                check_alive(server)
            else:
                if answer.status == health_pb2.HealthCheckResponse.SERVING:
                    return
            await asyncio.sleep(_PAUSE)


def check_alive(server: Server) -> None:
    """Raises RuntimeError with the end of the log if the server has ended."""
    if not server.process.is_running() or server.process.status() == "zombie":
        raise RuntimeError(f"the server ended: {last_lines(server.log)}")
