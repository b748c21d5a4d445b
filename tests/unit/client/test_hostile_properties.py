"""For any bytes from a server, the client gives a result that keeps the contract or a `GenirError`.

test_hostile_server.py has the cases one by one, through gRPC.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
from dataclasses import asdict
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from google.rpc import error_details_pb2
from google.rpc import status_pb2 as rpc_status_pb2
from hypothesis import given, settings
from hypothesis import strategies as st

from genir import GenirError, InvalidResponseError, IRClient, RetryPolicy
from genir._methods import CHECK_SCHEMA, HEALTH, WARMUP, UnaryMethod
from genir._retry import NO_RETRIES, CallBudget
from genir._schema import schema_argument
from genir._status import error_from_rpc
from genir._stream import StreamReader
from genir._strict_json import read, same
from genir.cli.console import json_value
from genir.v1 import ir_service_pb2, status_pb2
from tests.support.contract_server import DIGEST, accepted, completed, delta, digest_of, started
from tests.support.raw_server import DETAILS_KEY, Answer, RawServer
from tests.support.wire import wire

if TYPE_CHECKING:
    from collections.abc import Iterator

Stream = ir_service_pb2.StreamIRResponse


def numbers_in(value: object) -> Iterator[float]:
    """All numbers in a result, durations in seconds."""
    match value:
        case dict():
            for each in value.values():
                yield from numbers_in(each)
        case list() | tuple():
            for each in value:
                yield from numbers_in(each)
        case timedelta():
            yield value.total_seconds()
        case int() | float():
            yield value


@pytest.mark.parametrize(
    ("method", "request_"),
    [
        (CHECK_SCHEMA, ir_service_pb2.CheckSchemaRequest()),
        (HEALTH, ir_service_pb2.HealthRequest()),
        (WARMUP, ir_service_pb2.WarmupRequest(json_schemas=["{}"])),
    ],
    ids=["CheckSchema", "Health", "Warmup"],
)
@given(data=st.data())
def test_any_unary_response(
    method: UnaryMethod[Any, Any, Any], request_: Any, data: st.DataObject
) -> None:
    # A valid response first, because in protobuf the concatenation of two messages merges them.
    valid = {
        "CheckSchemaResponse": ir_service_pb2.CheckSchemaResponse(schema_digest=DIGEST),
        "HealthResponse": ir_service_pb2.HealthResponse(),
        "WarmupResponse": ir_service_pb2.WarmupResponse(ir_json="1", schema_digest=DIGEST),
    }[method.response.DESCRIPTOR.name]
    response = valid.SerializeToString() + data.draw(wire(method.response.DESCRIPTOR))
    try:
        result = method.result(response, request_)
    except InvalidResponseError:
        return
    assert all(math.isfinite(number) for number in numbers_in(asdict(result)))
    # What the command line writes for programs.
    json.loads(json.dumps(asdict(result), default=json_value, allow_nan=False))


GOOD = [accepted("r-1"), started(), delta("[1]"), completed("[1]")]
GOOD[0].accepted.schema_digest = DIGEST
GOOD[3].completed.MergeFrom(
    ir_service_pb2.GenerateIRResponse(
        request_id="r-1", schema_digest=DIGEST, ir_digest=digest_of("[1]")
    )
)
PIECES = [*GOOD, started(2), delta("["), delta("1]"), Stream()]


@st.composite
def streams(draw: st.DrawFn) -> list[bytes]:
    """The events of a good stream with some changes, or any events."""
    events = [event.SerializeToString() for event in GOOD]
    pieces = st.one_of(
        st.sampled_from(PIECES).map(Stream.SerializeToString), wire(Stream.DESCRIPTOR)
    )
    for _ in range(draw(st.integers(0, 3))):
        place = draw(st.integers(0, len(events)))
        match draw(st.sampled_from(["insert", "delete", "damage"])):
            case "insert":
                events.insert(place, draw(pieces))
            case "delete":
                del events[place : place + 1]
            case _ if place < len(events):
                events[place] += draw(pieces)
    return events


@given(streams())
def test_any_stream(events: list[bytes]) -> None:
    reader = StreamReader(schema_argument(None, None), "", DIGEST)
    shown = []
    try:
        shown.extend([reader.event(data) for data in events])
        reader.end()
    except InvalidResponseError:
        with pytest.raises(RuntimeError):
            _ = reader.result
        return
    result = reader.result
    assert f"sha256:{hashlib.sha256(result.ir_json.encode()).hexdigest()}" == result.ir_digest
    assert result.schema_digest == DIGEST
    assert result.value == json.loads(result.ir_json) == json.loads(reader.raw_output)
    names = [type(event).__name__ for event in shown if event is not None]
    assert names[:2] == ["Accepted", "AttemptStarted"]
    assert names.count("Completed") == 1
    assert names[-1] == "Completed"


class Failure(grpc.RpcError):
    """A failed call as both clients see it."""

    def __init__(self, code: grpc.StatusCode, details: str, trailer: bytes) -> None:
        super().__init__()
        self._code, self._details, self.trailer = code, details, trailer

    def code(self) -> grpc.StatusCode:
        return self._code

    def details(self) -> str:
        return self._details

    def trailing_metadata(self) -> Any:
        return (("genir-request-id", "r-1"), (DETAILS_KEY, self.trailer))


DETAILS = (
    error_details_pb2.ErrorInfo,
    error_details_pb2.BadRequest,
    error_details_pb2.RetryInfo,
    error_details_pb2.RequestInfo,
    status_pb2.GenerationFailure,
)


@st.composite
def failures(draw: st.DrawFn) -> Failure:
    """A status with random details, or with random bytes instead."""
    code = draw(st.sampled_from([each for each in grpc.StatusCode if each.name != "OK"]))
    if draw(st.integers(0, 9)) == 0:
        return Failure(code, "", draw(st.binary(max_size=40)))
    status = rpc_status_pb2.Status(code=code.value[0], message="scripted")
    for _ in range(draw(st.integers(0, 4))):
        kind = draw(st.sampled_from(DETAILS))
        name = kind.DESCRIPTOR.full_name
        status.details.add(
            type_url=f"type.googleapis.com/{name}", value=draw(wire(kind.DESCRIPTOR))
        )
    return Failure(code, "scripted", status.SerializeToString())


@given(failures())
def test_any_failure_becomes_an_error_and_a_short_pause_at_most(failure: Failure) -> None:
    error = error_from_rpc(failure, timeout=5)
    assert error.__cause__ is failure
    str(error)
    budget = CallBudget(RetryPolicy(max_delay=2), timeout=5)
    with contextlib.suppress(type(error)):
        assert 0 <= budget.pause_before_retry(error) <= 2 * 1.2
        assert not isinstance(error, InvalidResponseError)


@settings(max_examples=40)
@given(st.lists(st.one_of(st.binary(max_size=9), wire(Stream.DESCRIPTOR)), max_size=4), failures())
def test_any_answer_through_grpc(messages: list[bytes], failure: Failure) -> None:
    trailers = [(DETAILS_KEY, failure.trailer)]
    with RawServer() as server, IRClient(server.target, retry=NO_RETRIES) as client:
        server.answer = Answer(messages, failure.code(), failure.details(), trailers)
        with contextlib.suppress(GenirError):
            client.generate("hi")
        # grpc-core waits until the deadline when a unary call gets a second message.
        server.answer = Answer(messages[:1], failure.code(), failure.details(), trailers)
        for call in (client.health, client.check_schema, client.warmup):
            with contextlib.suppress(GenirError):
                call()


MAX_INTEGER = 2**53 - 1
JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(-MAX_INTEGER, MAX_INTEGER), st.text(max_size=5))
    | st.floats(allow_nan=False, allow_infinity=False).filter(
        lambda number: not MAX_INTEGER < abs(number) < 1e21
    ),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=8,
)


@given(one=JSON, other=JSON, escaped=st.booleans())
def test_strict_json_reads_values_and_compares_them(
    *, one: object, other: object, escaped: bool
) -> None:
    text = json.dumps(one, ensure_ascii=escaped)
    assert read(text) == one
    assert same(one, read(text))
    # Sorted keys make the texts of equal values equal, but for the forms of one number.
    texts = [json.dumps(each, sort_keys=True) for each in (one, other)]
    if texts[0] == texts[1]:
        assert same(one, other)
    if one != other:
        assert not same(one, other)


@given(st.text(alphabet='[]{}",:\\u0dD89aA1eE+-.NInfinty ', max_size=30))
def test_strict_json_refuses_or_reads_any_text(text: str) -> None:
    try:
        value = read(text)
    except ValueError:
        return
    assert value == json.loads(text)
    json.dumps(value, ensure_ascii=False, allow_nan=False).encode()
