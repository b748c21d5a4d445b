"""Requests, parsed refusals, and waiting for an idle server, for end-to-end tests."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import grpc
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from genir.v1 import generation_pb2, ir_service_pb2, status_pb2

if TYPE_CHECKING:
    from genir import IRClient
    from genir.types import ServerHealth
    from genir.v1 import ir_service_pb2_grpc

IDLE_SECONDS = 10.0
CALL_SECONDS = 400.0


SMALL_SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "minLength": 1, "maxLength": 20},
        "kind": {"enum": ["function", "class", "module"]},
    },
    "required": ["name", "kind"],
    "additionalProperties": False,
}


@dataclass(frozen=True, slots=True)
class Refusal:
    """A status other than OK with its parsed details."""

    code: grpc.StatusCode
    message: str
    reason: str
    request_id: str
    fields: dict[str, str] = field(default_factory=dict)
    failure: status_pb2.GenerationFailure | None = None
    retry_seconds: float | None = None
    metadata: dict[str, str] = field(default_factory=dict)
    details_bytes: int = 0


def spec(prompt: str = "Name a thing.", schema: object = None, **fields: Any) -> Any:
    """A GenerationSpec. `schema` is a mapping or JSON text."""
    if schema is not None:
        fields["json_schema"] = schema if isinstance(schema, str) else json.dumps(schema)
    return generation_pb2.GenerationSpec(prompt=prompt, **fields)


def generate(
    stub: ir_service_pb2_grpc.IRServiceStub, *arguments: Any, **fields: Any
) -> ir_service_pb2.GenerateIRResponse:
    """Calls GenerateIR with a spec made from the arguments."""
    request = ir_service_pb2.GenerateIRRequest(spec=spec(*arguments, **fields))
    return stub.GenerateIR(request, timeout=CALL_SECONDS)


def refused(stub: ir_service_pb2_grpc.IRServiceStub, *arguments: Any, **fields: Any) -> Refusal:
    """Calls GenerateIR and returns its refusal. Fails the test on OK."""
    return refusal_of(ir_service_pb2.GenerateIRRequest(spec=spec(*arguments, **fields)), stub)


def refusal_of(
    request: ir_service_pb2.GenerateIRRequest, stub: ir_service_pb2_grpc.IRServiceStub
) -> Refusal:
    try:
        answer = stub.GenerateIR(request, timeout=CALL_SECONDS)
    except grpc.RpcError as error:
        return refusal_from(error)
    raise AssertionError(f"expected a refusal, got {answer.ir_json}")


def refusal_from(error: Any) -> Refusal:
    """Parses an RpcError. Fails the test if the details that every status has are missing."""
    status = rpc_status.from_call(error)
    assert status is not None, f"no details: {error}"
    details: dict[str, Any] = {}
    for packed in status.details:
        for kind in (
            error_details_pb2.ErrorInfo,
            error_details_pb2.RequestInfo,
            error_details_pb2.BadRequest,
            error_details_pb2.RetryInfo,
            status_pb2.GenerationFailure,
        ):
            if packed.Is(kind.DESCRIPTOR):
                message = kind()
                packed.Unpack(message)
                details[kind.DESCRIPTOR.name] = message
    trailing = {item.key: item.value for item in error.trailing_metadata() or ()}
    info = details["ErrorInfo"]
    assert info.domain == "genir"
    assert trailing["genir-request-id"] == details["RequestInfo"].request_id
    bad_request = details.get("BadRequest")
    retry = details.get("RetryInfo")
    return Refusal(
        code=error.code(),
        message=error.details() or "",
        reason=info.reason,
        request_id=details["RequestInfo"].request_id,
        fields={
            violation.field: violation.description
            for violation in (bad_request.field_violations if bad_request else ())
        },
        failure=details.get("GenerationFailure"),
        retry_seconds=retry.retry_delay.ToTimedelta().total_seconds() if retry else None,
        metadata=dict(info.metadata),
        details_bytes=status.ByteSize(),
    )


def wait_until_idle(client: IRClient, seconds: float = IDLE_SECONDS) -> ServerHealth:
    """Waits until no call is in flight and the engine has no request."""
    deadline = time.monotonic() + seconds
    while True:
        health = client.health()
        busy = health.activity.running + health.activity.waiting + health.activity.calls_in_flight
        if not busy or time.monotonic() > deadline:
            assert not busy, f"still busy after {seconds} s: {health.activity}"
            return health
        time.sleep(0.05)
