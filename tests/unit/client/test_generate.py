"""Requests, results and errors of `generate` and `stream`."""

from __future__ import annotations

import asyncio
import threading
import time
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, assert_type

import grpc
import pydantic
import pytest
from pydantic import TypeAdapter

from genir import (
    IR,
    Accepted,
    AsyncIRClient,
    Attempt,
    AttemptReason,
    AttemptStarted,
    CallCancelledError,
    Completed,
    DeadlineExceededError,
    Enforcement,
    ErrorReason,
    FieldViolation,
    FinishReason,
    GenerationOptions,
    GenirError,
    IRClient,
    IRResult,
    LimitExceededError,
    ModelRefusedError,
    NotAuthorizedError,
    NotFoundError,
    SchemaError,
    SchemaShown,
    ServerFaultError,
    TextDelta,
    TruncatedError,
    Usage,
    ValidationFailedError,
)
from genir.schemas import builtin_ir_schema_text
from genir.v1 import generation_pb2, ir_service_pb2, status_pb2
from tests.support.contract_server import (
    MODEL_LOADING,
    Call,
    ContractServer,
    Refusal,
    accepted,
    completed,
    delta,
    digest_of,
    play,
    refused,
    started,
    success,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Unpack

    from tests.support.client_adapters import Caller


class Other(pydantic.BaseModel):
    z: int


@dataclass
class Line:
    x: int
    y: int


class Point(pydantic.BaseModel):
    x: int
    y: int

    @pydantic.field_validator("y")
    @classmethod
    def not_thirteen(cls, value: int) -> int:
        if value == 13:
            msg = "unlucky"
            raise ValueError(msg)
        return value


def spec_of(server: ContractServer) -> generation_pb2.GenerationSpec:
    request = server.calls[-1].request
    assert isinstance(request, ir_service_pb2.StreamIRRequest)
    return request.spec


async def test_result_holds_every_field_of_the_response(caller: Caller) -> None:
    result = await caller.generate("add two numbers")
    assert result.value == {"a": 1}
    assert result.ir_json == '{"a":1}'
    assert result.request_id == "r-1"
    assert result.model == "tiny"
    assert result.structured_output_backend == "guidance"
    assert result.schema_digest == digest_of(builtin_ir_schema_text())
    assert result.ir_digest == digest_of('{"a":1}')
    assert result.finish_reason is FinishReason.STOP
    assert result.usage == Usage(12, 4, 6)
    assert result.attempts == (Attempt(1, AttemptReason.FIRST, FinishReason.STOP, Usage(12, 4, 6)),)
    assert result.timings.total == timedelta(milliseconds=1500)
    assert result.timings.time_to_first_token == timedelta(milliseconds=40)
    assert result.schema_shown is SchemaShown.FULL
    (notice,) = result.schema_notices
    assert notice.enforcement is Enforcement.CHECKED_AFTER_DECODING
    assert (notice.keyword, notice.pointer) == ("uniqueItems", "/properties/a")


async def test_server_receives_request_metadata_and_deadline(
    server: ContractServer, connect: Callable[..., Caller]
) -> None:
    caller = connect(server.target, timeout=50, metadata={"authorization": "Bearer t"})
    await caller.generate("hello", schema={"type": "object"}, temperature=0.0, request_id="mine")
    spec = spec_of(server)
    assert spec.prompt == "hello"
    assert spec.json_schema == '{"type":"object"}'
    assert spec.HasField("temperature")
    assert spec.request_id == "mine"
    call = server.calls[-1]
    assert call.metadata["authorization"] == "Bearer t"
    assert 45 < call.time_remaining < 51
    await caller.generate("hello", timeout=7)
    assert 5 < server.calls[-1].time_remaining < 8


async def test_generate_requests_coarse_deltas_and_stream_the_servers_default(
    caller: Caller, server: ContractServer
) -> None:
    def tokens_per_delta() -> int | None:
        request = server.calls[-1].request
        assert isinstance(request, ir_service_pb2.StreamIRRequest)
        return request.tokens_per_delta if request.HasField("tokens_per_delta") else None

    await caller.generate("hello")
    assert (tokens_per_delta() or 0) > 1
    await caller.events("hello")
    assert tokens_per_delta() is None
    await caller.events("hello", tokens_per_delta=5)
    assert tokens_per_delta() == 5


async def test_default_deadline_is_two_minutes(caller: Caller, server: ContractServer) -> None:
    await caller.generate("hello")
    assert 100 < server.calls[-1].time_remaining < 122


async def test_model_class_sets_schema_and_type_of_value(
    caller: Caller, server: ContractServer
) -> None:
    server.script(success('{"x":1,"y":2}'))
    result = await caller.generate("a point", schema=Point)
    assert result.value == Point(x=1, y=2)
    assert '"required":["x","y"]' in spec_of(server).json_schema


async def test_model_refused_error_holds_the_ir(caller: Caller, server: ContractServer) -> None:
    server.script(success('{"x":1,"y":13}'))
    with pytest.raises(ModelRefusedError, match="unlucky") as raised:
        await caller.generate("a point", schema=Point)
    assert raised.value.raw_output == '{"x":1,"y":13}'
    assert raised.value.request_id == "r-1"
    assert isinstance(raised.value.__cause__, pydantic.ValidationError)


async def test_stream_yields_events_in_order(caller: Caller, server: ContractServer) -> None:
    server.script(
        play(
            accepted(),
            started(),
            delta("{"),
            started(2, generation_pb2.ATTEMPT_REASON_VALIDATION_FAILED),
            delta('{"a":1'),
            delta("}"),
            completed('{"a":1}', attempts=2),
        )
    )
    events = await caller.events("hello")
    kinds = [type(event) for event in events]
    assert kinds == [
        Accepted,
        AttemptStarted,
        TextDelta,
        AttemptStarted,
        TextDelta,
        TextDelta,
        Completed,
    ]
    assert isinstance(events[0], Accepted)
    assert events[0].max_tokens == 64
    assert events[3] == AttemptStarted(2, AttemptReason.VALIDATION_FAILED)
    assert isinstance(events[-1], Completed)
    assert events[-1].result.value == {"a": 1}


def test_result_reads_the_rest_of_a_stream(server: ContractServer) -> None:
    with IRClient(server.target) as client, client.stream("hello") as stream:
        for event in stream:
            if isinstance(event, TextDelta):
                break
        assert stream.text == '{"a'
        assert stream.result().ir_json == '{"a":1}' == stream.text


def test_closed_stream_has_no_result(server: ContractServer) -> None:
    with IRClient(server.target) as client:
        with client.stream("hello") as stream:
            next(stream)
        with pytest.raises(RuntimeError, match="closed"):
            stream.result()


async def test_static_type_of_value_follows_the_schema(server: ContractServer) -> None:
    server.script(success('{"x":1,"y":2}'))
    with IRClient(server.target) as client:
        assert_type(client.generate("a point", schema=Point), IRResult[Point])
        assert_type(client.generate("a point", schema_digest=digest_of("{}")).value, Any)
        assert_type(client.generate("a point", schema={"type": "object"}).value, Any)
        assert_type(client.generate("a point", schema="{}").value, Any)
        assert_type(client.stream("a point", schema=Point).result().value, Point)
        assert_type(client.generate("points", schema=Point | Other), IRResult[Point | Other])
        assert_type(client.generate("a", schema=TypeAdapter(Point)), IRResult[Point])
        assert_type(client.stream("a", schema=Line).result().value, Line)
    async with AsyncIRClient(server.target) as asyncio_client:
        result = assert_type(await asyncio_client.generate("a", schema=Point), IRResult[Point])
        assert result.value.x == 1
        assert_type((await asyncio_client.generate("a", schema=Line)).value, Line)


def wrapper(client: IRClient, prompt: str, **options: Unpack[GenerationOptions]) -> IRResult[IR]:
    """Code of a caller that passes options on, as type checkers see it."""
    return client.generate(prompt, **options)


def typed_wrapper(
    client: IRClient, schema: type[Point], **options: Unpack[GenerationOptions]
) -> IRResult[Point]:
    return client.generate("a point", schema=schema, **options)


def test_wrapper_passes_options_on(server: ContractServer) -> None:
    with IRClient(server.target) as client:
        wrapper(client, "hello", max_tokens=9, temperature=0)
        server.script(success('{"x":1,"y":2}'))
        assert typed_wrapper(client, Point, seed=3).value == Point(x=1, y=2)
    request = server.calls[0].request
    assert isinstance(request, ir_service_pb2.StreamIRRequest)
    assert (request.spec.max_tokens, request.spec.temperature) == (9, 0)


def failure(**fields: object) -> status_pb2.GenerationFailure:
    message = status_pb2.GenerationFailure(
        finish_reason=generation_pb2.FINISH_REASON_LENGTH,
        usage=generation_pb2.Usage(prompt_tokens=9, completion_tokens=4),
    )
    message.attempts.add(number=1, reason=generation_pb2.ATTEMPT_REASON_FIRST)
    for name, value in fields.items():
        setattr(message, name, value)
    return message


async def test_truncated_error_holds_the_whole_text(caller: Caller, server: ContractServer) -> None:
    text = '{"name":"' + "long " * 5000
    cut = Refusal(
        grpc.StatusCode.OUT_OF_RANGE,
        "TRUNCATED",
        details=[failure(raw_head=text[:1024], raw_tail=text[-1024:], raw_size_bytes=len(text))],
    )
    pieces = [delta(text[start : start + 100]) for start in range(0, len(text), 100)]
    server.script(play(accepted(), started(), *pieces, refusal=cut))
    with pytest.raises(TruncatedError) as raised:
        await caller.generate("hello")
    error = raised.value
    assert error.raw_output == text
    assert error.reason == "TRUNCATED"
    assert error.code is grpc.StatusCode.OUT_OF_RANGE
    assert error.usage == Usage(9, 0, 4)
    assert error.failure is not None
    assert error.failure.finish_reason is FinishReason.LENGTH
    assert error.failure.raw_size_bytes == len(text)
    assert error.request_id == "r-refused"
    assert isinstance(error.__cause__, grpc.RpcError)


async def test_raw_output_is_the_text_of_the_last_attempt(
    caller: Caller, server: ContractServer
) -> None:
    message = failure()
    message.violations.add(
        instance_pointer="/a", schema_pointer="/properties/a", keyword="minimum", message="too low"
    )
    refusal = Refusal(grpc.StatusCode.FAILED_PRECONDITION, "VALIDATION_FAILED", details=[message])
    server.script(
        play(accepted(), started(), delta("first"), started(2), delta("second"), refusal=refusal)
    )
    with pytest.raises(ValidationFailedError) as raised:
        await caller.generate("hello")
    assert raised.value.raw_output == "second"
    (violation,) = raised.value.violations
    assert (violation.instance_pointer, violation.keyword) == ("/a", "minimum")
    assert len(raised.value.attempts) == 1


async def test_schema_error_holds_fields_and_metadata(
    caller: Caller, server: ContractServer
) -> None:
    refusal = Refusal(
        grpc.StatusCode.INVALID_ARGUMENT,
        "SCHEMA_INVALID",
        message="spec.json_schema is not JSON",
        fields=[("spec.json_schema", "is not JSON")],
        metadata={"limit": "3"},
    )
    server.script(refused(refusal))
    with pytest.raises(
        SchemaError, match=r"SCHEMA_INVALID: spec.json_schema is not JSON"
    ) as raised:
        await caller.generate("hello", schema="{")
    assert raised.value.fields == (FieldViolation("spec.json_schema", "is not JSON"),)
    assert raised.value.metadata == {"limit": "3"}
    assert raised.value.retry_delay is None
    assert len(server.calls) == 1


async def test_deadline_ends_the_call_and_keeps_the_received_text(
    caller: Caller, server: ContractServer
) -> None:
    server.script(play(accepted("r-7"), started(), delta('{"a'), hang=True))
    began = time.monotonic()
    with pytest.raises(DeadlineExceededError, match=r"deadline of 0\.3 s") as raised:
        await caller.generate("hello", timeout=0.3)
    assert time.monotonic() - began < 5
    assert raised.value.raw_output == '{"a'
    assert raised.value.request_id == "r-7"
    assert await asyncio.to_thread(server.calls[0].ended.wait, 5)


async def test_leaving_a_stream_cancels_its_call(caller: Caller, server: ContractServer) -> None:
    server.script(play(accepted(), hang=True))
    assert isinstance(await caller.first_event_only("hello"), Accepted)
    assert await asyncio.to_thread(server.calls[0].ended.wait, 5)
    assert not server.calls[0].context.is_active()


async def test_cancelling_the_task_cancels_the_call(server: ContractServer) -> None:
    arrived = threading.Event()

    def script(call: Call) -> Iterator[ir_service_pb2.StreamIRResponse]:
        arrived.set()
        return play(accepted(), hang=True)(call)

    server.script(script)
    async with AsyncIRClient(server.target) as client:
        task = asyncio.create_task(client.generate("hello"))
        assert await asyncio.to_thread(arrived.wait, 5)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert await asyncio.to_thread(server.calls[0].ended.wait, 5)


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (grpc.StatusCode.RESOURCE_EXHAUSTED, LimitExceededError),
        (grpc.StatusCode.UNAUTHENTICATED, NotAuthorizedError),
        (grpc.StatusCode.PERMISSION_DENIED, NotAuthorizedError),
        (grpc.StatusCode.CANCELLED, CallCancelledError),
        (grpc.StatusCode.UNKNOWN, ServerFaultError),
    ],
)
async def test_status_without_details_maps_by_its_code(
    caller: Caller, server: ContractServer, code: grpc.StatusCode, kind: type[GenirError]
) -> None:
    def bare(call: Call) -> Iterator[ir_service_pb2.StreamIRResponse]:
        call.context.set_trailing_metadata((("genir-request-id", "r-9"),))
        call.context.abort(code, "a proxy says no")

    server.script(bare)
    with pytest.raises(kind) as raised:
        await caller.generate("hello")
    assert raised.value.reason == code.name
    assert raised.value.message == "a proxy says no"
    assert raised.value.request_id == "r-9"
    assert len(server.calls) == 1


