"""The standard health service over a real channel."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from genir_server.transport.health_service import HealthService

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
UNKNOWN = health_pb2.HealthCheckResponse.SERVICE_UNKNOWN
NAME = "a service"


@asynccontextmanager
async def served() -> AsyncIterator[tuple[HealthService, Any]]:
    service = HealthService()
    server = grpc.aio.server()
    health_pb2_grpc.add_HealthServicer_to_server(service, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            yield service, health_pb2_grpc.HealthStub(channel)
    finally:
        await server.stop(None)


def request(name: str = NAME) -> health_pb2.HealthCheckRequest:
    return health_pb2.HealthCheckRequest(service=name)


async def told(watch: Any) -> int:
    async with asyncio.timeout(5):
        return int((await watch.read()).status)


async def test_a_check() -> None:
    async with served() as (service, stub):
        service.set(NAME, SERVING)
        assert (await stub.Check(request())).status == SERVING
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await stub.Check(request("another"))
        assert refused.value.code() is grpc.StatusCode.NOT_FOUND


async def test_watcher_that_leaves_does_not_affect_other_watchers() -> None:
    async with served() as (service, stub):
        service.set(NAME, SERVING)
        leaves, stays, late = (stub.Watch(request()) for _ in range(3))
        assert [await told(watch) for watch in (leaves, stays, late)] == [SERVING] * 3
        leaves.cancel()
        assert await leaves.code() is grpc.StatusCode.CANCELLED
        await asyncio.sleep(0.1)
        service.set(NAME, NOT_SERVING)
        assert [await told(stays), await told(late)] == [NOT_SERVING] * 2
        service.set(NAME, SERVING)
        assert [await told(stays), await told(late)] == [SERVING] * 2


async def test_unknown_name_can_be_watched() -> None:
    async with served() as (service, stub):
        watch = stub.Watch(request())
        assert await told(watch) == UNKNOWN
        service.set("another", SERVING)
        service.set(NAME, SERVING)
        assert await told(watch) == SERVING


async def test_stop_is_permanent() -> None:
    async with served() as (service, stub):
        service.set(NAME, SERVING)
        watch = stub.Watch(request())
        assert await told(watch) == SERVING
        service.stop()
        service.set(NAME, SERVING)
        assert await told(watch) == NOT_SERVING
        assert (await stub.Check(request())).status == NOT_SERVING


@pytest.mark.parametrize("name", [NAME, "a name that nobody knows"])
async def test_stop_ends_the_watches_after_their_last_status(name: str) -> None:
    async with served() as (service, stub):
        service.set(NAME, SERVING)
        watch = stub.Watch(request(name))
        first = await told(watch)
        service.stop()
        if name == NAME:
            assert (first, await told(watch)) == (SERVING, NOT_SERVING)
        async with asyncio.timeout(5):
            assert await watch.read() is grpc.aio.EOF
            assert await watch.code() is grpc.StatusCode.OK
        async with asyncio.timeout(5):
            late = stub.Watch(request(name))
            assert await told(late) in (NOT_SERVING, UNKNOWN)
            assert await late.read() is grpc.aio.EOF
