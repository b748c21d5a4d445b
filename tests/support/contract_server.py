"""A gRPC server for `genir.v1` whose responses a test scripts.

Client tests use it to check what the client sends, how it reads responses and refusals, and when it
retries or cancels.
"""

from __future__ import annotations

import hashlib
import threading
from collections import deque
from concurrent import futures
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NoReturn, Self, TypeVar

import grpc
from google.protobuf import any_pb2, duration_pb2
from google.rpc import error_details_pb2, status_pb2
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_status import rpc_status

from genir.schemas import builtin_ir_schema_text
from genir.v1 import generation_pb2, ir_service_pb2, ir_service_pb2_grpc, schema_pb2

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from types import TracebackType

    from google.protobuf.message import Message

    StreamScript = Callable[["Call"], Iterator[ir_service_pb2.StreamIRResponse]]
    HealthScript = Callable[["Call"], ir_service_pb2.HealthResponse]
    WarmupScript = Callable[["Call"], ir_service_pb2.WarmupResponse]
    CheckScript = Callable[["Call"], ir_service_pb2.CheckSchemaResponse]

ScriptT = TypeVar("ScriptT")

SERVICE = "genir.v1.IRService"


@dataclass
class Call:
    """One call that the server received."""

    request: Message
    context: grpc.ServicerContext
    time_remaining: float
    ended: threading.Event = field(default_factory=threading.Event)

    @property
    def metadata(self) -> dict[str, object]:
        return {each[0]: each[1] for each in self.context.invocation_metadata()}


@dataclass(frozen=True)
class Refusal:
    """A status with the details of the service."""

    code: grpc.StatusCode
    reason: str
    message: str = "scripted refusal"
    fields: Sequence[tuple[str, str]] = ()
    retry_after: float | None = None
    details: Sequence[Message] = ()
    metadata: dict[str, str] = field(default_factory=dict)
    request_id: str = "r-refused"

    def abort(self, call: Call) -> NoReturn:
        packed: list[Message] = [
            error_details_pb2.ErrorInfo(reason=self.reason, domain="genir", metadata=self.metadata),
            error_details_pb2.RequestInfo(request_id=self.request_id),
        ]
        if self.fields:
            bad = error_details_pb2.BadRequest()
            for name, description in self.fields:
                bad.field_violations.add(field=name, description=description)
            packed.append(bad)
        if self.retry_after is not None:
            delay = duration_pb2.Duration()
            delay.FromNanoseconds(round(self.retry_after * 1e9))
            packed.append(error_details_pb2.RetryInfo(retry_delay=delay))
        packed.extend(self.details)
        status = status_pb2.Status(code=self.code.value[0], message=self.message)
        for message in packed:
            wrapped = any_pb2.Any()
            wrapped.Pack(message)
            status.details.append(wrapped)
        call.context.abort_with_status(rpc_status.to_status(status))


OVERLOADED = Refusal(grpc.StatusCode.RESOURCE_EXHAUSTED, "OVERLOADED", retry_after=0.02)
MODEL_LOADING = Refusal(grpc.StatusCode.UNAVAILABLE, "MODEL_LOADING", retry_after=0.02)


def accepted(request_id: str = "") -> ir_service_pb2.StreamIRResponse:
    """The first event. The server fills in an empty request id and an empty schema digest."""
    return ir_service_pb2.StreamIRResponse(
        accepted=generation_pb2.Accepted(
            request_id=request_id,
            model="tiny",
            structured_output_backend="guidance",
            schema_shown=generation_pb2.SCHEMA_SHOWN_FULL,
            prompt_tokens=12,
            max_tokens=64,
        )
    )


def started(
    number: int = 1,
    reason: generation_pb2.AttemptReason.ValueType = generation_pb2.ATTEMPT_REASON_FIRST,
) -> ir_service_pb2.StreamIRResponse:
    return ir_service_pb2.StreamIRResponse(
        attempt_started=generation_pb2.AttemptStarted(number=number, reason=reason)
    )


def delta(text: str) -> ir_service_pb2.StreamIRResponse:
    return ir_service_pb2.StreamIRResponse(
        text_delta=generation_pb2.TextDelta(text=text, token_count=2)
    )


