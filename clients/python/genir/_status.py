"""Turns a failed gRPC call into an exception of `genir.errors`. Pure."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, cast

import grpc
from google.protobuf.message import DecodeError
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from genir import _contract, _decode, errors
from genir._connection_fault import tls_fault
from genir._contract import BrokenContractError, invalid_response
from genir.types import FieldViolation
from genir.v1 import status_pb2

if TYPE_CHECKING:
    from collections.abc import Iterable

    from google.protobuf.any_pb2 import Any as AnyMessage
    from google.rpc.status_pb2 import Status

_DOMAIN = "genir"
_REQUEST_ID_KEY = "genir-request-id"

_BY_REASON: dict[errors.ErrorReason, type[errors.GenirError]] = {
    errors.ErrorReason.INVALID_FIELD: errors.InvalidRequestError,
    errors.ErrorReason.MESSAGE_UNDECODABLE: errors.InvalidRequestError,
    errors.ErrorReason.PROMPT_TOO_LONG: errors.InvalidRequestError,
    errors.ErrorReason.BUDGET_TOO_SMALL: errors.InvalidRequestError,
    errors.ErrorReason.SCHEMA_INVALID: errors.SchemaError,
    errors.ErrorReason.SCHEMA_UNSUPPORTED: errors.SchemaError,
    errors.ErrorReason.SCHEMA_TOO_COMPLEX: errors.SchemaError,
    errors.ErrorReason.MODEL_NOT_FOUND: errors.NotFoundError,
    errors.ErrorReason.SCHEMA_NOT_FOUND: errors.NotFoundError,
    errors.ErrorReason.LORA_ADAPTER_NOT_FOUND: errors.NotFoundError,
    errors.ErrorReason.TRUNCATED: errors.TruncatedError,
    errors.ErrorReason.VALIDATION_FAILED: errors.ValidationFailedError,
    errors.ErrorReason.CONSTRAINT_FAILED: errors.ConstraintFailedError,
    errors.ErrorReason.MODEL_LOADING: errors.UnavailableError,
    errors.ErrorReason.DRAINING: errors.UnavailableError,
    errors.ErrorReason.ENGINE_DEAD: errors.UnavailableError,
    errors.ErrorReason.ENGINE_UNAVAILABLE: errors.UnavailableError,
    errors.ErrorReason.OVERLOADED: errors.OverloadedError,
    errors.ErrorReason.DEADLINE_EXCEEDED: errors.DeadlineExceededError,
    errors.ErrorReason.INTERNAL: errors.ServerFaultError,
    errors.ErrorReason.UNAUTHENTICATED: errors.NotAuthorizedError,
    errors.ErrorReason.PERMISSION_DENIED: errors.NotAuthorizedError,
}

# For reasons that this client does not know, and for failures that the service did not report.
_BY_CODE: dict[grpc.StatusCode, type[errors.GenirError]] = {
    grpc.StatusCode.INVALID_ARGUMENT: errors.InvalidRequestError,
    grpc.StatusCode.NOT_FOUND: errors.NotFoundError,
    grpc.StatusCode.UNAUTHENTICATED: errors.NotAuthorizedError,
    grpc.StatusCode.PERMISSION_DENIED: errors.NotAuthorizedError,
    grpc.StatusCode.UNAVAILABLE: errors.UnavailableError,
    grpc.StatusCode.DEADLINE_EXCEEDED: errors.DeadlineExceededError,
    grpc.StatusCode.CANCELLED: errors.CallCancelledError,
}


def error_from_rpc(
    rpc_error: grpc.RpcError,
    timeout: float,
    request_id: str = "",
    raw_output: str = "",
    *,
    secure: bool = False,
) -> errors.GenirError:
    """The exception for a failed call of either client, with `rpc_error` as its cause.

    It is `InvalidResponseError` when the details of the status do not decode or hold nonsense. That
    error has no status code, so that it is never retried.

    Args:
        rpc_error: what gRPC raised.
        timeout: the call's deadline in seconds.
        request_id: the request id to use when the status holds none.
        raw_output: the text received before the failure. When empty, the text in the status is
            used, if the status holds all of it.
        secure: whether the client uses TLS.

    """
    try:
        details = _details(rpc_error, timeout, request_id, secure=secure)
    except BrokenContractError as broken:
        invalid = invalid_response(
            BrokenContractError(f"the call failed with {rpc_error.code().name}, but {broken}"),
            request_id=_trailing_request_id(rpc_error) or request_id,
            raw_output=raw_output,
        )
        invalid.__cause__ = rpc_error
        return invalid
    if not raw_output and details.failure is not None and not details.failure.raw_tail:
        raw_output = details.failure.raw_head
    details = replace(details, raw_output=raw_output)
    error = _error_class(details)(details)
    error.__cause__ = rpc_error
    return error


def _error_class(details: errors.ErrorDetails) -> type[errors.GenirError]:
    if details.reason in _BY_REASON:
        return _BY_REASON[details.reason]
    code = details.code
    if code is grpc.StatusCode.RESOURCE_EXHAUSTED:
        # grpc-core also uses this code for too large messages, where a retry does not help.
        return errors.OverloadedError if details.retry_delay else errors.LimitExceededError
    return _BY_CODE.get(code, errors.ServerFaultError) if code else errors.ServerFaultError


def _details(
    error: grpc.RpcError, timeout: float, request_id: str, *, secure: bool
) -> errors.ErrorDetails:
    code = error.code()
    details = errors.ErrorDetails(
        reason=errors.ErrorReason(code.name),
        message=error.details() or "no further details",
        code=code,
        request_id=_trailing_request_id(error) or request_id,
    )
    try:
        rich = _rich_status(error)
        for packed in rich.details if rich is not None else ():
            details = _with_detail(details, packed)
    except DecodeError:
        msg = "the details of its status do not decode"
        raise BrokenContractError(msg) from None
    if code is grpc.StatusCode.DEADLINE_EXCEEDED and rich is None:
        return replace(
            details,
            message=f"the call's deadline of {timeout:g} s passed; give it a longer timeout",
        )
    if code is grpc.StatusCode.UNAVAILABLE and rich is None:
        fault = tls_fault(details.message, secure=secure)
        if fault is not None:
            return replace(details, message=fault, metadata={"connection": "tls"})
    return details


def _rich_status(error: grpc.RpcError) -> Status | None:
    try:
        # A blocking error is also a call; an asyncio error has the three methods that are used.
        status: Status | None = rpc_status.from_call(cast("grpc.Call", error))
    except ValueError:  # The details contradict the status: a proxy has rewritten one of them.
        return None
    return status


def _trailing_request_id(error: grpc.RpcError) -> str:
    metadata = cast("Iterable[tuple[str, str | bytes]]", error.trailing_metadata() or ())
    for key, value in metadata:
        if key == _REQUEST_ID_KEY:
            return value if isinstance(value, str) else value.decode("ascii", "replace")
    return ""


def _with_detail(details: errors.ErrorDetails, packed: AnyMessage) -> errors.ErrorDetails:
    """The details plus one packed message of `google.rpc` or `genir.v1`."""
    info = error_details_pb2.ErrorInfo()
    bad = error_details_pb2.BadRequest()
    retry = error_details_pb2.RetryInfo()
    request = error_details_pb2.RequestInfo()
    failure = status_pb2.GenerationFailure()
    if packed.Unpack(info):
        if info.domain == _DOMAIN:
            # Not every member: some reasons are the client's own.
            reason = errors.ErrorReason(info.reason)
            metadata = dict(info.metadata)
            if reason not in _BY_REASON:
                reason = errors.ErrorReason.UNRECOGNIZED
                metadata["reason"] = info.reason
            return replace(details, reason=reason, metadata=metadata)
    elif packed.Unpack(bad):
        fields = tuple(FieldViolation(v.field, v.description) for v in bad.field_violations)
        return replace(details, fields=fields)
    elif packed.Unpack(retry):
        return replace(details, retry_delay=_contract.duration(retry, "retry_delay"))
    elif packed.Unpack(request):
        return replace(details, request_id=request.request_id or details.request_id)
    elif packed.Unpack(failure):
        return replace(details, failure=_decode.generation_failure(failure))
    return details
