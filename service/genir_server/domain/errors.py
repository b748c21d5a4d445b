"""The one exception that carries a refusal or a failure out of the core.

The core does not know gRPC. It says why something failed with a `Reason`; the transport maps the
reason to a status code.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from genir_server.domain.types import GenerationFailure


class Reason(StrEnum):
    """Stable reasons, spelled as callers see them in `google.rpc.ErrorInfo.reason`.

    Each is documented at `genir.v1.ErrorReason`.
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


@dataclass(frozen=True, slots=True)
class FieldViolation:
    """One invalid field of a request.

    `field` is its path from the request message, such as ``spec.json_schema``; `description` tells
    the caller what to change.
    """

    field: str
    description: str


class GenirError(Exception):
    """A refusal or failure with a documented reason and a message meant for the caller.

    Args:
        reason: the stable reason.
        message: tells the caller what to change. Holds neither prompts nor outputs.
        fields: the invalid fields, for bad input.
        retry_after: seconds after which the same call may succeed; None if a retry does not help.
        failure: what a generation that failed left behind.
        metadata: further facts as strings, such as a limit and the value that exceeded it.

    """

    def __init__(
        self,
        reason: Reason,
        message: str,
        *,
        fields: tuple[FieldViolation, ...] = (),
        retry_after: float | None = None,
        failure: GenerationFailure | None = None,
        metadata: dict[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message
        self.fields = fields
        self.retry_after = retry_after
        self.failure = failure
        self.metadata = metadata or {}


def invalid_field(field: str, description: str) -> GenirError:
    """The error for one invalid field. `description` completes the sentence "<field> …"."""
    return GenirError(
        Reason.INVALID_FIELD,
        f"{field} {description}",
        fields=(FieldViolation(field, description),),
    )
