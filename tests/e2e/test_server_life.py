"""One server from loading to Ctrl-C. The tests run in this order."""

from __future__ import annotations

import json
import signal
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from jsonschema import Draft202012Validator

from bench.support.server_process import ServerProcess, still_running
from bench.support.tiny_server import NO_RETRIES, TinyServer, text_schema
from genir import IRClient, UnavailableError
from genir.schemas import builtin_ir_schema
from genir.types import Completed, Phase, TextDelta
from genir.v1 import generation_pb2, ir_service_pb2, ir_service_pb2_grpc, status_pb2
from tests.support.calls import SMALL_SCHEMA, refusal_from

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

NAMES = ("", "genir.v1.IRService", "readiness")
SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
SEVERAL_SECONDS = text_schema(1500, 1600)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TinyServer]:
    """A server that has just opened its port. Nothing has waited for the model."""
    process = TinyServer(tmp_path_factory.mktemp("life"), "--drain-timeout", "200")
    yield process
    process.close()


@pytest.fixture(scope="module")
def channel(server: TinyServer) -> Iterator[grpc.Channel]:
    with grpc.insecure_channel(server.target) as channel:
        yield channel


@pytest.fixture(scope="module")
def stub(channel: grpc.Channel) -> ir_service_pb2_grpc.IRServiceStub:
    return ir_service_pb2_grpc.IRServiceStub(channel)


def test_calls_are_refused_until_the_engine_has_answered(
    server: TinyServer, channel: grpc.Channel, stub: ir_service_pb2_grpc.IRServiceStub
) -> None:
    assert server.health_status("liveness") == SERVING
    for name in NAMES:
        assert server.health_status(name) == NOT_SERVING

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
        assert (refusal.code, refusal.reason) == (grpc.StatusCode.UNAVAILABLE, "MODEL_LOADING")
        assert refusal.retry_seconds

    health: Any = health_pb2_grpc.HealthStub(channel)
    watch = health.Watch(health_pb2.HealthCheckRequest(service="readiness"), timeout=600)
    assert next(watch).status == NOT_SERVING
    phases = []
    with IRClient(server.target) as client:
        ready = client.wait_ready(
            600, on_progress=lambda seen: phases.append(seen.phase if seen else None)
        )
    assert next(watch).status == SERVING
    watch.cancel()
    assert Phase.LOADING_MODEL in phases
    assert ready.phase is Phase.READY
    # Of the constrained generation that precedes readiness.
    assert ready.activity.last_step_time is not None
    assert ready.structured_output_backend == "guidance"
    for name in (*NAMES, "liveness"):
        assert server.health_status(name) == SERVING


def test_warmup_returns_its_ir_and_caches_it(stub: ir_service_pb2_grpc.IRServiceStub) -> None:
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

    forced = stub.Warmup(ir_service_pb2.WarmupRequest(force=True), timeout=300)
    assert not forced.already_warm
    assert json.loads(forced.ir_json)["signature"]["name"]


def test_warmup_caches_the_schemas_it_is_given(stub: ir_service_pb2_grpc.IRServiceStub) -> None:
    texts = [json.dumps(SMALL_SCHEMA), '{"type":"nil"}']
    warmed = stub.Warmup(ir_service_pb2.WarmupRequest(json_schemas=texts), timeout=300)
    assert warmed.already_warm
    cached, refused = warmed.schemas
    assert refused.refusal.reason == status_pb2.ERROR_REASON_SCHEMA_INVALID
    assert refused.refusal.metadata["pointer"] == "/type"
    known = ir_service_pb2.CheckSchemaRequest(schema_digest=cached.schema_digest)
    assert stub.CheckSchema(known, timeout=60).cached


def test_ctrl_c_drains_the_stream_in_flight(server: TinyServer) -> None:
    processes = server.descendants()
    with IRClient(server.target, retry=NO_RETRIES) as client:
        with client.stream("Write.", schema=SEVERAL_SECONDS, max_tokens=2000) as events:
            iterator = iter(events)
            while not isinstance(next(iterator), TextDelta):
                pass
            # A terminal sends Ctrl-C to every process of the group.
            server.send_to_group(signal.SIGINT)
            while client.health().phase is not Phase.DRAINING:
                pass
            with pytest.raises(UnavailableError) as refused:
                client.generate("Too late.")
            assert refused.value.reason == "DRAINING"
            assert refused.value.code is grpc.StatusCode.UNAVAILABLE
            last = list(iterator)[-1]
        assert isinstance(last, Completed)
        assert len(json.loads(last.result.ir_json)["text"]) >= 1500
    assert server.wait(60) == 0
    alive = still_running(processes, 5)
    assert not alive, f"left behind: {alive}"


def test_sigterm_while_the_model_loads_ends_the_server(tmp_path: Path) -> None:
    server = ServerProcess(tmp_path)
    try:
        server.send(signal.SIGTERM)
        assert server.wait(30) == 0
    finally:
        server.close()


def test_unreachable_server_is_unavailable() -> None:
    with IRClient("127.0.0.1:1") as client, pytest.raises(UnavailableError):
        client.health(timeout=2)
