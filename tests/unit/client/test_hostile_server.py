"""Whatever a broken or hostile server sends, a call gives a result or raises a `GenirError`."""

from __future__ import annotations

import asyncio
import json
import tracemalloc
from collections import deque
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from google.protobuf import duration_pb2, timestamp_pb2
from google.rpc import error_details_pb2

from genir import (
    Accepted,
    DeadlineExceededError,
    ErrorReason,
    InvalidResponseError,
    LimitExceededError,
    OverloadedError,
    ServerFaultError,
    UnavailableError,
)
from genir._schema import schema_argument
from genir._stream import StreamReader
from genir._strict_json import MAX_DEPTH
from genir.v1 import generation_pb2, ir_service_pb2, schema_pb2, status_pb2
from tests.support.contract_server import (
    DIGEST,
    OVERLOADED,
    ContractServer,
    Refusal,
    accepted,
    checked,
    completed,
    delta,
    play,
    refused,
    started,
    success,
)
from tests.support.raw_server import DETAILS_KEY, Answer, RawServer, failed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.support.client_adapters import Caller

METHODS = ["generate", "check_schema", "health", "warmup", "wait_ready"]


@pytest.fixture
def raw() -> Iterator[RawServer]:
    with RawServer() as server:
        yield server


@pytest.fixture
def raw_caller(raw: RawServer, connect: Callable[..., Caller]) -> Caller:
    return connect(raw.target)


async def call(caller: Caller, method: str) -> Any:
    match method:
        case "generate":
            return await caller.generate("hi")
        case "wait_ready":
            return await caller.wait_ready(20)
    return await getattr(caller, method)()


async def invalid(caller: Caller, method: str = "generate") -> InvalidResponseError:
    """The error of a call, which must be `InvalidResponseError`."""
    with pytest.raises(InvalidResponseError) as raised:
        await call(caller, method)
    assert raised.value.reason is ErrorReason.INVALID_RESPONSE
    assert raised.value.code is None
    return raised.value


# Bytes on the wire.


@pytest.mark.parametrize("method", METHODS)
async def test_undecodable_message(
    raw: RawServer, raw_caller: Caller, method: str, caplog: pytest.LogCaptureFixture
) -> None:
    not_utf8 = b"\x12\x01\xff" if method == "generate" else b"\x2a\x01\xff"
    for data in (b"\xff", b"\x0a\x7f{", not_utf8 if method == "wait_ready" else b"\x0a\xff"):
        raw.answer = Answer([data])
        error = await invalid(raw_caller, method)
        assert "do not decode" in error.message
    assert caplog.records == []  # gRPC would log a traceback.
    assert raw.calls == 3


@pytest.mark.parametrize("method", METHODS)
async def test_end_without_a_message(raw: RawServer, raw_caller: Caller, method: str) -> None:
    assert "without" in (await invalid(raw_caller, method)).message
    assert raw.calls == 1


@pytest.mark.parametrize("method", ["health", "check_schema", "warmup"])
async def test_second_message_of_a_unary_call_ends_at_the_deadline(
    raw: RawServer, connect: Callable[..., Caller], method: str
) -> None:
    raw.answer = Answer([b"", b""])
    with pytest.raises(DeadlineExceededError):
        await call(connect(raw.target, timeout=0.5), method)


# Details of a status.

INFO = ("google.rpc.ErrorInfo", error_details_pb2.ErrorInfo(reason="ENGINE_DEAD", domain="genir"))


def retry_after(seconds: int, nanos: int = 0) -> tuple[str, bytes]:
    delay = duration_pb2.Duration(seconds=seconds, nanos=nanos)
    return (
        "google.rpc.RetryInfo",
        error_details_pb2.RetryInfo(retry_delay=delay).SerializeToString(),
    )


def generation_failure(**fields: Any) -> tuple[str, bytes]:
    message = status_pb2.GenerationFailure(**fields)
    return "genir.v1.GenerationFailure", message.SerializeToString()


