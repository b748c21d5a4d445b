"""Metrics and log lines of calls, over a real channel, with a scripted engine."""

from __future__ import annotations

import asyncio
import json
import logging
import sys
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from prometheus_client.exposition import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from genir.v1 import generation_pb2, ir_service_pb2
from genir_server.admission import Admission, AdmissionLimits
from genir_server.domain.errors import GenirError, Reason
from genir_server.observability.call_log import CallLog
from genir_server.observability.logging import configure_logging
from genir_server.observability.metrics import Metrics
from genir_server.observability.telemetry import TracingUnavailableError, make_tracing
from genir_server.supervision.lifecycle import Lifecycle, Phase
from tests.support.operations_docs import ALWAYS, documented_log_fields
from tests.support.scripted_engine import ScriptedEngine, StuckEngine
from tests.support.transport_server import GOOD, REQUEST, serving

if TYPE_CHECKING:
    from collections.abc import Iterator

    from genir_server.observability.call_record import CallEnd, CallRecord

GENERATION = {"model": "m", "backend": "guidance"}


def new_metrics() -> Metrics:
    return Metrics(
        Lifecycle(),
        Admission(AdmissionLimits()),
        model="m",
        configured_backend="guidance",
        versions={"genir": "1"},
    )


def value(metrics: Metrics, name: str, **labels: str) -> float:
    found = metrics.registry.get_sample_value(name, labels)
    return 0.0 if found is None else found


ONE_ATTEMPT = ir_service_pb2.GenerateIRRequest(
    spec=generation_pb2.GenerationSpec(prompt="hi", request_id="mine", max_attempts=1)
)


async def call(served: Any, **options: Any) -> grpc.StatusCode:
    try:
        await served.stub.GenerateIR(ONE_ATTEMPT, **options)
    except grpc.aio.AioRpcError as error:
        return error.code()
    return grpc.StatusCode.OK


async def ended(metrics: Metrics, calls: int) -> None:
    """Waits until this many calls have ended in the server; a client that leaves cannot know."""
    for _ in range(1000):
        if value(metrics, "genir_call_seconds_count", method="GenerateIR") == calls:
            return
        await asyncio.sleep(0.01)
    raise TimeoutError(f"{calls} calls have not ended")


async def test_outcomes_tokens_and_times_are_counted() -> None:
    metrics = new_metrics()
    engine = ScriptedEngine(GOOD, '{"a":1', '{"a":99}', GOOD)
    async with serving(engine, observers=(metrics,)) as served:
        codes = [await call(served) for _ in range(3)]
        stream = served.stub.StreamIR(ir_service_pb2.StreamIRRequest(spec=REQUEST.spec))
        assert len([message async for message in stream]) > 2
    assert codes == [
        grpc.StatusCode.OK,
        grpc.StatusCode.FAILED_PRECONDITION,
        grpc.StatusCode.FAILED_PRECONDITION,
    ]
    outcomes = {
        outcome: value(metrics, "genir_generations_total", **GENERATION, outcome=outcome)
        for outcome in ("valid", "constraint_failed", "validation_failed")
    }
    assert outcomes == {"valid": 2, "constraint_failed": 1, "validation_failed": 1}
    assert value(metrics, "genir_calls_total", method="GenerateIR", code="OK") == 1
    assert value(metrics, "genir_calls_total", method="StreamIR", code="OK") == 1
    written = len(GOOD) * 2 + len('{"a":1') + len('{"a":99}')
    assert value(metrics, "genir_completion_tokens_total", **GENERATION) == written
    assert value(metrics, "genir_prompt_tokens_total", **GENERATION) >= 4 * len("hi")
    assert value(metrics, "genir_attempts_total", **GENERATION) == 4
    assert value(metrics, "genir_time_to_first_token_seconds_count", **GENERATION) == 4
    assert value(metrics, "genir_time_per_output_token_seconds_count", **GENERATION) == 2
    assert value(metrics, "genir_generation_seconds_count", **GENERATION) == 2
    assert value(metrics, "genir_call_seconds_count", method="GenerateIR") == 3


async def test_refusals_cancellations_and_late_calls_are_counted() -> None:
    metrics = new_metrics()
    engine = StuckEngine()
    async with serving(engine, places=1, observers=(metrics,)) as served:
        first = served.stub.GenerateIR(REQUEST)
        await engine.started.wait()
        assert await call(served) is grpc.StatusCode.RESOURCE_EXHAUSTED
        first.cancel()
        await ended(metrics, 2)
        assert await call(served, timeout=0.2) is grpc.StatusCode.DEADLINE_EXCEEDED
        await ended(metrics, 3)
    for outcome in ("overloaded", "cancelled", "deadline_exceeded"):
        counted = value(metrics, "genir_generations_total", **GENERATION, outcome=outcome)
        assert counted == 1, outcome
    assert value(metrics, "genir_refusals_total", reason="overloaded") == 1
    assert value(metrics, "genir_refusals_total", reason="draining") == 0


