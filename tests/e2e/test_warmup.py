"""Ready means that the engine has answered; Warmup shows what it answered."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from grpc_health.v1 import health_pb2, health_pb2_grpc
from jsonschema import Draft202012Validator

from bench.support.server_process import ServerProcess
from genir import IRClient
from genir.schemas import builtin_ir_schema
from genir.types import Phase

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

import grpc
import pytest

from genir import UnavailableError
from genir.v1 import generation_pb2, ir_service_pb2, ir_service_pb2_grpc, status_pb2
from tests.support.calls import SMALL_SCHEMA, refusal_from


@pytest.fixture
def loading_server(tmp_path: Path) -> Iterator[ServerProcess]:
    process = ServerProcess(tmp_path)
    yield process
    process.close()


def assert_schemas_are_kept_ready(stub: ir_service_pb2_grpc.IRServiceStub) -> None:
    texts = [json.dumps(SMALL_SCHEMA), '{"type":"nil"}']
    third = stub.Warmup(ir_service_pb2.WarmupRequest(json_schemas=texts), timeout=300)
    assert third.already_warm
    kept, refused = third.schemas
    assert refused.refusal.reason == status_pb2.ERROR_REASON_SCHEMA_INVALID
    assert refused.refusal.metadata["pointer"] == "/type"
    known = ir_service_pb2.CheckSchemaRequest(schema_digest=kept.schema_digest)
    assert stub.CheckSchema(known, timeout=60).cached


def test_health_becomes_true_only_after_the_engine_answers_and_warmup_shows_what(
    loading_server: ServerProcess,
) -> None:
    with grpc.insecure_channel(loading_server.target) as channel:
        health: Any = health_pb2_grpc.HealthStub(channel)
        stub = ir_service_pb2_grpc.IRServiceStub(channel)

        def standard(name: str) -> Any:
            return health.Check(health_pb2.HealthCheckRequest(service=name), timeout=60).status

        assert standard("liveness") == health_pb2.HealthCheckResponse.SERVING
        for name in ("", "genir.v1.IRService", "readiness"):
            assert standard(name) == health_pb2.HealthCheckResponse.NOT_SERVING

        answer = stub.Health(ir_service_pb2.HealthRequest(deep=True), timeout=60)
        assert not answer.ready
        assert answer.ir_json == ""
        assert answer.message
        request = ir_service_pb2.GenerateIRRequest(
            spec=generation_pb2.GenerationSpec(prompt="too early")
        )
        with pytest.raises(grpc.RpcError) as early:
            stub.GenerateIR(request, timeout=60)
        with pytest.raises(grpc.RpcError) as early_check:
            stub.CheckSchema(ir_service_pb2.CheckSchemaRequest(), timeout=60)
        for refusal in (refusal_from(early.value), refusal_from(early_check.value)):
            assert (refusal.code, refusal.reason) == (
                grpc.StatusCode.UNAVAILABLE,
                "MODEL_LOADING",
            )
            assert refusal.retry_seconds

        watch = health.Watch(health_pb2.HealthCheckRequest(service="readiness"), timeout=600)
        assert next(watch).status == health_pb2.HealthCheckResponse.NOT_SERVING

        phases = []
        with IRClient(loading_server.target) as client:
            ready = client.wait_ready(
                600, on_progress=lambda seen: phases.append(seen.phase if seen else None)
            )
        assert next(watch).status == health_pb2.HealthCheckResponse.SERVING
        watch.cancel()
        assert Phase.LOADING_MODEL in phases
        assert ready.phase is Phase.READY
        # The one constrained generation that came before.
        assert ready.activity.last_step_time is not None
        assert ready.structured_output_backend == "guidance"
        for name in ("", "genir.v1.IRService", "readiness", "liveness"):
            assert standard(name) == health_pb2.HealthCheckResponse.SERVING

        first = stub.Warmup(ir_service_pb2.WarmupRequest(), timeout=300)
        assert not first.already_warm
        assert first.usage.completion_tokens > 0
        assert first.structured_output_backend == "guidance"
        ir = json.loads(first.ir_json)
        assert len(ir["intent"]["summary"]) >= 10
        assert ir["signature"]["name"]
        Draft202012Validator(builtin_ir_schema()).validate(ir)

        second = stub.Warmup(ir_service_pb2.WarmupRequest(), timeout=300)
        assert second.already_warm
        assert second.ir_json == first.ir_json
        assert second.elapsed.ToTimedelta() < first.elapsed.ToTimedelta() / 10

        assert_schemas_are_kept_ready(stub)

        forced = stub.Warmup(ir_service_pb2.WarmupRequest(force=True), timeout=300)
        assert not forced.already_warm
        assert json.loads(forced.ir_json)["signature"]["name"]


def test_an_unreachable_server_is_unavailable() -> None:
    with IRClient("127.0.0.1:1") as client, pytest.raises(UnavailableError):
        client.health(timeout=2)
