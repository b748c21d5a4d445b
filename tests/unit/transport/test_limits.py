"""The transport's limits: what is ours answers with details, what is grpc-core's answers bare."""

from __future__ import annotations

import asyncio
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from genir.v1 import generation_pb2, ir_service_pb2
from tests.support.http2 import RawCaller
from tests.support.in_process_server import (
    GOOD,
    REQUEST,
    STREAM_REQUEST,
    HeldEngine,
    refusal,
    serving,
)

EXHAUSTED = grpc.StatusCode.RESOURCE_EXHAUSTED


def sized(size: int) -> ir_service_pb2.GenerateIRRequest:
    return ir_service_pb2.GenerateIRRequest(spec=generation_pb2.GenerationSpec(prompt="x" * size))


async def test_message_over_the_transport_limit_gets_a_status_without_details() -> None:
    async with (
        serving(max_message_bytes=1 << 16) as served,
        grpc.aio.insecure_channel(served.target) as channel,
    ):
        stub = served.stub(channel)
        for call in (
            stub.GenerateIR(sized(1 << 17)),
            stub.StreamIR(ir_service_pb2.StreamIRRequest(spec=sized(1 << 17).spec)),
        ):
            code, reason, message = await refusal(call)
            assert (code, reason) == (EXHAUSTED, "")
            assert "65536" in message
        assert (await stub.GenerateIR(REQUEST)).ir_json == GOOD


async def test_input_over_the_service_limit_gets_a_status_with_details() -> None:
    async with serving() as served, grpc.aio.insecure_channel(served.target) as channel:
        code, reason, message = await refusal(served.stub(channel).GenerateIR(sized(2 << 20)))
    assert (code, reason) == (grpc.StatusCode.INVALID_ARGUMENT, "PROMPT_TOO_LONG")
    assert "1048576" in message


@pytest.mark.parametrize("size", [9_000, 15_000])
async def test_metadata_up_to_the_limit_passes_every_time(size: int) -> None:
    """Between grpc-core's own two limits it would be refused at random."""
    async with serving() as served, grpc.aio.insecure_channel(served.target) as channel:
        for _ in range(20):
            call = served.stub(channel).GenerateIR(REQUEST, metadata=(("x-large", "a" * size),))
            assert (await call).ir_json == GOOD


async def test_metadata_over_the_limit_gets_a_status_without_details() -> None:
    async with serving() as served, grpc.aio.insecure_channel(served.target) as channel:
        call = served.stub(channel).GenerateIR(REQUEST, metadata=(("x-large", "a" * 17_000),))
        code, reason, message = await refusal(call)
    assert (code, reason) == (EXHAUSTED, "")
    assert "metadata" in message


async def test_calls_over_the_stream_limit_wait_at_the_client() -> None:
    engine = HeldEngine(*[GOOD] * 8)
    async with (
        serving(engine, max_streams_per_connection=1) as served,
        grpc.aio.insecure_channel(served.target) as channel,
    ):
        stub = served.stub(channel)
        first = stub.StreamIR(STREAM_REQUEST)
        assert (await first.read()).WhichOneof("event") == "accepted"
        second = stub.GenerateIR(REQUEST)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(asyncio.shield(second.wait_for_connection()), 0.5)
        engine.release.set()
        while await first.read() is not grpc.aio.EOF:
            pass
        assert (await second).ir_json == GOOD


async def test_connection_age_limit_loses_no_call() -> None:
    engine = HeldEngine(*[GOOD] * 64)
    async with (
        serving(engine, max_connection_age=0.5) as served,
        grpc.aio.insecure_channel(served.target) as channel,
    ):
        stub = served.stub(channel)
        long = stub.StreamIR(STREAM_REQUEST)
        assert (await long.read()).WhichOneof("event") == "accepted"
        for _ in range(15):
            assert (await stub.GenerateIR(REQUEST)).ir_json == GOOD
            await asyncio.sleep(0.1)
        engine.release.set()
        events = []
        while (event := await long.read()) is not grpc.aio.EOF:
            events.append(event.WhichOneof("event"))
        assert events[-1] == "completed"

        def seen() -> bool:
            with RawCaller(served.target) as caller:
                caller.events(5)
                return caller.gone

        assert await asyncio.to_thread(seen)


async def test_undecodable_bytes_to_standard_services_are_invalid_argument() -> None:
    async with serving() as served, grpc.aio.insecure_channel(served.target) as channel:
        one: Any = channel.unary_unary("/grpc.health.v1.Health/Check")
        many: Any = channel.unary_stream("/grpc.health.v1.Health/Watch")
        both: Any = channel.stream_stream(
            "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo"
        )
        for call in (one(b"\xff\xff"), many(b"\xff\xff"), both(iter([b"\xff\xff"]))):
            code, reason, message = await refusal(call)
            assert (code, reason) == (grpc.StatusCode.INVALID_ARGUMENT, "MESSAGE_UNDECODABLE")
            assert "DecodeError" not in message
        health: Any = health_pb2_grpc.HealthStub(channel)
        code, _, _ = await refusal(health.Check(health_pb2.HealthCheckRequest(service="none")))
        assert code is grpc.StatusCode.NOT_FOUND