async def test_no_label_contains_a_callers_value() -> None:
    metrics = new_metrics()
    spec = generation_pb2.GenerationSpec(
        prompt="hi", request_id="marker-1", model="marker-2", lora_adapter="marker-3"
    )
    async with serving(ScriptedEngine(), observers=(metrics,)) as served:
        with pytest.raises(grpc.aio.AioRpcError):
            await served.stub.GenerateIR(
                ir_service_pb2.GenerateIRRequest(spec=spec), metadata=(("marker-4", "marker-5"),)
            )
    text = generate_latest(metrics.registry).decode()
    assert 'outcome="model_not_found"' in text
    assert "marker" not in text
    assert list(text_string_to_metric_families(text))


async def test_failing_observer_does_not_fail_the_call() -> None:
    class Failing(CallLog):
        def call_ended(self, record: CallRecord, end: CallEnd) -> None:
            raise RuntimeError(f"out of order: {record} {end}")

    metrics = new_metrics()
    async with serving(ScriptedEngine(GOOD), observers=(Failing(), metrics)) as served:
        assert await call(served) is grpc.StatusCode.OK
    assert value(metrics, "genir_generations_total", **GENERATION, outcome="valid") == 1


def test_restarts_are_counted_and_the_phase_is_exported() -> None:
    lifecycle = Lifecycle()
    metrics = Metrics(
        lifecycle,
        Admission(AdmissionLimits()),
        model="m",
        configured_backend="guidance",
        versions={},
    )
    for phase in (Phase.LOADING_MODEL, Phase.READY):
        lifecycle.enter(phase, "")
    assert value(metrics, "genir_engine_restarts_total") == 0
    assert value(metrics, "genir_phase", phase="ready") == 1
    for phase in (Phase.RESTARTING, Phase.RESTARTING, Phase.READY, Phase.RESTARTING):
        lifecycle.enter(phase, "")
    assert value(metrics, "genir_engine_restarts_total") == 2
    assert value(metrics, "genir_phase", phase="restarting") == 1
    for on in (True, False):
        lifecycle.set_lame_duck(on=on)
    lifecycle.enter(Phase.FAILED, "")
    assert value(metrics, "genir_engine_restarts_total") == 2
    assert value(metrics, "genir_phase", phase="ready") == 0
    assert value(metrics, "genir_phase", phase="failed") == 1


def test_traces_without_their_packages_name_the_extra(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "genir_server.observability.tracing", None)
    assert make_tracing(None) is None
    with pytest.raises(TracingUnavailableError, match=r"pip install 'genir\[otel\]'"):
        make_tracing("http://127.0.0.1:4317")


@pytest.fixture
def server_logging() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    configure_logging("json", "info")
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    logging.captureWarnings(capture=False)


@pytest.mark.usefixtures("server_logging")
async def test_each_call_logs_one_line_with_documented_fields(
    capsys: pytest.CaptureFixture[str],
) -> None:
    # Again, because pytest has replaced standard error since the fixture ran.
    configure_logging("json", "info")
    engine = ScriptedEngine(GOOD, '{"a":1', GOOD)
    async with serving(engine, observers=(CallLog(),)) as served:
        served.calls.cut_off(GenirError(Reason.DRAINING, "nothing runs"))
        assert [await call(served) for _ in range(2)] == [
            grpc.StatusCode.OK,
            grpc.StatusCode.FAILED_PRECONDITION,
        ]
        await served.stub.Warmup(ir_service_pb2.WarmupRequest())
        await served.stub.Health(ir_service_pb2.HealthRequest())
    lines = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    calls = [line for line in lines if line["event"] == "call"]
    assert [line["method"] for line in calls] == ["GenerateIR", "GenerateIR", "Warmup"]
    for line in calls:
        assert set(line) >= ALWAYS
        assert set(line) <= set(documented_log_fields())
    result, failure, _ = calls
    assert result["request_id"] == "mine"
    assert result["code"] == "OK"
    assert (result["completion_tokens"], result["attempts"]) == (len(GOOD), 1)
    assert failure["reason"] == "CONSTRAINT_FAILED"
    assert "input" not in result
    assert "hi" not in {str(field) for field in result.values()}
