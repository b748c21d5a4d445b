"""From a `GenirError` to a gRPC status: the one table of codes, and the `google.rpc` details.

Trailers beyond 8 KiB turn into RESOURCE_EXHAUSTED at random, and details travel base64-encoded
beside a percent-encoded message, so both are kept well below that.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, NoReturn

import grpc
from google.protobuf import any_pb2
from google.rpc import error_details_pb2, status_pb2

from genir.v1 import status_pb2 as genir_status
from genir_server.domain.digest import digest
from genir_server.domain.errors import Reason
from genir_server.transport import convert

if TYPE_CHECKING:
    from google.protobuf.message import Message

    from genir_server.domain.errors import GenirError
    from genir_server.domain.types import GenerationFailure

REQUEST_ID_METADATA = "genir-request-id"
"""Initial and trailing metadata that carries the request id of every call."""

ERROR_DOMAIN = "genir"
"""`google.rpc.ErrorInfo.domain` of every error."""

CODES: dict[Reason, grpc.StatusCode] = {
    Reason.INVALID_FIELD: grpc.StatusCode.INVALID_ARGUMENT,
    Reason.MESSAGE_UNDECODABLE: grpc.StatusCode.INVALID_ARGUMENT,
    Reason.SCHEMA_INVALID: grpc.StatusCode.INVALID_ARGUMENT,
    Reason.SCHEMA_UNSUPPORTED: grpc.StatusCode.INVALID_ARGUMENT,
    Reason.SCHEMA_TOO_COMPLEX: grpc.StatusCode.INVALID_ARGUMENT,
    Reason.PROMPT_TOO_LONG: grpc.StatusCode.INVALID_ARGUMENT,
    Reason.BUDGET_TOO_SMALL: grpc.StatusCode.INVALID_ARGUMENT,
    Reason.MODEL_NOT_FOUND: grpc.StatusCode.NOT_FOUND,
    Reason.SCHEMA_NOT_FOUND: grpc.StatusCode.NOT_FOUND,
    Reason.LORA_ADAPTER_NOT_FOUND: grpc.StatusCode.NOT_FOUND,
    Reason.TRUNCATED: grpc.StatusCode.OUT_OF_RANGE,
    Reason.VALIDATION_FAILED: grpc.StatusCode.FAILED_PRECONDITION,
    Reason.CONSTRAINT_FAILED: grpc.StatusCode.FAILED_PRECONDITION,
    Reason.MODEL_LOADING: grpc.StatusCode.UNAVAILABLE,
    Reason.DRAINING: grpc.StatusCode.UNAVAILABLE,
    Reason.ENGINE_DEAD: grpc.StatusCode.UNAVAILABLE,
    Reason.ENGINE_UNAVAILABLE: grpc.StatusCode.UNAVAILABLE,
    Reason.OVERLOADED: grpc.StatusCode.RESOURCE_EXHAUSTED,
    Reason.DEADLINE_EXCEEDED: grpc.StatusCode.DEADLINE_EXCEEDED,
    Reason.INTERNAL: grpc.StatusCode.INTERNAL,
    Reason.UNAUTHENTICATED: grpc.StatusCode.UNAUTHENTICATED,
    Reason.PERMISSION_DENIED: grpc.StatusCode.PERMISSION_DENIED,
}
"""The status code of each reason."""

MAX_DETAILS_BYTES = 4_500
_STATUS_DETAILS_METADATA = "grpc-status-details-bin"
_MAX_MESSAGE_BYTES = 400
_MAX_TEXT_CHARACTERS = 200
_MAX_FIELDS = 8
_MAX_VIOLATIONS = 20
_MAX_RAW_BYTES = 1_024


def rpc_status(error: GenirError, request_id: str) -> status_pb2.Status:
    """The `google.rpc.Status` of an error, small enough for a trailer."""
    code: int = CODES[error.reason].value[0]
    status = status_pb2.Status(code=code, message=_head(error.message, _MAX_MESSAGE_BYTES))
    info = error_details_pb2.ErrorInfo(reason=error.reason.value, domain=ERROR_DOMAIN)
    for key, value in error.metadata.items():
        info.metadata[key] = _head(value, _MAX_TEXT_CHARACTERS)
    _attach(status, info)
    _attach(status, error_details_pb2.RequestInfo(request_id=request_id))
    if error.fields:
        bad_request = error_details_pb2.BadRequest()
        for violation in error.fields[:_MAX_FIELDS]:
            bad_request.field_violations.add(
                field=_head(violation.field, _MAX_TEXT_CHARACTERS),
                description=_head(violation.description, _MAX_TEXT_CHARACTERS),
            )
        _attach(status, bad_request)
    if error.retry_after is not None:
        _attach(
            status,
            error_details_pb2.RetryInfo(retry_delay=convert.duration(error.retry_after)),
        )
    if error.failure is not None:
        _attach(status, _failure(error.failure, MAX_DETAILS_BYTES - status.ByteSize()))
    return status


def grpc_code(status: status_pb2.Status) -> grpc.StatusCode:
    """The status code object of a `google.rpc.Status`."""
    return _CODES_BY_NUMBER[status.code]


_CODES_BY_NUMBER: dict[int, grpc.StatusCode] = {code.value[0]: code for code in grpc.StatusCode}


async def end_with(
    context: grpc.aio.ServicerContext[Any, Any], failure: GenirError, request_id: str
) -> NoReturn:
    """Ends a call with the status of `failure`, its details and the request id.

    Raises:
        asyncio.CancelledError: the caller is gone.
    """
    status = rpc_status(failure, request_id)
    try:
        await context.abort_with_status(
            _Status(
                grpc_code(status),
                status.message,
                (
                    (REQUEST_ID_METADATA, request_id),
                    (_STATUS_DETAILS_METADATA, status.SerializeToString()),
                ),
            )
        )
    except grpc.aio.InternalError:
        raise asyncio.CancelledError from None
    raise AssertionError("abort_with_status raises")


class _Status(grpc.Status):
    """A status with details and our own trailing metadata."""

    def __init__(
        self,
        code: grpc.StatusCode,
        details: str,
        trailing_metadata: tuple[tuple[str, str | bytes], ...],
    ) -> None:
        self.code = code
        self.details = details
        self.trailing_metadata = trailing_metadata


def _failure(failure: GenerationFailure, room: int) -> genir_status.GenerationFailure:
    raw = failure.raw.encode()
    message = genir_status.GenerationFailure(
        finish_reason=convert.finish_reason_to_proto(failure.finish_reason),
        usage=convert.usage_to_proto(failure.usage),
        attempts=map(convert.attempt_to_proto, failure.attempts),
        violations=(
            convert.violation_to_proto(violation, _MAX_TEXT_CHARACTERS)
            for violation in failure.violations[:_MAX_VIOLATIONS]
        ),
        violation_count=len(failure.violations),
        raw_head=_head(failure.raw, _MAX_RAW_BYTES),
        raw_tail=_tail(failure.raw, len(raw) - _MAX_RAW_BYTES),
        raw_size_bytes=len(raw),
        raw_digest=digest(failure.raw),
    )
    for attempt in message.attempts:
        for resumption in attempt.resumptions:
            resumption.pointer = resumption.pointer[:_MAX_TEXT_CHARACTERS]
        if message.ByteSize() > room:
            del attempt.resumptions[:]
    # Every violation says how to mend the schema or the prompt, the text is only an illustration;
    # but the first few violations tell most of it.
    while message.ByteSize() > room and len(message.violations) > 1:
        del message.violations[-1]
    share = _MAX_RAW_BYTES
    while message.ByteSize() > room and share:
        share //= 2
        message.raw_head = _head(failure.raw, share)
        message.raw_tail = _tail(failure.raw, min(share, len(raw) - _MAX_RAW_BYTES))
    return message


def _attach(status: status_pb2.Status, detail: Message) -> None:
    packed = any_pb2.Any()
    packed.Pack(detail)
    status.details.append(packed)


def _head(text: str, max_bytes: int) -> str:
    return text.encode(errors="replace")[:max_bytes].decode(errors="ignore")


def _tail(text: str, max_bytes: int) -> str:
    if max_bytes <= 0:
        return ""
    return text.encode()[-min(max_bytes, _MAX_RAW_BYTES) :].decode(errors="ignore")
