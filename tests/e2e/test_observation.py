"""Metrics beside vLLM's own, the log line of a call, and traces, from a running server."""

from __future__ import annotations

import urllib.request
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from prometheus_client.parser import text_string_to_metric_families

from genir import InvalidRequestError
from genir.v1 import ir_service_pb2
from tests.support.calls import CALL_SECONDS, SMALL_SCHEMA, spec
from tests.support.dashboards import FOREIGN, expressions
from tests.support.operations_docs import ALWAYS, documented_log_fields
from tests.support.otlp_receiver import attributes
from tests.support.promql import metric_names

if TYPE_CHECKING:
    from bench.support.server_process import ServerProcess
    from genir import IRClient
    from genir.v1 import ir_service_pb2_grpc
    from tests.support.otlp_receiver import OtlpReceiver

LABELS = {"model": "tiny", "backend": "guidance"}


class Scrape:
    """The metrics at one moment."""

    def __init__(self, server: ServerProcess) -> None:
        port = server.log_lines("serving metrics")[0]["port"]
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=30) as answer:
            text = answer.read().decode()
        self.samples = [
            sample for family in text_string_to_metric_families(text) for sample in family.samples
        ]

    def value(self, name: str, **labels: str) -> float:
        """Sum of the samples of that name that have those labels."""
        return sum(
            sample.value
            for sample in self.samples
            if sample.name == name and labels.items() <= sample.labels.items()
        )


def test_call_is_counted_timed_and_logged(server: ServerProcess, client: IRClient) -> None:
    before = Scrape(server)
    result: Any = client.generate("Name a thing.", schema=SMALL_SCHEMA, request_id="observed-1")
    with pytest.raises(InvalidRequestError):
        client.generate("Name a thing.", schema={"type": "wish"}, request_id="observed-2")
    after = Scrape(server)

    def more(name: str, **labels: str) -> float:
        return after.value(name, **labels) - before.value(name, **labels)

    assert more("genir_generations_total", **LABELS, outcome="valid") == 1
    assert more("genir_generations_total", **LABELS, outcome="schema_invalid") == 1
    assert more("genir_completion_tokens_total", **LABELS) == result.usage.completion_tokens
    for timed in ("time_to_first_token", "time_per_output_token", "queue", "generation"):
        assert more(f"genir_{timed}_seconds_count", **LABELS) == 1, timed
    assert more("genir_schema_lookups_total") == 2
    assert after.value("genir_schema_compile_seconds_count") >= 1
    assert after.value("genir_phase", phase="ready") == 1
    assert after.value("genir_engine_last_step_timestamp_seconds") > before.value(
        "genir_engine_last_step_timestamp_seconds"
    )
    # vLLM counts the same tokens in the same answer.
    assert more("vllm:generation_tokens_total") >= result.usage.completion_tokens
    assert after.value("process_resident_memory_bytes") > 0
    for process in ("server", "engine", "workers"):
        memory = after.value("genir_process_resident_memory_bytes", process=process)
        assert memory > 10 << 20, process

    lines = {line["request_id"]: line for line in server.log_lines("call")}
    for line in lines.values():
        assert ALWAYS <= set(line) <= set(documented_log_fields())
    assert lines["observed-1"]["code"] == "OK"
    assert lines["observed-1"]["completion_tokens"] == result.usage.completion_tokens
    assert lines["observed-2"]["reason"] == "SCHEMA_INVALID"
    assert "Name a thing" not in server.log


def test_dashboard_metrics_of_vllm_exist(server: ServerProcess, client: IRClient) -> None:
    client.health(deep=True)
    shown = {sample.name for sample in Scrape(server).samples}
    foreign = {
        name
        for expression in expressions().values()
        for name in metric_names(expression)
        if name.startswith(FOREIGN)
    }
    assert {name.split(":")[0] for name in foreign} >= {"vllm"}
    # Prometheus itself makes `up`.
    assert foreign - {"up"} <= shown


def test_callers_trace_has_spans_of_every_step(
    server: ServerProcess, stub: ir_service_pb2_grpc.IRServiceStub, otlp: OtlpReceiver
) -> None:
    trace, caller = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
    schema = {**SMALL_SCHEMA, "title": "not seen before"}
    request = ir_service_pb2.GenerateIRRequest(
        spec=spec("Name a secret.", schema, request_id="traced-1")
    )
    traceparent = ("traceparent", f"00-{trace}-{caller}-01")
    answer = stub.GenerateIR(request, timeout=CALL_SECONDS, metadata=(traceparent,))

    span, below = otlp.trace("traced-1")
    assert span.name == "genir.v1.IRService/GenerateIR"
    assert span.trace_id.hex() == trace
    assert span.parent_span_id.hex() == caller
    told = attributes(span)
    assert told["genir.outcome"] == "valid"
    assert told["rpc.grpc.status_code"] == 0
    assert told["gen_ai.usage.output_tokens"] == answer.usage.completion_tokens
    assert told["genir.structured_output_backend"] == "guidance"
    order = ["admission", "schema", "prompt", "queue", "prefill", "decode"]
    assert set(below) == {f"genir.{name}" for name in order}
    times = [span.start_time_unix_nano]
    for name in order:
        child = below[f"genir.{name}"]
        assert child.trace_id.hex() == trace
        assert abs(child.start_time_unix_nano - times[-1]) < 1e6, name
        times.append(child.end_time_unix_nano)
    assert times == sorted(times)
    assert abs(span.end_time_unix_nano - times[-1]) < 1e6
    decode = below["genir.decode"]
    assert decode.end_time_unix_nano - decode.start_time_unix_nano > 1e6
    assert "secret" not in str([span, *below.values()])
    line = next(line for line in server.log_lines("call") if line["request_id"] == "traced-1")
    assert line["trace_id"] == trace


def test_refused_call_without_traceparent_starts_a_trace(
    server: ServerProcess, stub: ir_service_pb2_grpc.IRServiceStub, otlp: OtlpReceiver
) -> None:
    request = ir_service_pb2.GenerateIRRequest(
        spec=spec(schema={"type": "wish"}, request_id="traced-2")
    )
    with pytest.raises(grpc.RpcError):
        stub.GenerateIR(request, timeout=CALL_SECONDS)
    span, below = otlp.trace("traced-2")
    assert not span.parent_span_id
    assert attributes(span)["genir.outcome"] == "schema_invalid"
    assert set(below) == {"genir.admission", "genir.prepare"}
    line = next(line for line in server.log_lines("call") if line["request_id"] == "traced-2")
    assert line["trace_id"] == span.trace_id.hex()
