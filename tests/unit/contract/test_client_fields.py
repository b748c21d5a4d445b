"""The client sends every request field of the contract and gives every response field.

The first half calls the client with every argument that it takes. The second half changes one field
of a response at a time and compares what the client makes of it. Each has a counterpart on a
contract with one field more, which the client does not know: it must be found.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import grpc
import pytest

from genir import GenerationOptions, IRClient, Message
from genir.errors import GenirError, InvalidResponseError
from genir.v1 import generation_pb2, ir_service_pb2, status_pb2
from tests.support.contract_fields import (
    NEW_FIELD,
    assign,
    field_names,
    leaf_paths,
    name_of,
    samples,
    set_fields,
    with_new_field,
)
from tests.support.contract_server import (
    DIGEST,
    ContractServer,
    Refusal,
    accepted,
    checked,
    completed,
    delta,
    play,
    refused,
    started,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from google.protobuf.message import Message as ProtoMessage

    from tests.support.contract_fields import Path

REQUESTS: tuple[type[ProtoMessage], ...] = (
    # `IRClient.generate` makes a StreamIR call, so that a long generation shows that it is alive.
    ir_service_pb2.StreamIRRequest,
    ir_service_pb2.CheckSchemaRequest,
    ir_service_pb2.HealthRequest,
    ir_service_pb2.WarmupRequest,
)
RESPONSES: tuple[type[ProtoMessage], ...] = (
    ir_service_pb2.StreamIRResponse,
    ir_service_pb2.CheckSchemaResponse,
    ir_service_pb2.HealthResponse,
    ir_service_pb2.WarmupResponse,
    status_pb2.GenerationFailure,
)


@pytest.fixture
def server() -> Iterator[ContractServer]:
    with ContractServer() as server:
        server.service.healths.append(lambda _: ir_service_pb2.HealthResponse())
        server.service.checks.append(checked)
        server.service.warmups.append(lambda _: valid_response(ir_service_pb2.WarmupResponse))
        yield server


@pytest.fixture
def client(server: ContractServer) -> Iterator[IRClient]:
    with IRClient(server.target) as client:
        yield client


def option(name: str) -> Any:
    """A value for an option of a generation that is not its default."""
    field = generation_pb2.GenerationSpec.DESCRIPTOR.fields_by_name[name]
    if field.enum_type is not None:
        return field.enum_type.values[-1].name.removeprefix(f"{name.upper()}_").lower()
    return samples(field)[0]


def sent_fields(server: ContractServer, owner: str = "") -> tuple[set[str], set[str]]:
    """All request fields, and those that the calls so far set."""
    known: set[str] = set()
    for request_class in REQUESTS:
        known |= field_names(with_new_field(request_class, owner) if owner else request_class)
    sent: set[str] = set()
    for call in server.calls:
        sent |= set_fields(call.request)
    return known, sent


def test_every_request_field_is_sent_and_a_new_one_that_is_not_is_found(
    server: ContractServer, client: IRClient
) -> None:
    options: Any = {name: option(name) for name in GenerationOptions.__annotations__}
    client.stream("hi", schema="{}", tokens_per_delta=2, **options).result()
    client.generate([Message("user", "hi")], schema_digest=DIGEST)
    client.check_schema("{}", include_engine_schema=True)
    client.check_schema(schema_digest=DIGEST)
    client.health(deep=True)
    client.warmup(force=True, schemas=["{}"])
    known, sent = sent_fields(server)
    assert known - sent == set()
    for owner in ("genir.v1.GenerationSpec", "genir.v1.WarmupRequest"):
        known, sent = sent_fields(server, owner)
        assert known - sent == {f"{owner}.{NEW_FIELD}"}


def values(path: Path) -> list[Any]:
    """Two values for a field of a response."""
    return ["1", "2"] if path[-1].name == "ir_json" else samples(path[-1])[:2]


def valid_response(response_class: type[ProtoMessage], kind: str = "") -> Any:
    """A response that keeps the contract, for the requests that `decoded` sends."""
    name = response_class.DESCRIPTOR.name
    response: Any = response_class()
    match name, kind:
        case "StreamIRResponse", "completed":
            response.MergeFromString(completed("0").SerializeToString())
        case "StreamIRResponse", "attempt_started":
            response.attempt_started.number = 1
        case "CheckSchemaResponse", _:
            response.schema_digest = DIGEST
        case "WarmupResponse", _:
            response.ir_json = "0"
            response.schema_digest = DIGEST
            response.schemas.add(schema_digest=DIGEST)
        case "GenerationFailure", _:
            response.attempts.add(number=1)
    return response


def response_with(response_class: type[ProtoMessage], path: Path, value: Any) -> ProtoMessage:
    """A response in which the field at the end of `path` has a value."""
    response: ProtoMessage = valid_response(response_class, path[0].name)
    assign(response, path, value)
    return response


def stream_with(event: ir_service_pb2.StreamIRResponse) -> list[ir_service_pb2.StreamIRResponse]:
    """A stream that keeps the contract but for this event."""
    match event.WhichOneof("event"):
        case "accepted":
            return [event, started(), delta("0"), completed("0")]
        case "attempt_started":
            return [accepted(), event, delta("0"), completed("0")]
        case "text_delta":
            return [accepted(), started(), event, completed("0")]
        case _:
            return [accepted(), started(), delta(event.completed.ir_json), event]


def decoded(server: ContractServer, client: IRClient, message: ProtoMessage) -> object:
    """What the client makes of a response. Some values are refused, with a message about them."""
    try:
        return accepted_by(server, client, message)
    except InvalidResponseError as refused:
        return refused.message


def accepted_by(server: ContractServer, client: IRClient, message: ProtoMessage) -> object:
    data = message.SerializeToString()
    match message.DESCRIPTOR.name:
        case "StreamIRResponse":
            event = ir_service_pb2.StreamIRResponse.FromString(data)
            server.script(play(*stream_with(event)))
            events: list[object] = []
            try:
                for each in client.stream("hi"):
                    events.append(each)  # noqa: PERF402 - keeps the events before an error.
            except InvalidResponseError as refused_event:
                events.append(refused_event.message)
            return events
        case "CheckSchemaResponse":
            check = ir_service_pb2.CheckSchemaResponse.FromString(data)
            server.service.checks[0] = lambda _: check
            return client.check_schema(schema_digest=DIGEST)
        case "HealthResponse":
            health = ir_service_pb2.HealthResponse.FromString(data)
            server.service.healths[0] = lambda _: health
            return client.health()
        case "WarmupResponse":
            warmup = ir_service_pb2.WarmupResponse.FromString(data)
            server.service.warmups[0] = lambda _: warmup
            return client.warmup(schemas=["{}"])
        case "GenerationFailure":
            failure = status_pb2.GenerationFailure.FromString(data)
            code = grpc.StatusCode.FAILED_PRECONDITION
            server.script(refused(Refusal(code, "VALIDATION_FAILED", details=[failure])))
            with pytest.raises(GenirError) as raised:
                client.generate("hi")
            return raised.value.failure or raised.value.message
        case name:
            raise AssertionError(name)


def lost_fields(
    server: ContractServer, client: IRClient, response_class: type[ProtoMessage]
) -> list[str]:
    """The fields of a response of which the client gives the same, whatever their value."""
    lost = []
    for path in leaf_paths(response_class):
        first, second = (
            decoded(server, client, response_with(response_class, path, value))
            for value in values(path)
        )
        if first == second:
            lost.append(name_of(path))
    return lost


@pytest.mark.parametrize("response_class", RESPONSES, ids=lambda each: each.DESCRIPTOR.name)
def test_every_response_field_is_given(
    server: ContractServer, client: IRClient, response_class: type[ProtoMessage]
) -> None:
    assert lost_fields(server, client, response_class) == []


@pytest.mark.parametrize(
    ("response_class", "owner", "path"),
    [
        (RESPONSES[0], "genir.v1.Timings", f"completed.timings.{NEW_FIELD}"),
        (RESPONSES[1], "genir.v1.SchemaLimit", f"limits.{NEW_FIELD}"),
        (RESPONSES[2], "genir.v1.SchemaCacheStats", f"schema_cache.{NEW_FIELD}"),
        (RESPONSES[3], "genir.v1.SchemaRefusal", f"schemas.refusal.{NEW_FIELD}"),
        (RESPONSES[4], "genir.v1.Violation", f"violations.{NEW_FIELD}"),
    ],
)
def test_a_new_response_field_that_the_client_drops_is_found(
    server: ContractServer,
    client: IRClient,
    response_class: type[ProtoMessage],
    owner: str,
    path: str,
) -> None:
    assert lost_fields(server, client, with_new_field(response_class, owner)) == [path]