async def test_reason_of_a_newer_server_is_unrecognized_but_named(
    caller: Caller, server: ContractServer
) -> None:
    server.script(refused(Refusal(grpc.StatusCode.NOT_FOUND, "VOCABULARY_NOT_FOUND")))
    with pytest.raises(NotFoundError, match=r"^VOCABULARY_NOT_FOUND: ") as raised:
        await caller.generate("hello")
    assert raised.value.reason is ErrorReason.UNRECOGNIZED
    assert raised.value.reason_name == "VOCABULARY_NOT_FOUND"


@pytest.mark.parametrize(
    "script",
    [play(accepted(), started()), play(accepted(), started(), completed("{"))],
    ids=["no result", "not JSON"],
)
async def test_response_that_breaks_the_contract_is_a_server_fault(
    caller: Caller, server: ContractServer, script: object
) -> None:
    server.script(script)  # type: ignore[arg-type]
    with pytest.raises(ServerFaultError):
        await caller.events("hello")
    with pytest.raises(ServerFaultError) as raised:
        await caller.generate("hello")
    assert raised.value.reason == "INVALID_RESPONSE"
    assert raised.value.request_id == "r-1"


async def test_unknown_enum_value_becomes_unspecified(
    caller: Caller, server: ContractServer
) -> None:
    newer = completed("{}")
    newer.completed.finish_reason = 77  # type: ignore[assignment]
    unknown = ir_service_pb2.StreamIRResponse()
    server.script(play(unknown, accepted(), started(), unknown, delta("{}"), newer, unknown))
    result = await caller.generate("hello")
    assert result.finish_reason is FinishReason.UNSPECIFIED


async def test_closed_client_raises(caller: Caller) -> None:
    await caller.close()
    with pytest.raises(RuntimeError, match="closed"):
        await caller.generate("hello")


async def test_credentials_make_a_secure_channel(connect: Callable[..., Caller]) -> None:
    with ContractServer(grpc.local_server_credentials()) as server:
        caller = connect(server.target, credentials=grpc.local_channel_credentials())
        assert (await caller.generate("hello")).value == {"a": 1}


async def test_timeout_of_zero_or_less_is_refused(
    caller: Caller, connect: Callable[..., Caller], server: ContractServer
) -> None:
    server.script(refused(MODEL_LOADING))
    with pytest.raises(ValueError, match="above 0"):
        await caller.generate("hello", timeout=0)
    with pytest.raises(ValueError, match="above 0"):
        connect(server.target, timeout=-1)
    assert server.calls == []
