"""Health, from the client library, from grpcurl, and as a stream."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from genir.types import Phase
from tests.support.grpcurl import grpcurl

if TYPE_CHECKING:
    import grpc

    from bench.support.server_process import ServerProcess
    from genir import IRClient


def test_reflection_lists_and_describes(server: ServerProcess) -> None:
    listed = grpcurl(server, "list").split()
    assert {"genir.v1.IRService", "grpc.health.v1.Health"} <= set(listed)
    methods = grpcurl(server, "list", "genir.v1.IRService").split()
    assert {name.rpartition(".")[2] for name in methods} >= {
        "GenerateIR",
        "StreamIR",
        "Health",
        "Warmup",
        "CheckSchema",
    }
    assert "json_schema" in grpcurl(server, "describe", "genir.v1.GenerationSpec")


@pytest.mark.parametrize("name", ["", "genir.v1.IRService", "liveness", "readiness"])
def test_standard_health_check_with_grpcurl(server: ServerProcess, name: str) -> None:
    answer = json.loads(grpcurl(server, "grpc.health.v1.Health/Check", data={"service": name}))
    assert answer == {"status": "SERVING"}


def test_generate_with_grpcurl(server: ServerProcess) -> None:
    schema = {
        "type": "object",
        "properties": {"ok": {"type": "boolean"}},
        "required": ["ok"],
        "additionalProperties": False,
    }
    request: dict[str, Any] = {
        "spec": {"prompt": "Are you there?", "json_schema": json.dumps(schema), "temperature": 0}
    }
    answer = json.loads(grpcurl(server, "genir.v1.IRService/GenerateIR", data=request))
    assert isinstance(json.loads(answer["ir_json"])["ok"], bool)


def test_health_with_grpcurl(server: ServerProcess) -> None:
    answer = json.loads(grpcurl(server, "genir.v1.IRService/Health", data={"deep": True}))
    assert answer["phase"] == "PHASE_READY"
    assert answer["structured_output_backend"] == "guidance"
    assert answer["versions"]["vllm"].startswith("0.32.")
    assert len(json.loads(answer["ir_json"])["intent"]["summary"]) >= 10


def test_watch_sends_the_current_status_first(channel: grpc.Channel) -> None:
    stub: Any = health_pb2_grpc.HealthStub(channel)
    watch = stub.Watch(health_pb2.HealthCheckRequest(service="genir.v1.IRService"), timeout=10)
    first = next(iter(watch))
    watch.cancel()
    assert first.status == health_pb2.HealthCheckResponse.SERVING


def test_deep_check_runs_a_generation(client: IRClient) -> None:
    shallow = client.health()
    before = client.health().activity.last_step_time
    deep = client.health(deep=True)
    after = client.health().activity.last_step_time
    assert shallow.ir_json == ""
    assert shallow.phase is Phase.READY
    assert deep.canary_elapsed is not None
    assert deep.ir_json
    assert before is not None
    assert after is not None
    assert after > before