def completed(ir_json: str, attempts: int = 1) -> ir_service_pb2.StreamIRResponse:
    """The last event. The server fills in an empty request id and empty digests."""
    usage = generation_pb2.Usage(prompt_tokens=12, cached_prompt_tokens=4, completion_tokens=6)
    response = ir_service_pb2.GenerateIRResponse(
        ir_json=ir_json,
        model="tiny",
        structured_output_backend="guidance",
        finish_reason=generation_pb2.FINISH_REASON_STOP,
        usage=usage,
        schema_shown=generation_pb2.SCHEMA_SHOWN_FULL,
    )
    for number in range(1, attempts + 1):
        response.attempts.add(
            number=number,
            reason=generation_pb2.ATTEMPT_REASON_FIRST
            if number == 1
            else generation_pb2.ATTEMPT_REASON_VALIDATION_FAILED,
            finish_reason=generation_pb2.FINISH_REASON_STOP,
            usage=usage,
        )
    response.schema_notices.add(
        keyword="uniqueItems",
        pointer="/properties/a",
        enforcement=generation_pb2.ENFORCEMENT_CHECKED_AFTER_DECODING,
        detail="checked on the finished IR",
    )
    response.timings.queue.FromMilliseconds(5)
    response.timings.time_to_first_token.FromMilliseconds(40)
    response.timings.total.FromMilliseconds(1500)
    return ir_service_pb2.StreamIRResponse(completed=response)


def play(
    *messages: ir_service_pb2.StreamIRResponse,
    refusal: Refusal | None = None,
    hang: bool = False,
) -> StreamScript:
    """A stream of these messages. It ends with OK or `refusal`, or hangs until cancelled."""

    def script(call: Call) -> Iterator[ir_service_pb2.StreamIRResponse]:
        yield from messages
        if hang:
            call.ended.wait(30)
        if refusal is not None:
            refusal.abort(call)

    return script


def success(ir_json: str = '{"a":1}') -> StreamScript:
    half = len(ir_json) // 2
    return play(
        accepted(), started(), delta(ir_json[:half]), delta(ir_json[half:]), completed(ir_json)
    )


def refused(refusal: Refusal) -> StreamScript:
    return play(refusal=refusal)


def checked(call: Call) -> ir_service_pb2.CheckSchemaResponse:
    """The answer to a CheckSchema call, with every field set."""
    request = call.request
    assert isinstance(request, ir_service_pb2.CheckSchemaRequest)
    response = ir_service_pb2.CheckSchemaResponse(
        schema_digest=digest_of_schema(request),
        draft="2020-12",
        coverage=schema_pb2.SCHEMA_COVERAGE_CHECKED,
        minimal_instance="[]",
        min_tokens=2,
        closable_tokens=2,
        engine_schema="{}" if request.include_engine_schema else "",
        cached=True,
        schema_shown=generation_pb2.SCHEMA_SHOWN_FULL,
        request_id="r-3",
    )
    response.schema_notices.add(
        keyword="uniqueItems",
        pointer="/uniqueItems",
        enforcement=generation_pb2.ENFORCEMENT_CHECKED_AFTER_DECODING,
        detail="the engine cannot compare items",
    )
    response.prepare_elapsed.FromMilliseconds(30)
    response.compile_elapsed.FromMilliseconds(4)
    response.max_mask_elapsed.FromMicroseconds(250)
    response.limits.add(name="nodes", max=50_000, value=40_000)
    response.limits.add(name="probe_wall_seconds", max=10)
    return response