@pytest.mark.parametrize(
    "answer",
    [
        Answer(code=grpc.StatusCode.UNAVAILABLE, trailers=[(DETAILS_KEY, b"\xff\xff")]),
        *(
            failed((name, b"\xff\xff"))
            for name in (
                "google.rpc.ErrorInfo",
                "google.rpc.BadRequest",
                "google.rpc.RetryInfo",
                "google.rpc.RequestInfo",
                "genir.v1.GenerationFailure",
            )
        ),
        failed(("google.rpc.ErrorInfo", b"\x0a\x01\xff")),
        failed(retry_after(-1)),
        failed(retry_after(0, -1)),
        failed(retry_after(0, 2_000_000_000)),
        failed(retry_after(2**63 - 1)),
        failed(generation_failure(usage=generation_pb2.Usage(prompt_tokens=-1))),
        failed(generation_failure(violation_count=-5)),
        failed(generation_failure(raw_size_bytes=-(2**63))),
        failed(generation_failure(attempts=[generation_pb2.Attempt(number=2)])),
    ],
)
@pytest.mark.parametrize("method", ["generate", "health"])
async def test_bad_status_details_are_invalid_and_not_retried(
    raw: RawServer, raw_caller: Caller, method: str, answer: Answer
) -> None:
    raw.answer = Answer(
        code=answer.code,
        details=answer.details,
        trailers=[*answer.trailers, ("genir-request-id", "r-8")],
    )
    error = await invalid(raw_caller, method)
    assert error.request_id == "r-8"
    assert "UNAVAILABLE" in error.message
    assert isinstance(error.__cause__, grpc.RpcError)
    assert raw.calls == 1


async def test_longest_valid_retry_delay_is_not_waited_for(
    raw: RawServer, raw_caller: Caller
) -> None:
    raw.answer = failed(retry_after(315_576_000_000, 999_999_999))
    with pytest.raises(UnavailableError) as raised:
        await asyncio.wait_for(raw_caller.generate("hi"), 30)
    assert raised.value.retry_delay is not None
    assert raw.calls == 1


async def test_status_that_contradicts_its_details_counts_without_them(
    raw: RawServer, raw_caller: Caller
) -> None:
    raw.answer = Answer(
        code=grpc.StatusCode.INTERNAL,
        details="scripted",
        trailers=failed(retry_after(0)).trailers,
    )
    with pytest.raises(ServerFaultError) as raised:
        await raw_caller.generate("hi")
    assert not isinstance(raised.value, InvalidResponseError)
    assert (raised.value.code, raised.value.retry_delay) == (grpc.StatusCode.INTERNAL, None)
    assert raw.calls == 1


async def test_retry_pushback_of_grpc_is_ignored(raw: RawServer, raw_caller: Caller) -> None:
    for pushback in ("garbage", "-1", "999999999999999999999", "0"):
        raw.answer = Answer(
            code=grpc.StatusCode.INTERNAL, trailers=[("grpc-retry-pushback-ms", pushback)]
        )
        with pytest.raises(ServerFaultError):
            await raw_caller.generate("hi")
    assert raw.calls == 4


async def test_huge_message_or_many_details_are_refused_by_size(
    raw: RawServer, raw_caller: Caller
) -> None:
    many = [("google.rpc.RequestInfo", b"")] * 100_000
    for answer in (
        Answer(code=grpc.StatusCode.INTERNAL, details="x" * 10_000_000),
        failed(*many, code=grpc.StatusCode.INTERNAL),
    ):
        raw.answer = answer
        with pytest.raises(LimitExceededError):
            await raw_caller.generate("hi")
    raw.answer = failed(*many[:500], code=grpc.StatusCode.INTERNAL)
    with pytest.raises(ServerFaultError):
        await raw_caller.generate("hi")


