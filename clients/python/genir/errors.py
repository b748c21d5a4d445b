"""The exceptions of the client: one base class, and a subclass for each family of reasons.

`GenirError.reason` is the exact reason, an `ErrorReason`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import timedelta

    import grpc

    from genir.types import Attempt, FieldViolation, GenerationFailure, Usage, Violation


class ErrorReason(StrEnum):
    """Why a call failed. Members are strings, so ``error.reason == "TRUNCATED"`` works too.

    The first group is `genir.v1.ErrorReason`, without its prefix; the server sends these. The
    client reports the second group itself. The third group names gRPC status codes, for failures
    that did not come from the service, such as a refused connection or an answer from a proxy.
    `UNRECOGNIZED` stands for a reason that only a newer server knows; `GenirError.reason_name` then
    holds its name.
    """

    INVALID_FIELD = "INVALID_FIELD"
    MESSAGE_UNDECODABLE = "MESSAGE_UNDECODABLE"
    SCHEMA_INVALID = "SCHEMA_INVALID"
    SCHEMA_UNSUPPORTED = "SCHEMA_UNSUPPORTED"
    SCHEMA_TOO_COMPLEX = "SCHEMA_TOO_COMPLEX"
    PROMPT_TOO_LONG = "PROMPT_TOO_LONG"
    BUDGET_TOO_SMALL = "BUDGET_TOO_SMALL"
    MODEL_NOT_FOUND = "MODEL_NOT_FOUND"
    SCHEMA_NOT_FOUND = "SCHEMA_NOT_FOUND"
    LORA_ADAPTER_NOT_FOUND = "LORA_ADAPTER_NOT_FOUND"
    TRUNCATED = "TRUNCATED"
    VALIDATION_FAILED = "VALIDATION_FAILED"
    CONSTRAINT_FAILED = "CONSTRAINT_FAILED"
    MODEL_LOADING = "MODEL_LOADING"
    DRAINING = "DRAINING"
    ENGINE_DEAD = "ENGINE_DEAD"
    ENGINE_UNAVAILABLE = "ENGINE_UNAVAILABLE"
    OVERLOADED = "OVERLOADED"
    DEADLINE_EXCEEDED = "DEADLINE_EXCEEDED"
    INTERNAL = "INTERNAL"
    UNAUTHENTICATED = "UNAUTHENTICATED"
    PERMISSION_DENIED = "PERMISSION_DENIED"

    MODEL_REFUSED = "MODEL_REFUSED"
    NOT_READY = "NOT_READY"
    INVALID_RESPONSE = "INVALID_RESPONSE"

    CANCELLED = "CANCELLED"
    UNKNOWN = "UNKNOWN"
    INVALID_ARGUMENT = "INVALID_ARGUMENT"
    NOT_FOUND = "NOT_FOUND"
    ALREADY_EXISTS = "ALREADY_EXISTS"
    RESOURCE_EXHAUSTED = "RESOURCE_EXHAUSTED"
    FAILED_PRECONDITION = "FAILED_PRECONDITION"
    ABORTED = "ABORTED"
    OUT_OF_RANGE = "OUT_OF_RANGE"
    UNIMPLEMENTED = "UNIMPLEMENTED"
    UNAVAILABLE = "UNAVAILABLE"
    DATA_LOSS = "DATA_LOSS"

    UNRECOGNIZED = "UNRECOGNIZED"

    @classmethod
    def _missing_(cls, value: object) -> ErrorReason:  # noqa: ARG003 - what enum passes.
        return cls.UNRECOGNIZED


@dataclass(frozen=True, slots=True, kw_only=True)
class ErrorDetails:
    """All that is known about a failure.

    Attributes:
        reason: the stable reason, such as `ErrorReason.SCHEMA_INVALID`.
        message: one or two sentences for a person.
        code: the gRPC status code; None for a failure that the client itself detects.
        request_id: the request id; empty when unknown.
        fields: the invalid fields of the request.
        retry_delay: the delay that the server suggests before a retry; None when it suggests none.
        failure: usage, attempts and text of a failed generation; None for other failures.
        raw_output: the text of the last attempt that the client received before the failure. After
            a deadline or a lost connection, the end may be missing.
        metadata: further facts as strings, such as a limit and the value that exceeds it.

    """

    reason: ErrorReason
    message: str
    code: grpc.StatusCode | None = None
    request_id: str = ""
    fields: tuple[FieldViolation, ...] = ()
    retry_delay: timedelta | None = None
    failure: GenerationFailure | None = None
    raw_output: str = ""
    metadata: Mapping[str, str] = field(default_factory=dict)


class GenirError(Exception):
    """A failed call. ``__cause__`` is the error of gRPC, if there is one."""

    def __init__(self, details: ErrorDetails) -> None:
        super().__init__(details)
        self.details = details

    def __str__(self) -> str:
        """The reason, the message and the request id."""
        origin = f" (request id {self.request_id})" if self.request_id else ""
        return f"{self.reason_name}: {self.message}{origin}"

    @property
    def reason(self) -> ErrorReason:
        """The stable reason, such as `ErrorReason.SCHEMA_INVALID`."""
        return self.details.reason

    @property
    def reason_name(self) -> str:
        """The reason as the server spelled it; differs from `reason` only for `UNRECOGNIZED`."""
        if self.reason is ErrorReason.UNRECOGNIZED:
            return self.metadata.get("reason") or self.reason
        return self.reason

    @property
    def message(self) -> str:
        """One or two sentences for a person."""
        return self.details.message

    @property
    def code(self) -> grpc.StatusCode | None:
        """The gRPC status code; None for a failure that the client itself detects."""
        return self.details.code

    @property
    def request_id(self) -> str:
        """The request id; empty when unknown."""
        return self.details.request_id

    @property
    def fields(self) -> tuple[FieldViolation, ...]:
        """The invalid fields of the request."""
        return self.details.fields

    @property
    def retry_delay(self) -> timedelta | None:
        """The delay that the server suggests before a retry; None when it suggests none."""
        return self.details.retry_delay

    @property
    def failure(self) -> GenerationFailure | None:
        """Usage, attempts and text of a failed generation; None for other failures."""
        return self.details.failure

    @property
    def raw_output(self) -> str:
        """The text of the last attempt that the client received before the failure.

        It may be empty. After a deadline or a lost connection, the end may be missing.
        """
        return self.details.raw_output

    @property
    def metadata(self) -> Mapping[str, str]:
        """Further facts as strings, such as a limit and the value that exceeds it."""
        return self.details.metadata

    @property
    def violations(self) -> tuple[Violation, ...]:
        """Up to 20 schema violations of the last attempt's value; empty for other failures."""
        return self.failure.violations if self.failure else ()

    @property
    def usage(self) -> Usage | None:
        """Tokens of all attempts together.

        None unless the server reports a failed generation. A deadline and a lost connection end the
        call without that report.
        """
        return self.failure.usage if self.failure else None

    @property
    def attempts(self) -> tuple[Attempt, ...]:
        """The attempts of a failed generation in order; empty for other failures."""
        return self.failure.attempts if self.failure else ()