class ScriptedService(ir_service_pb2_grpc.IRServiceServicer):
    """Answers each call with the next script. The last script repeats."""

    def __init__(self) -> None:
        self.streams: deque[StreamScript] = deque([success()])
        self.healths: deque[HealthScript] = deque()
        self.warmups: deque[WarmupScript] = deque()
        self.checks: deque[CheckScript] = deque()
        self.calls: list[Call] = []

    def _begin(self, request: Message, context: grpc.ServicerContext) -> Call:
        call = Call(request, context, context.time_remaining())
        self.calls.append(call)
        if not context.add_callback(call.ended.set):
            call.ended.set()
        return call

    def StreamIR(  # noqa: N802 - the contract names it
        self, request: ir_service_pb2.StreamIRRequest, context: grpc.ServicerContext
    ) -> Iterator[ir_service_pb2.StreamIRResponse]:
        call = self._begin(request, context)
        for message in _next(self.streams)(call):
            yield _filled_in(message, request.spec)

    def GenerateIR(  # noqa: N802 - the contract names it
        self, request: ir_service_pb2.GenerateIRRequest, context: grpc.ServicerContext
    ) -> ir_service_pb2.GenerateIRResponse:
        raise NotImplementedError

    def CheckSchema(  # noqa: N802 - the contract names it
        self, request: ir_service_pb2.CheckSchemaRequest, context: grpc.ServicerContext
    ) -> ir_service_pb2.CheckSchemaResponse:
        call = self._begin(request, context)
        return _next(self.checks)(call)

    def Health(  # noqa: N802 - the contract names it
        self, request: ir_service_pb2.HealthRequest, context: grpc.ServicerContext
    ) -> ir_service_pb2.HealthResponse:
        call = self._begin(request, context)
        return _next(self.healths)(call)

    def Warmup(  # noqa: N802 - the contract names it
        self, request: ir_service_pb2.WarmupRequest, context: grpc.ServicerContext
    ) -> ir_service_pb2.WarmupResponse:
        call = self._begin(request, context)
        return _next(self.warmups)(call)


def digest_of(text: str) -> str:
    return f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"


def digest_of_schema(
    request: generation_pb2.GenerationSpec | ir_service_pb2.CheckSchemaRequest,
) -> str:
    return request.schema_digest or digest_of(request.json_schema or builtin_ir_schema_text())


DIGEST = digest_of("{}")
"""A digest, where it does not matter of what."""


def _filled_in(
    message: ir_service_pb2.StreamIRResponse, spec: generation_pb2.GenerationSpec
) -> ir_service_pb2.StreamIRResponse:
    """The message with the request id and the digests that the script left empty."""
    filled = ir_service_pb2.StreamIRResponse()
    filled.CopyFrom(message)
    kind = filled.WhichOneof("event")
    if kind in ("accepted", "completed"):
        event = filled.accepted if kind == "accepted" else filled.completed
        event.request_id = event.request_id or spec.request_id or "r-1"
        event.schema_digest = event.schema_digest or digest_of_schema(spec)
    if kind == "completed":
        result = filled.completed
        result.ir_digest = result.ir_digest or digest_of(result.ir_json)
    return filled


def _next(scripts: deque[ScriptT]) -> ScriptT:
    return scripts.popleft() if len(scripts) > 1 else scripts[0]


class ContractServer:
    """A server on a free loopback port, with the standard health service."""

    def __init__(self, credentials: grpc.ServerCredentials | None = None) -> None:
        self.service = ScriptedService()
        self.standard_health = health.HealthServicer()
        self._server = grpc.server(
            futures.ThreadPoolExecutor(16), options=[("grpc.so_reuseport", 0)]
        )
        ir_service_pb2_grpc.add_IRServiceServicer_to_server(self.service, self._server)
        health_pb2_grpc.add_HealthServicer_to_server(self.standard_health, self._server)
        port = (
            self._server.add_insecure_port("127.0.0.1:0")
            if credentials is None
            else self._server.add_secure_port("127.0.0.1:0", credentials)
        )
        self.target = f"127.0.0.1:{port}"
        self.set_serving(serving=True)

    @property
    def calls(self) -> list[Call]:
        return self.service.calls

    def set_serving(self, *, serving: bool) -> None:
        status = health_pb2.HealthCheckResponse
        self.standard_health.set(SERVICE, status.SERVING if serving else status.NOT_SERVING)

    def script(self, *streams: StreamScript) -> None:
        self.service.streams = deque(streams)

    def stop(self) -> None:
        self._server.stop(0).wait()

    def __enter__(self) -> Self:
        self._server.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()