@pytest.mark.parametrize("reason", ["INVALID_RESPONSE", "MODEL_REFUSED", "NOT_READY", "UNKNOWN"])
async def test_reasons_of_the_client_are_not_taken_from_a_server(
    caller: Caller, server: ContractServer, reason: str
) -> None:
    server.script(refused(Refusal(grpc.StatusCode.INTERNAL, reason)))
    with pytest.raises(ServerFaultError) as raised:
        await caller.generate("hi")
    assert raised.value.reason is ErrorReason.UNRECOGNIZED
    assert raised.value.reason_name == reason


async def test_error_without_a_reason_has_a_name(caller: Caller, server: ContractServer) -> None:
    server.script(refused(Refusal(grpc.StatusCode.INTERNAL, "")))
    with pytest.raises(ServerFaultError, match=r"^UNRECOGNIZED: "):
        await caller.generate("hi")


# The IR.


@pytest.mark.parametrize(
    ("ir_json", "excerpt"),
    [
        ("", "is not JSON"),
        ("{", "is not JSON"),
        ("1 2", "is not JSON"),
        ("\ufeff1", "is not JSON"),
        ("[NaN]", "NaN is not"),
        ("-Infinity", "Infinity is not"),
        ('{"a":1,"b":{"c":1,"c":1}}', "the same key twice"),
        (r'{"a":1,"\u0061":2}', "the same key twice"),
        (r'["\ud800"]', "half a surrogate pair"),
        (r'{"\uDFFF":1}', "half a surrogate pair"),
        (r'["\ud83d\ud83d\ude00"]', "half a surrogate pair"),
        ("1e999", "beyond the range"),
        ("-1e999", "beyond the range"),
        ("1e-400", "so close to zero"),
        ("-0.1e-323", "so close to zero"),
        ("1" * 22, "which some readers round"),
        ("-" + "1" * 100_000, "which some readers round"),
        ("9007199254740993", "which some readers round"),
        ("[-9007199254740992]", "which some readers round"),
        ("9007199254740992.0", "which some readers round"),
        ("100000000000000000000", "which some readers round"),
        ("1e20", "which some readers round"),
        ("1000000000000000000000", "not in RFC 8785 normal form: a number"),
        ("-0", "a number is not written as"),
        ("0.0", "a number is not written as"),
        ("1.0", "a number is not written as"),
        ("1.50", "a number is not written as"),
        ("1e21", "a number is not written as"),
        ("1E+21", "a number is not written as"),
        ("1e-6", "a number is not written as"),
        ("1e-07", "a number is not written as"),
        ("0.0000001", "a number is not written as"),
        ("0.30000000000000001", "a number is not written as"),
        ("[1, 2]", "there is whitespace"),
        (" 1", "there is whitespace"),
        ("1\n", "there is whitespace"),
        ('{"b":1,"a":2}', "the keys of an object"),
        ('{"\ufb33":1,"\U0001f600":2}', "the keys of an object"),
        (r'["\/"]', "an escape"),
        (r'["\u0041"]', "an escape"),
        (r'["\u000a"]', "an escape"),
        (r'["\u001F"]', "an escape"),
        (r'{"\u007f":1}', "an escape"),
        (r'"\ud83d\ude00"', "an escape"),
        ("[" * (MAX_DEPTH + 1) + "]" * (MAX_DEPTH + 1), "more than 256 deep"),
        ("[" * 100_000 + "]" * 100_000, "more than 256 deep"),
        ('{"a":' * 100_000 + "1" + "}" * 100_000, "more than 256 deep"),
        ('["\\"[' + '",["' * 100_000, "more than 256 deep"),
    ],
    ids=lambda text: text[:20],
)
async def test_ir_that_readers_refuse_or_read_differently(
    caller: Caller, server: ContractServer, ir_json: str, excerpt: str
) -> None:
    server.script(success(ir_json))
    error = await invalid(caller)
    assert "GenerateIRResponse.ir_json " in error.message
    assert excerpt in error.message
    assert error.request_id == "r-1"
    assert error.raw_output == ir_json
    assert len(server.calls) == 1


