"""Receives OTLP traces over gRPC in the test's process."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Self

import grpc
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc

if TYPE_CHECKING:
    from types import TracebackType

SECONDS = 30.0


class OtlpReceiver(trace_service_pb2_grpc.TraceServiceServicer):
    """Listens on a free port and stores every span. A context manager."""

    def __init__(self) -> None:
        self._spans: list[Any] = []
        self._arrived = threading.Condition()
        self._server = grpc.server(ThreadPoolExecutor(2))
        register: Any = trace_service_pb2_grpc.add_TraceServiceServicer_to_server
        register(self, self._server)
        port = self._server.add_insecure_port("127.0.0.1:0")
        self._server.start()
        self.endpoint = f"http://127.0.0.1:{port}"

    def Export(  # noqa: N802 - the name in OTLP.
        self,
        request: trace_service_pb2.ExportTraceServiceRequest,
        context: Any,  # noqa: ARG002 - what gRPC passes.
    ) -> trace_service_pb2.ExportTraceServiceResponse:
        with self._arrived:
            self._spans += [
                span
                for resource in request.resource_spans
                for scope in resource.scope_spans
                for span in scope.spans
            ]
            self._arrived.notify_all()
        return trace_service_pb2.ExportTraceServiceResponse()

    def trace(self, request_id: str) -> tuple[Any, dict[str, Any]]:
        """The server span of the call with that id, and its child spans by name."""
        deadline = time.monotonic() + SECONDS
        with self._arrived:
            while True:
                for span in self._spans:
                    if attributes(span).get("genir.request_id") == request_id:
                        # Spans are exported in the order of their ends, so children arrive first.
                        return span, {
                            child.name: child
                            for child in self._spans
                            if child.parent_span_id == span.span_id
                        }
                if not self._arrived.wait(deadline - time.monotonic()):
                    raise TimeoutError(f"no span of {request_id}")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._server.stop(None)


def attributes(span: Any) -> dict[str, Any]:
    """The attributes of a span as plain values."""
    return {
        item.key: getattr(item.value, item.value.WhichOneof("value")) for item in span.attributes
    }
