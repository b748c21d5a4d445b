"""`health`, `warmup` and `wait_ready`."""

from __future__ import annotations

import time
from collections import deque
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import grpc
import pytest

from genir import EngineActivity, Phase, ServerFaultError, UnavailableError, Usage, Versions
from genir.v1 import generation_pb2, ir_service_pb2, status_pb2
from tests.support.contract_server import DIGEST, MODEL_LOADING, Call, ContractServer

if TYPE_CHECKING:
    from collections.abc import Callable

    from genir import ServerHealth
    from tests.support.client_adapters import Caller
    from tests.support.contract_server import HealthScript


def phase(
    number: status_pb2.Phase.ValueType, message: str = "", *, ready: bool = False
) -> HealthScript:
    def script(call: Call) -> ir_service_pb2.HealthResponse:
        assert call.context.is_active()
        return ir_service_pb2.HealthResponse(phase=number, message=message, ready=ready)

    return script


READY = phase(status_pb2.PHASE_READY, ready=True)
LOADING = phase(status_pb2.PHASE_LOADING_MODEL, "loads the model")


async def test_health_holds_every_field_of_the_response(
    caller: Caller, server: ContractServer
) -> None:
    def script(call: Call) -> ir_service_pb2.HealthResponse:
        request = call.request
        assert isinstance(request, ir_service_pb2.HealthRequest)
        response = ir_service_pb2.HealthResponse(
            phase=status_pb2.PHASE_READY,
            ready=True,
            message="accepts calls",
            model="tiny",
            configured_structured_output_backend="auto",
            structured_output_backend="guidance",
            versions=status_pb2.Versions(genir="0.1.0", vllm="0.32.0"),
            activity=status_pb2.EngineActivity(running=1, waiting=2, calls_in_flight=3),
            ir_json="{}" if request.deep else "",
            lora_adapters=["a"],
            max_model_len=4096,
        )
        response.uptime.FromSeconds(90)
        response.phase_elapsed.FromMilliseconds(1500)
        if request.deep:
            response.canary_elapsed.FromMilliseconds(250)
            response.activity.last_step_time.FromSeconds(1_700_000_000)
        return response

    server.service.healths = deque([script])
    shallow = await caller.health()
    assert (shallow.phase, shallow.ready) == (Phase.READY, True)
    assert (shallow.uptime, shallow.phase_elapsed) == (
        timedelta(seconds=90),
        timedelta(seconds=1.5),
    )
    assert shallow.versions == Versions("0.1.0", "0.32.0", "", "")
    assert shallow.activity == EngineActivity(1, 2, 3, None)
    assert (shallow.ir_json, shallow.canary_elapsed) == ("", None)
    assert (shallow.lora_adapters, shallow.max_model_len) == (("a",), 4096)
    deep = await caller.health(deep=True)
    assert (deep.ir_json, deep.canary_elapsed) == ("{}", timedelta(seconds=0.25))
    assert deep.activity.last_step_time == datetime.fromtimestamp(1_700_000_000, UTC)


async def test_warmup_is_retried_while_the_server_loads(
    caller: Caller, server: ContractServer
) -> None:
    def loading(call: Call) -> ir_service_pb2.WarmupResponse:
        MODEL_LOADING.abort(call)

    def warm(call: Call) -> ir_service_pb2.WarmupResponse:
        request = call.request
        assert isinstance(request, ir_service_pb2.WarmupRequest)
        response = ir_service_pb2.WarmupResponse(
            ir_json="{}",
            already_warm=not request.force,
            model="tiny",
            structured_output_backend="guidance",
            schema_digest=DIGEST,
            usage=generation_pb2.Usage(prompt_tokens=5, completion_tokens=7),
            request_id="r-2",
        )
        response.elapsed.FromSeconds(3)
        response.generation_elapsed.FromSeconds(2)
        return response

    server.service.warmups = deque([*[loading] * 4, warm])
    result = await caller.warmup(force=True)
    assert not result.already_warm
    assert (result.elapsed, result.generation_elapsed) == (
        timedelta(seconds=3),
        timedelta(seconds=2),
    )
    assert result.usage == Usage(5, 0, 7)
    assert (result.ir_json, result.request_id) == ("{}", "r-2")
    assert (await caller.warmup()).already_warm


async def test_wait_ends_when_the_server_is_ready(caller: Caller, server: ContractServer) -> None:
    server.service.healths = deque([LOADING, LOADING, READY])
    seen: list[ServerHealth | None] = []
    health = await caller.wait_ready(10, poll_interval=0.01, on_progress=seen.append)
    assert health.ready
    phases = [each.phase for each in seen if each is not None]
    assert phases == [Phase.LOADING_MODEL, Phase.LOADING_MODEL, Phase.READY]


async def test_wait_ends_at_once_when_the_engine_has_failed(
    caller: Caller, server: ContractServer
) -> None:
    server.service.healths = deque([LOADING, phase(status_pb2.PHASE_FAILED, "no such model")])
    with pytest.raises(UnavailableError, match="no such model") as raised:
        await caller.wait_ready(60, poll_interval=0.01)
    assert raised.value.reason == "ENGINE_DEAD"


async def test_wait_ends_at_its_timeout(caller: Caller, server: ContractServer) -> None:
    server.service.healths = deque([LOADING])
    with pytest.raises(UnavailableError, match=r"0\.2 s.*loads the model") as raised:
        await caller.wait_ready(0.2, poll_interval=0.05)
    assert raised.value.reason == "NOT_READY"


async def test_wait_without_a_server_ends_at_its_timeout(connect: Callable[..., Caller]) -> None:
    with ContractServer() as gone:
        target = gone.target
    seen: list[object] = []
    with pytest.raises(UnavailableError, match="does not answer") as raised:
        await connect(target).wait_ready(0.5, poll_interval=0.05, on_progress=seen.append)
    assert raised.value.reason == "NOT_READY"
    assert set(seen) == {None}


async def test_wait_for_a_hanging_server_ends_at_its_timeout(
    caller: Caller, server: ContractServer
) -> None:
    def hang(call: Call) -> ir_service_pb2.HealthResponse:
        call.ended.wait(30)
        return ir_service_pb2.HealthResponse()

    server.service.healths = deque([hang])
    began = time.monotonic()
    with pytest.raises(UnavailableError, match="does not answer"):
        await caller.wait_ready(0.3)
    assert time.monotonic() - began < 3


async def test_wait_ends_at_once_for_a_server_without_the_service(
    caller: Caller, server: ContractServer
) -> None:
    def unimplemented(call: Call) -> ir_service_pb2.HealthResponse:
        call.context.abort(grpc.StatusCode.UNIMPLEMENTED, "what is that?")

    server.service.healths = deque([unimplemented])
    with pytest.raises(ServerFaultError, match="UNIMPLEMENTED"):
        await caller.wait_ready(60)