@pytest.mark.parametrize(
    "ir_json",
    [
        "[" * MAX_DEPTH + "]" * MAX_DEPTH,
        json.dumps("[{" * 1000 + '\\"[['),
        '"\ud7ff\ue000\U0001f600\x7f\u2028/"',
        r'"\b\t\n\f\r\"\\\\u0041\u0000\u001f"',
        '{"":0," a":1,"a b":2}',
        '{"\U0001f600":1,"\ufb33":2}',
        "9007199254740991",
        "-9007199254740991",
        "1e+21",
        "-1.5e+22",
        "0.000001",
        "0.0000123",
        "1e-7",
        "0.0001",
        "4503599627370495.5",
        "1.7976931348623157e+308",
        "5e-324",
        "[true,1,1.5,null]",
        "0",
    ],
)
async def test_ir_that_a_server_may_send_is_accepted(
    caller: Caller, server: ContractServer, ir_json: str
) -> None:
    server.script(success(ir_json))
    assert (await caller.generate("hi")).value == json.loads(ir_json)


async def test_model_class_does_not_see_an_ir_that_is_refused(
    caller: Caller, server: ContractServer
) -> None:
    class Never:
        @classmethod
        def model_json_schema(cls) -> dict[str, Any]:
            return {}

        @classmethod
        def model_validate_json(cls, json_data: str, /) -> Never:
            raise AssertionError(json_data)

    wrong = completed("[1]")
    wrong.completed.ir_digest = DIGEST
    for script in (success("[NaN]"), play(accepted(), started(), delta("[1]"), wrong)):
        server.script(script)
        with pytest.raises(InvalidResponseError):
            await caller.generate("hi", schema=Never)


# The events of a stream.


def altered(**fields: Any) -> ir_service_pb2.StreamIRResponse:
    """The last event of `GOOD`, with other fields."""
    message = completed("[1]")
    for name, value in fields.items():
        if name == "attempts":
            del message.completed.attempts[:]
            message.completed.attempts.extend(value)
        elif isinstance(value, str):
            setattr(message.completed, name, value)
        else:
            getattr(message.completed, name).MergeFrom(value)
    return message


def accepted_with(**fields: Any) -> ir_service_pb2.StreamIRResponse:
    message = accepted()
    for name, value in fields.items():
        setattr(message.accepted, name, value)
    return message


def delta_of(token_count: int) -> ir_service_pb2.StreamIRResponse:
    return ir_service_pb2.StreamIRResponse(
        text_delta=generation_pb2.TextDelta(text="[1]", token_count=token_count)
    )


GOOD = (accepted(), started(), delta("[1]"), completed("[1]"))
UNKNOWN_EVENT = ir_service_pb2.StreamIRResponse()
Attempt = generation_pb2.Attempt
Duration = duration_pb2.Duration


