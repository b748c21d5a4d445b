"""When CheckSchema and the schemas of a warm-up are answered, over a real channel."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import grpc
import pytest

from genir.v1 import generation_pb2, ir_service_pb2, ir_service_pb2_grpc
from genir_server.admission import Admission, AdmissionLimits
from genir_server.core.schema_check import SchemaChecker
from genir_server.domain.limits import RequestLimits
from genir_server.settings import ServerSettings
from genir_server.supervision.lifecycle import Lifecycle, Phase
from genir_server.transport.interceptor import CallInterceptor
from genir_server.transport.server import StandardHealth, bind, build_server, start
from genir_server.transport.servicer import IRServicer
from tests.support.scripted_engine import TEXT_SCHEMA, Schemas, ScriptedEngine, prepared
from tests.support.transport_server import failure

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

CHECK = ir_service_pb2.CheckSchemaRequest(json_schema=TEXT_SCHEMA)


@pytest.fixture
def lifecycle() -> Lifecycle:
    return Lifecycle()


@asynccontextmanager
async def serving(lifecycle: Lifecycle, admission: Admission) -> AsyncIterator[Any]:
    servicer = IRServicer(
        lifecycle,
        admission,
        model="scripted",
        configured_backend="guidance",
        limits=RequestLimits(),
    )
    settings = ServerSettings.model_validate({})
    calls = CallInterceptor(60.0)
    server = build_server(settings, servicer, StandardHealth(lifecycle), calls)
    port = bind(server, "127.0.0.1", 0)
    await start(server, servicer, calls)
    try:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            yield ir_service_pb2_grpc.IRServiceStub(channel)
    finally:
        await server.stop(0)


def bring_workers_up(lifecycle: Lifecycle) -> None:
    schema = prepared()
    lifecycle.schema_checker = SchemaChecker(Schemas(schema), schema, ScriptedEngine())


async def test_schema_checks_are_answered_once_the_workers_are_ready(lifecycle: Lifecycle) -> None:
    async with serving(lifecycle, Admission(AdmissionLimits(max_calls=8))) as stub:
        lifecycle.enter(Phase.LOADING_MODEL, "loads")
        _, reason, _ = await failure(stub.CheckSchema(CHECK))
        assert reason == "MODEL_LOADING"
        assert not (await stub.Health(ir_service_pb2.HealthRequest())).HasField("schema_cache")

        bring_workers_up(lifecycle)
        lifecycle.enter(Phase.WARMING_UP, "warms up")
        answer = await stub.CheckSchema(CHECK)
        assert answer.schema_digest == prepared().digest
        assert answer.request_id.startswith("gen-")
        assert (await stub.Health(ir_service_pb2.HealthRequest())).schema_cache.entries == 1
        request = ir_service_pb2.GenerateIRRequest(spec=generation_pb2.GenerationSpec(prompt="hi"))
        _, reason, _ = await failure(stub.GenerateIR(request))
        assert reason == "MODEL_LOADING"

        lifecycle.enter(Phase.DRAINING, "goes down")
        code, reason, _ = await failure(stub.CheckSchema(CHECK))
        assert (code, reason) == (grpc.StatusCode.UNAVAILABLE, "DRAINING")


async def test_schema_check_does_not_count_as_a_generate_call(lifecycle: Lifecycle) -> None:
    bring_workers_up(lifecycle)
    admission = Admission(AdmissionLimits(max_calls=1))
    async with serving(lifecycle, admission) as stub:
        with admission.admit():
            assert (await stub.CheckSchema(CHECK)).schema_digest == prepared().digest


async def test_warm_up_with_too_many_schemas_is_refused_without_the_engine(
    lifecycle: Lifecycle,
) -> None:
    async with serving(lifecycle, Admission(AdmissionLimits(max_calls=8))) as stub:
        request = ir_service_pb2.WarmupRequest(json_schemas=["{}"] * 65)
        code, reason, message = await failure(stub.Warmup(request, timeout=10))
    assert (code, reason) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_FIELD")
    assert "at most 64, not 65" in message
