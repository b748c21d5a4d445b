"""When CheckSchema and the schemas of a warm-up are answered, over a real channel."""

from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import grpc
import pytest

from genir.v1 import generation_pb2, ir_service_pb2, ir_service_pb2_grpc
from genir_server.admission import Admission, AdmissionLimits
from genir_server.auth.authentication import Authentication
from genir_server.core.schema_check import SchemaChecker
from genir_server.core.self_test import SelfTest
from genir_server.domain.limits import RequestLimits
from genir_server.domain.types import Tightening
from genir_server.settings import ServerSettings
from genir_server.supervision.lifecycle import Lifecycle, Phase
from genir_server.transport.interceptor import CallInterceptor
from genir_server.transport.server import StandardHealth, bind, build_server, start
from genir_server.transport.servicer import IRServicer
from tests.support.in_process_server import bearer, digest
from tests.support.scripted_engine import (
    TEXT_SCHEMA,
    Schemas,
    ScriptedEngine,
    generator_with,
    prepared,
)
from tests.support.transport_server import failure

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from genir_server.schema.types import PreparedSchema

CHECK = ir_service_pb2.CheckSchemaRequest(json_schema=TEXT_SCHEMA)


@pytest.fixture
def lifecycle() -> Lifecycle:
    return Lifecycle()


class HeldSchemas(Schemas):
    """Prepares schemas only once `let` is set."""

    def __init__(self) -> None:
        super().__init__(prepared())
        self.let = asyncio.Event()

    async def prepare(
        self, text: str, caller: str = "", tightening: Tightening = Tightening.NONE
    ) -> PreparedSchema:
        await self.let.wait()
        return await super().prepare(text, caller, tightening)

    def known(self, digest: str) -> PreparedSchema | None:  # noqa: ARG002 - as in its base.
        return None


@asynccontextmanager
async def serving(
    lifecycle: Lifecycle, admission: Admission, authentication: Authentication | None = None
) -> AsyncIterator[Any]:
    servicer = IRServicer(
        lifecycle,
        admission,
        model="scripted",
        configured_backend="guidance",
        limits=RequestLimits(),
    )
    settings = ServerSettings.model_validate({})
    calls = CallInterceptor(60.0, authentication)
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


@pytest.fixture
def authentication(tmp_path: Path) -> Authentication:
    path = tmp_path / "callers.toml"
    path.write_text(
        "".join(
            f'[callers.{name}]\ntokens = ["{digest(name)}"]\npermissions = ["generate", "warmup"]\n'
            for name in ("flooding", "other")
        )
    )
    return Authentication(path)


@pytest.mark.parametrize("method", ["CheckSchema", "Warmup", "Warmup before the server is ready"])
async def test_calls_of_one_caller_leave_room_for_others(
    lifecycle: Lifecycle, authentication: Authentication, method: str
) -> None:
    engine, schemas = ScriptedEngine(*['{"a":1}'] * 9), HeldSchemas()
    lifecycle.schema_checker = SchemaChecker(schemas, prepared(), engine)
    generator = generator_with(engine, schemas, prepared())
    lifecycle.attach(generator, SelfTest(generator))
    if method != "Warmup before the server is ready":
        lifecycle.enter(Phase.READY, "ready")
    warm_up = ir_service_pb2.WarmupRequest(json_schemas=[TEXT_SCHEMA])

    async with serving(lifecycle, Admission(AdmissionLimits()), authentication) as stub:

        def call(caller: str) -> asyncio.Task[grpc.StatusCode]:
            made = (
                stub.CheckSchema(CHECK, metadata=bearer(caller))
                if method == "CheckSchema"
                else stub.Warmup(warm_up, metadata=bearer(caller))
            )
            return asyncio.create_task(made.code())

        flood = [call("flooding") for _ in range(70)]
        async with asyncio.timeout(30):
            while sum(each.done() for each in flood) < 6:  # noqa: ASYNC110 - no event for it.
                await asyncio.sleep(0.01)
        others = [call("other") for _ in range(20)]
        await asyncio.sleep(0.1)
        assert not any(each.done() for each in others)
        schemas.let.set()
        lifecycle.enter(Phase.READY, "ready")
        assert set(await asyncio.gather(*others)) == {grpc.StatusCode.OK}
        assert Counter(await asyncio.gather(*flood)) == {
            grpc.StatusCode.OK: 64,
            grpc.StatusCode.RESOURCE_EXHAUSTED: 6,
        }
