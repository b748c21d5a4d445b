"""OpenTelemetry traces: one span per call, with child spans for its stages.

A caller that sends W3C Trace Context sees the spans in its own trace. A span contains no text of a
prompt, an output or a schema. The child spans are made when the call ends, from the times in its
record, so tracing costs nothing per streamed event.

Needs the extra `otel`. Headers, certificates and sampling follow OpenTelemetry's environment
variables, such as `OTEL_EXPORTER_OTLP_HEADERS`.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from google.rpc import code_pb2
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import SpanKind, Status, StatusCode, format_trace_id, set_span_in_context
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from opentelemetry.trace import Span
    from opentelemetry.util.types import AttributeValue

    from genir_server.observability.call_record import CallEnd, CallRecord

_SERVICE = "genir.v1.IRService"
_ERROR_CODES = {"INTERNAL", "UNAVAILABLE", "DEADLINE_EXCEEDED", "UNKNOWN"}
_EXPORT_SECONDS = 3.0


class CallTracing:
    """Makes spans of every call but Health and sends them to a collector.

    Args:
        endpoint: a collector's OTLP/gRPC endpoint, such as ``http://127.0.0.1:4317``. Any other
            scheme than ``http://`` uses TLS.
        version: the version of genir, an attribute of the resource.
    """

    def __init__(self, endpoint: str, version: str) -> None:
        self._provider = TracerProvider(
            resource=Resource.create({"service.name": "genir", "service.version": version}),
            shutdown_on_exit=False,
        )
        self._provider.add_span_processor(
            BatchSpanProcessor(
                OTLPSpanExporter(endpoint=endpoint, insecure=endpoint.startswith("http://"))
            )
        )
        self._tracer = self._provider.get_tracer("genir_server", version)
        self._propagator = TraceContextTextMapPropagator()
        self._spans: dict[int, tuple[Span, int]] = {}

    def call_began(self, record: CallRecord, trace_context: Mapping[str, str]) -> None:
        """Starts the span of a call, as a child of the caller's span if there is one."""
        if record.method == "Health":
            return
        began = time.time_ns()
        span = self._tracer.start_span(
            f"{_SERVICE}/{record.method}",
            context=self._propagator.extract(trace_context),
            kind=SpanKind.SERVER,
            start_time=began,
        )
        record.facts["trace_id"] = format_trace_id(span.get_span_context().trace_id)
        self._spans[id(record)] = span, began

    def call_ended(self, record: CallRecord, end: CallEnd) -> None:
        """Ends the span of a call and adds its child spans."""
        opened = self._spans.pop(id(record), None)
        if opened is None:
            return
        span, began = opened
        ended = began + round(end.seconds * 1e9)
        if span.is_recording():
            span.set_attributes(_attributes(record, end))
            if end.code in _ERROR_CODES:
                span.set_status(Status(StatusCode.ERROR, end.outcome))
            context = set_span_in_context(span)
            for name, start, finish in _stages(record, end):
                child = self._tracer.start_span(
                    name, context=context, start_time=began + round(start * 1e9)
                )
                child.end(began + round(finish * 1e9))
        span.end(ended)

    def close(self) -> None:
        """Sends the remaining spans. Blocks for seconds if the collector does not answer."""
        self._provider.force_flush(round(_EXPORT_SECONDS * 1000))
        self._provider.shutdown()


def _stages(record: CallRecord, end: CallEnd) -> Iterator[tuple[str, float, float]]:
    """Name, start and end of each stage of a call, in seconds since it began."""
    marks, facts = record.marks, end.facts

    def since(mark: float) -> float:
        return mark - record.began

    if marks.admitted is None:
        return
    admitted = since(marks.admitted)
    yield "genir.admission", 0.0, admitted
    if marks.accepted is None or marks.queued is None:
        yield "genir.prepare", admitted, end.seconds
        return
    queued, accepted = since(marks.queued), since(marks.accepted)
    schema_ready = min(queued, admitted + facts.get("schema_seconds", 0.0))
    yield "genir.schema", admitted, schema_ready
    yield "genir.prompt", schema_ready, queued
    first_token = end.seconds if marks.first_token is None else since(marks.first_token)
    # The time in the engine's queue is known only for completed calls. Others use the server's.
    scheduled = min(first_token, max(accepted, queued + facts.get("queue_seconds", 0.0)))
    yield "genir.queue", queued, scheduled
    yield "genir.prefill", scheduled, first_token
    if marks.first_token is not None:
        yield "genir.decode", first_token, end.seconds


def _attributes(record: CallRecord, end: CallEnd) -> dict[str, AttributeValue]:
    facts = end.facts
    attributes: dict[str, AttributeValue | None] = {
        "rpc.system": "grpc",
        "rpc.service": _SERVICE,
        "rpc.method": record.method,
        "rpc.grpc.status_code": code_pb2.Code.Value(end.code),
        "genir.request_id": record.request_id,
        "genir.outcome": end.outcome,
        "genir.schema_digest": facts.get("schema_digest"),
        "genir.structured_output_backend": facts.get("backend"),
        "genir.attempts": facts.get("attempts"),
        "genir.resumptions": facts.get("resumptions"),
        "gen_ai.request.model": facts.get("model"),
        "gen_ai.usage.input_tokens": facts.get("prompt_tokens"),
        "gen_ai.usage.output_tokens": facts.get("completion_tokens"),
    }
    return {name: value for name, value in attributes.items() if value is not None}
