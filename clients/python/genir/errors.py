"""The exceptions of the client: one base class and a subclass for each family of reasons.

A caller that wants to know exactly what happened reads `GenirError.reason`; the reasons are those
of `genir.v1.ErrorReason`, without the prefix. A failure that did not come from the service itself
(nobody listens, a proxy answered) has the name of its gRPC status code as reason.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import timedelta

    import grpc

    from genir.types import Attempt, FieldViolation, GenerationFailure, Usage, Violation


@dataclass(frozen=True, slots=True, kw_only=True)
class ErrorDetails:
    """Everything that is known about a failure.

    Attributes:
        reason: stable reason, such as ``SCHEMA_INVALID``.
        message: one or two sentences for a person.
        code: the gRPC status code; None for a failure that the client found by itself.
        request_id: the request id; empty when none is known.
        fields: the fields of the request that are at fault.
        retry_delay: how long the server asks to wait before trying again; None when it does not
            suggest to.
        failure: what a generation that failed left behind.
        raw_output: the whole text that the last attempt wrote before the failure.
        metadata: further facts as strings, such as a limit and the value that broke it.

    """

    reason: str
    message: str
    code: grpc.StatusCode | None = None
    request_id: str = ""
    fields: tuple[FieldViolation, ...] = ()
    retry_delay: timedelta | None = None
    failure: GenerationFailure | None = None
    raw_output: str = ""
    metadata: Mapping[str, str] = field(default_factory=dict)


class GenirError(Exception):
    """A call that did not succeed. The error of gRPC, where there is one, is ``__cause__``."""

    def __init__(self, details: ErrorDetails) -> None:
        super().__init__(details)
        self.details = details

    def __str__(self) -> str:
        """The reason, the message and the request id."""
        origin = f" (request id {self.request_id})" if self.request_id else ""
        return f"{self.reason}: {self.message}{origin}"

    @property
    def reason(self) -> str:
        """Stable reason, such as ``SCHEMA_INVALID``."""
        return self.details.reason

    @property
    def message(self) -> str:
        """One or two sentences for a person."""
        return self.details.message

    @property
    def code(self) -> grpc.StatusCode | None:
        """The gRPC status code; None for a failure that the client found by itself."""
        return self.details.code

    @property
    def request_id(self) -> str:
        """The request id; empty when none is known."""
        return self.details.request_id

    @property
    def fields(self) -> tuple[FieldViolation, ...]:
        """The fields of the request that are at fault."""
        return self.details.fields

    @property
    def retry_delay(self) -> timedelta | None:
        """How long the server asks to wait before trying again; None when it does not say."""
        return self.details.retry_delay

    @property
    def failure(self) -> GenerationFailure | None:
        """What a generation that failed left behind."""
        return self.details.failure

    @property
    def raw_output(self) -> str:
        """The whole text that the last attempt wrote before the failure; may be empty."""
        return self.details.raw_output

    @property
    def metadata(self) -> Mapping[str, str]:
        """Further facts as strings, such as a limit and the value that broke it."""
        return self.details.metadata

    @property
    def violations(self) -> tuple[Violation, ...]:
        """What is wrong with the last attempt's value: at most 20, empty where none apply."""
        return self.failure.violations if self.failure else ()

    @property
    def usage(self) -> Usage | None:
        """Tokens of all attempts together, where a generation failed."""
        return self.failure.usage if self.failure else None

    @property
    def attempts(self) -> tuple[Attempt, ...]:
        """Every attempt in order, where a generation failed."""
        return self.failure.attempts if self.failure else ()


class InvalidRequestError(GenirError):
    """The request must change: a field, the size of the prompt, the budget of tokens."""


class SchemaError(InvalidRequestError):
    """The schema must change: it is invalid, unsupported or beyond a limit."""


class NotFoundError(GenirError):
    """The server does not have that model, LoRA adapter, or schema digest."""


class NotAuthorizedError(GenirError):
    """The server does not know who calls, or does not let them."""


class GenerationFailedError(GenirError):
    """The model wrote, but not a valid IR. `raw_output` has what it wrote."""


class TruncatedError(GenerationFailedError):
    """``max_tokens`` was reached before the JSON was complete, in the last attempt too."""


class ValidationFailedError(GenerationFailedError):
    """No attempt was valid against the schema; `violations` tells why."""


class ConstraintFailedError(GenerationFailedError):
    """The engine stopped without whole JSON."""


class UnavailableError(GenirError):
    """The server cannot be reached or cannot generate now: loading, draining, or dead."""


class OverloadedError(GenirError):
    """The server is full; `retry_delay` says when to come back."""


class LimitExceededError(GenirError):
    """A limit on the way was reached, such as the largest message; trying again is no help."""


class DeadlineExceededError(GenirError):
    """The deadline of the call passed."""


class CallCancelledError(GenirError):
    """The call was cancelled, by this side or by the other."""


class ServerFaultError(GenirError):
    """A fault of the server, or an answer that breaks the contract."""


class ModelRefusedError(GenirError):
    """The IR is valid against the schema, but the model class refuses it.

    Happens when the class has checks that its JSON Schema does not tell. `raw_output` has the IR;
    the class's own exception is ``__cause__``.
    """