@pytest.mark.parametrize(
    ("events", "excerpt"),
    [
        ((), "without a result"),
        ((UNKNOWN_EVENT,), "without a result"),
        (GOOD[:1], "without a result"),
        (GOOD[:3], "without a result"),
        (GOOD[1:], "first event is attempt_started"),
        (GOOD[3:], "first event is completed"),
        ((GOOD[0], *GOOD), "accepted was sent twice"),
        ((*GOOD[:2], GOOD[0], *GOOD[2:]), "accepted was sent twice"),
        ((GOOD[0], *GOOD[2:]), "before any attempt_started"),
        ((GOOD[0], GOOD[3]), "before any attempt_started"),
        ((*GOOD, GOOD[3]), "completed follows completed"),
        ((*GOOD, GOOD[2]), "text_delta follows completed"),
        ((*GOOD, started(2)), "attempt_started follows completed"),
        ((*GOOD, GOOD[0]), "accepted follows completed"),
        ((GOOD[0], started(0), *GOOD[2:]), "attempt 0 follows"),
        ((GOOD[0], started(2), *GOOD[2:]), "attempt 2 follows"),
        ((*GOOD[:3], started(1), *GOOD[2:]), "attempt 1 follows"),
        ((GOOD[0], started(-1), *GOOD[2:]), "attempt -1 follows"),
        ((*GOOD[:2], delta("[2]"), GOOD[3]), "different values"),
        ((*GOOD[:2], delta("[true]"), GOOD[3]), "different values"),
        ((*GOOD[:2], delta("[1,1]"), GOOD[3]), "different values"),
        ((*GOOD[:2], delta('{"0":1}'), GOOD[3]), "different values"),
        ((*GOOD[:2], delta("[1"), GOOD[3]), "streamed text is not JSON"),
        ((*GOOD[:2], GOOD[3]), "streamed text is not JSON"),
        ((*GOOD[:3], started(2), completed("[1]", 2)), "streamed text is not JSON"),
        ((*GOOD[:2], delta_of(-1), GOOD[3]), "TextDelta.token_count is -1"),
        ((*GOOD[:3], altered(ir_digest=DIGEST)), "ir_digest is sha256:"),
        ((*GOOD[:3], altered(ir_digest="md5:0")), "not a digest: 'md5:0'"),
        ((*GOOD[:3], altered(schema_digest=DIGEST)), "schema_digest is sha256:"),
        ((*GOOD[:3], altered(request_id="r-2")), "request 'r-2'"),
        ((*GOOD[:3], altered(attempts=[])), "0 attempts, the stream 1"),
        ((*GOOD[:3], completed("[1]", 2)), "2 attempts, the stream 1"),
        ((*GOOD[:3], altered(attempts=[Attempt(number=3)])), "numbered from 1"),
        (
            (*GOOD[:3], altered(usage=generation_pb2.Usage(completion_tokens=-1))),
            "Usage.completion_tokens is -1",
        ),
        (
            (
                *GOOD[:3],
                altered(timings=generation_pb2.Timings(total=Duration(seconds=-1))),
            ),
            "Timings.total is -1 s",
        ),
        ((accepted_with(schema_digest="sha256:" + "A" * 64), *GOOD[1:]), "not a digest"),
        ((accepted_with(prompt_tokens=-1), *GOOD[1:]), "Accepted.prompt_tokens is -1"),
        ((accepted_with(max_tokens=-1), *GOOD[1:]), "Accepted.max_tokens is -1"),
    ],
)
async def test_stream_that_breaks_the_contract(
    caller: Caller,
    server: ContractServer,
    events: tuple[ir_service_pb2.StreamIRResponse, ...],
    excerpt: str,
) -> None:
    server.script(play(*events))
    error = await invalid(caller)
    assert excerpt in error.message
    assert len(server.calls) == 1
    with pytest.raises(InvalidResponseError):
        await caller.events("hi")


async def test_schema_digest_must_be_that_of_the_request(
    caller: Caller, server: ContractServer
) -> None:
    other = accepted_with(schema_digest=DIGEST)
    server.script(play(other, *GOOD[1:]))
    assert "but must be sha256:" in (await schema_error(caller, schema={"type": "array"})).message
    another = f"sha256:{'0' * 64}"
    assert another in (await schema_error(caller, schema_digest=another)).message
    # The built-in schema of another version of the server has another digest.
    server.script(play(other, *GOOD[1:3], altered(schema_digest=DIGEST)))
    assert (await caller.generate("hi")).schema_digest == DIGEST


async def schema_error(caller: Caller, **schema: Any) -> InvalidResponseError:
    with pytest.raises(InvalidResponseError) as raised:
        await caller.generate("hi", **schema)
    return raised.value


async def test_request_id_must_be_the_callers(caller: Caller, server: ContractServer) -> None:
    server.script(play(accepted("r-2"), *GOOD[1:]))
    with pytest.raises(InvalidResponseError, match="'r-2', not the caller's") as raised:
        await caller.generate("hi", request_id="mine")
    assert raised.value.request_id == "mine"