class InvalidRequestError(GenirError):
    """The request is invalid: a field, the prompt's length or the token budget."""


class SchemaError(InvalidRequestError):
    """The schema is invalid, unsupported or too complex."""


class NotFoundError(GenirError):
    """The server does not have that model, LoRA adapter, or schema digest."""


class NotAuthorizedError(GenirError):
    """The server does not know the caller, or does not permit the call."""


class GenerationFailedError(GenirError):
    """The model wrote text, but no valid IR. `raw_output` holds the text."""


class TruncatedError(GenerationFailedError):
    """The last attempt reached ``max_tokens`` before its JSON was complete."""


class ValidationFailedError(GenerationFailedError):
    """No attempt was valid against the schema; `violations` says why."""


class ConstraintFailedError(GenerationFailedError):
    """The engine stopped before the JSON was complete."""


class UnavailableError(GenirError):
    """The server cannot be reached, or it is loading, draining or has lost its engine."""


class OverloadedError(GenirError):
    """The server is full; `retry_delay` says when to retry."""


class LimitExceededError(GenirError):
    """A transport limit was exceeded, such as the maximum message size; a retry does not help."""


class DeadlineExceededError(GenirError):
    """The deadline of the call passed."""


class CallCancelledError(GenirError):
    """The client or the server cancelled the call."""


class ServerFaultError(GenirError):
    """An internal error of the server, or a response that breaks the contract."""


class InvalidResponseError(ServerFaultError):
    """A response breaks the contract, so nothing in it can be relied on. Never retried.

    Examples are bytes that do not decode, an IR that is not JSON or does not match its digest, the
    digest of another schema, and events in the wrong order. Something that is not a genir server,
    or a proxy that changes messages, may have answered.
    """


class ModelRefusedError(GenirError):
    """The IR is valid against the schema, but the Python type that was the schema rejects it.

    This happens when the type has validators that JSON Schema cannot express. `raw_output` holds
    the IR; pydantic's exception is ``__cause__``.
    """