async def test_no_result_remains_after_an_event_behind_the_result(
    server: ContractServer,
) -> None:
    from genir import IRClient

    server.script(play(*GOOD, GOOD[3]))
    with IRClient(server.target) as client, client.stream("hi") as stream:
        with pytest.raises(InvalidResponseError):
            list(stream)
        with pytest.raises(RuntimeError):
            stream.result()


async def test_text_of_one_attempt_is_limited(
    caller: Caller, server: ContractServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("genir._stream._MAX_TEXT", 5)
    # The limit is that of one attempt: the second begins at 0 again.
    server.script(
        play(*GOOD[:2], delta("[1, "), started(2), delta("[1]  "), completed("[1]", attempts=2))
    )
    assert (await caller.generate("hi")).value == [1]
    server.script(play(*GOOD[:2], *[delta("  ")] * 1000, *GOOD[2:]))
    error = await invalid(caller)
    assert "longer than 5 characters" in error.message
    assert error.raw_output == "    "


def test_short_deltas_take_no_memory_each() -> None:
    reader = StreamReader(schema_argument(None, None), "", "")
    first = accepted()
    first.accepted.schema_digest = DIGEST
    for event in (first, started()):
        reader.event(event.SerializeToString())
    empty, letter = (delta(text).SerializeToString() for text in ("", "\u4e2d"))
    tracemalloc.start()
    try:
        for _ in range(20_000):
            reader.event(empty)
            reader.event(letter)
        kept, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert reader.raw_output == "\u4e2d" * 20_000
    # One reference for each delta would take 320,000 bytes, and each letter 76 more.
    assert kept < 250_000


async def test_retry_starts_with_a_new_order_of_events(
    caller: Caller, server: ContractServer
) -> None:
    server.script(play(*GOOD, refusal=OVERLOADED), success())
    assert (await caller.generate("hi")).value == {"a": 1}
    server.script(play(*GOOD, refusal=OVERLOADED))
    with pytest.raises(OverloadedError):
        await caller.events("hi")


async def test_streamed_text_need_not_be_in_normal_form(
    caller: Caller, server: ContractServer
) -> None:
    text = '\n{ "b" : 1.0, "a": [1e2, -0, "\\u00e9\\ud83d\\ude00", 1e21]}'
    ir_json = '{"a":[100,0,"é😀",1e+21],"b":1}'
    server.script(play(accepted(), started(), delta(text), completed(ir_json)))
    assert (await caller.generate("hi")).ir_json == ir_json


async def test_newer_server_may_send_values_that_the_client_does_not_know(
    caller: Caller, server: ContractServer
) -> None:
    first, last = accepted_with(), completed("[1]")
    first.accepted.schema_shown = 99  # type: ignore[assignment]
    last.completed.schema_notices[0].enforcement = 99  # type: ignore[assignment]
    last.completed.attempts[0].reason = 99  # type: ignore[assignment]
    newer = ir_service_pb2.StreamIRResponse()
    newer.MergeFromString(b"\xba\x3e\x00")  # Field 999, of which this client knows nothing.
    server.script(play(newer, first, newer, *GOOD[1:3], last, newer))
    events = await caller.events("hi")
    assert isinstance(events[0], Accepted)
    assert len(events) == 4


# The other methods.


def bad_time(**fields: int) -> status_pb2.EngineActivity:
    return status_pb2.EngineActivity(last_step_time=timestamp_pb2.Timestamp(**fields))


Health = ir_service_pb2.HealthResponse


@pytest.mark.parametrize(
    "response",
    [
        Health(uptime=Duration(seconds=-1)),
        Health(phase_elapsed=Duration(seconds=2**62)),
        Health(canary_elapsed=Duration(nanos=-1)),
        Health(activity=bad_time(seconds=2**62)),
        Health(activity=bad_time(seconds=-(2**62))),
        Health(activity=bad_time(nanos=-1)),
        Health(activity=status_pb2.EngineActivity(running=-1)),
        Health(activity=status_pb2.EngineActivity(calls_in_flight=-1)),
        Health(max_model_len=-1),
        Health(ir_json="{"),
        Health(ir_json="[" * 100_000),
        Health(schema_cache=schema_pb2.SchemaCacheStats(entries=-1)),
        Health(schema_cache=schema_pb2.SchemaCacheStats(refused={"INTERNAL": -1})),
    ],
)
async def test_health_that_breaks_the_contract(
    caller: Caller, server: ContractServer, response: ir_service_pb2.HealthResponse
) -> None:
    server.service.healths = deque([lambda _: response])
    await invalid(caller, "health")
    await invalid(caller, "wait_ready")


@pytest.mark.parametrize(
    "fields",
    [
        {"schema_digest": ""},
        {"schema_digest": "sha256:ab"},
        {"min_tokens": -1},
        {"closable_tokens": -1},
        {"limits": [schema_pb2.SchemaLimit(name="nodes", max=float("nan"))]},
        {"limits": [schema_pb2.SchemaLimit(name="nodes", max=1, value=float("inf"))]},
        {"prepare_elapsed": Duration(seconds=-1)},
    ],
)
async def test_check_that_breaks_the_contract(
    caller: Caller, server: ContractServer, fields: dict[str, Any]
) -> None:
    response = ir_service_pb2.CheckSchemaResponse(
        **{"schema_digest": DIGEST, "request_id": "r-4"} | fields
    )
    server.service.checks = deque([lambda _: response])
    assert (await invalid(caller, "check_schema")).request_id == "r-4"


async def test_check_of_another_schema(caller: Caller, server: ContractServer) -> None:
    server.service.checks = deque([checked])
    assert (await caller.check_schema("{}")).schema_digest == DIGEST
    response = ir_service_pb2.CheckSchemaResponse(schema_digest=DIGEST)
    server.service.checks = deque([lambda _: response])
    with pytest.raises(InvalidResponseError, match="but must be"):
        await caller.check_schema("[]")
    with pytest.raises(InvalidResponseError, match="but must be"):
        await caller.check_schema(schema_digest=f"sha256:{'0' * 64}")


def warmed(*schemas: schema_pb2.WarmedSchema, **fields: Any) -> ir_service_pb2.WarmupResponse:
    return ir_service_pb2.WarmupResponse(
        **{"ir_json": "{}", "schema_digest": DIGEST} | fields, schemas=schemas
    )


PREPARED = schema_pb2.WarmedSchema(schema_digest=DIGEST)


@pytest.mark.parametrize(
    "response",
    [
        warmed(),
        warmed(PREPARED, PREPARED),
        warmed(schema_pb2.WarmedSchema(schema_digest=f"sha256:{'0' * 64}")),
        warmed(PREPARED, ir_json=""),
        warmed(PREPARED, ir_json="[NaN]"),
        warmed(PREPARED, schema_digest="abc"),
        warmed(PREPARED, usage=generation_pb2.Usage(prompt_tokens=-1)),
        warmed(PREPARED, elapsed=Duration(seconds=-1)),
    ],
)
async def test_warmup_that_breaks_the_contract(
    caller: Caller, server: ContractServer, response: ir_service_pb2.WarmupResponse
) -> None:
    server.service.warmups = deque([lambda _: response])
    with pytest.raises(InvalidResponseError):
        await caller.warmup(schemas=["{}"])


async def test_schema_without_a_known_outcome_does_not_count_as_prepared(
    caller: Caller, server: ContractServer
) -> None:
    server.service.warmups = deque([lambda _: warmed(schema_pb2.WarmedSchema())])
    (outcome,) = (await caller.warmup(schemas=["{}"])).schemas
    assert (outcome.schema_digest, outcome.reason) == ("", "UNSPECIFIED")
