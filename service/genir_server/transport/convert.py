"""Protobuf messages to domain types and back: pure functions, and the only place that does it.

Nothing is checked here beyond what the domain types need; `core.validate` checks values. What
concerns schemas alone is in `convert_schema`.
"""

from __future__ import annotations

import functools
from dataclasses import fields
from typing import TYPE_CHECKING, TypeVar

from google.protobuf.duration_pb2 import Duration

from genir.v1 import generation_pb2 as generation
from genir.v1 import ir_service_pb2 as service
from genir.v1 import status_pb2 as status
from genir_server.domain.errors import GenirError, invalid_field
from genir_server.domain.limits import DEFAULT_MAX_ATTEMPTS
from genir_server.domain.types import (
    Accepted,
    AttemptReason,
    AttemptStarted,
    Completed,
    Enforcement,
    FinishReason,
    GenerationRequest,
    Message,
    OnBudget,
    PromptFormat,
    ResumptionReason,
    Rewound,
    Role,
    Sampling,
    SchemaInPrompt,
    SchemaShown,
    TextDelta,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from genir_server.domain.types import (
        Attempt,
        GenerationEvent,
        SchemaNotice,
        Timings,
        Usage,
        Violation,
    )

_Domain = TypeVar("_Domain")

_MAX_CACHED_TEXT = 16
_MAX_CACHED_MESSAGES = 8_192
"""Some four megabytes at most. Texts of several tokens hardly come again."""

_SAMPLING_FIELDS = frozenset(field.name for field in fields(Sampling))
_ROLES: Mapping[int, Role] = {
    generation.ROLE_SYSTEM: Role.SYSTEM,
    generation.ROLE_USER: Role.USER,
    generation.ROLE_ASSISTANT: Role.ASSISTANT,
}
_SCHEMA_IN_PROMPT: Mapping[int, SchemaInPrompt] = {
    generation.SCHEMA_IN_PROMPT_UNSPECIFIED: SchemaInPrompt.AUTO,
    generation.SCHEMA_IN_PROMPT_AUTO: SchemaInPrompt.AUTO,
    generation.SCHEMA_IN_PROMPT_ALWAYS: SchemaInPrompt.ALWAYS,
    generation.SCHEMA_IN_PROMPT_NEVER: SchemaInPrompt.NEVER,
}
_PROMPT_FORMATS: Mapping[int, PromptFormat] = {
    generation.PROMPT_FORMAT_UNSPECIFIED: PromptFormat.CHAT,
    generation.PROMPT_FORMAT_CHAT: PromptFormat.CHAT,
    generation.PROMPT_FORMAT_RAW: PromptFormat.RAW,
}
_ON_BUDGET: Mapping[int, OnBudget] = {
    generation.ON_BUDGET_UNSPECIFIED: OnBudget.CLOSE,
    generation.ON_BUDGET_CLOSE: OnBudget.CLOSE,
    generation.ON_BUDGET_FAIL: OnBudget.FAIL,
}
SCHEMA_SHOWN = {
    SchemaShown.FULL: generation.SCHEMA_SHOWN_FULL,
    SchemaShown.WITHOUT_DESCRIPTIONS: generation.SCHEMA_SHOWN_WITHOUT_DESCRIPTIONS,
    SchemaShown.NONE: generation.SCHEMA_SHOWN_NONE,
}
_FINISH_REASONS = {
    FinishReason.STOP: generation.FINISH_REASON_STOP,
    FinishReason.LENGTH: generation.FINISH_REASON_LENGTH,
    FinishReason.ABORT: generation.FINISH_REASON_ABORT,
}
_ATTEMPT_REASONS = {
    AttemptReason.FIRST: generation.ATTEMPT_REASON_FIRST,
    AttemptReason.VALIDATION_FAILED: generation.ATTEMPT_REASON_VALIDATION_FAILED,
    AttemptReason.CONSTRAINT_FAILED: generation.ATTEMPT_REASON_CONSTRAINT_FAILED,
    AttemptReason.TRUNCATED: generation.ATTEMPT_REASON_TRUNCATED,
}
_RESUMPTION_REASONS = {
    ResumptionReason.BUDGET: generation.RESUMPTION_REASON_BUDGET,
    ResumptionReason.REPETITION: generation.RESUMPTION_REASON_REPETITION,
}
_ENFORCEMENTS = {
    Enforcement.REWRITTEN: generation.ENFORCEMENT_REWRITTEN,
    Enforcement.CHECKED_AFTER_DECODING: generation.ENFORCEMENT_CHECKED_AFTER_DECODING,
    Enforcement.ANNOTATION: generation.ENFORCEMENT_ANNOTATION,
    Enforcement.NARROWED: generation.ENFORCEMENT_NARROWED,
}


def request_from_spec(
    spec: generation.GenerationSpec,
    request_id: str,
    tokens_per_delta: int = 1,
    *,
    caller: str = "",
    priority_across_callers: bool = False,
    deadline: float | None = None,
) -> GenerationRequest:
    """The domain request of a spec, with every default applied.

    Raises:
        GenirError: INVALID_FIELD for an enum value that this version does not know.
    """
    conversation: tuple[Message, ...] | None = None
    if spec.HasField("conversation"):
        conversation = tuple(
            Message(
                _known(_ROLES, message.role, f"spec.conversation.messages[{index}].role"),
                message.content,
            )
            for index, message in enumerate(spec.conversation.messages)
        )
    return GenerationRequest(
        request_id=request_id,
        prompt=spec.prompt if spec.HasField("prompt") else None,
        conversation=conversation,
        system=spec.system if spec.HasField("system") else None,
        model=spec.model,
        json_schema=spec.json_schema if spec.HasField("json_schema") else None,
        schema_digest=spec.schema_digest if spec.HasField("schema_digest") else None,
        schema_in_prompt=_known(_SCHEMA_IN_PROMPT, spec.schema_in_prompt, "spec.schema_in_prompt"),
        sampling=_sampling(spec),
        max_tokens=spec.max_tokens if spec.HasField("max_tokens") else None,
        priority=spec.priority,
        priority_across_callers=priority_across_callers,
        max_attempts=spec.max_attempts if spec.HasField("max_attempts") else DEFAULT_MAX_ATTEMPTS,
        on_budget=_known(_ON_BUDGET, spec.on_budget, "spec.on_budget"),
        lora_adapter=spec.lora_adapter,
        prompt_format=_known(_PROMPT_FORMATS, spec.prompt_format, "spec.prompt_format"),
        tokens_per_delta=tokens_per_delta,
        caller=caller,
        deadline=deadline,
    )


def event_to_message(event: GenerationEvent) -> bytes:
    """One event of a stream, as the bytes of its `StreamIRResponse`."""
    if (
        isinstance(event, TextDelta)
        and event.token_count <= 1
        and len(event.text) <= _MAX_CACHED_TEXT
    ):
        return _short_delta_message(event.text, event.token_count)
    return event_to_proto(event).SerializeToString()


@functools.lru_cache(_MAX_CACHED_MESSAGES)
def _short_delta_message(text: str, token_count: int) -> bytes:
    # A model writes the same few thousand tokens again and again, and building and encoding the
    # message is half of genir's own work for a token.
    return event_to_proto(TextDelta(text, token_count)).SerializeToString()


def event_to_proto(event: GenerationEvent) -> service.StreamIRResponse:
    """One event of a stream."""
    match event:
        case TextDelta():
            # Filled in place, which takes half the time of one message copied into another.
            response = service.StreamIRResponse()
            delta = response.text_delta
            delta.text, delta.token_count = event.text, event.token_count
            # Says which event it is even when both are at their defaults.
            delta.SetInParent()
            return response
        case Accepted():
            return service.StreamIRResponse(
                accepted=generation.Accepted(
                    request_id=event.request_id,
                    model=event.model,
                    schema_digest=event.schema_digest,
                    structured_output_backend=event.structured_output_backend,
                    schema_notices=map(notice_to_proto, event.schema_notices),
                    schema_shown=SCHEMA_SHOWN[event.schema_shown],
                    prompt_tokens=event.prompt_tokens,
                    max_tokens=event.max_tokens,
                    lora_adapter=event.lora_adapter,
                )
            )
        case AttemptStarted():
            return service.StreamIRResponse(
                attempt_started=generation.AttemptStarted(
                    number=event.number, reason=_ATTEMPT_REASONS[event.reason]
                )
            )
        case Rewound():
            return service.StreamIRResponse(
                rewound=generation.Rewound(
                    to_bytes=event.to_bytes,
                    reason=_RESUMPTION_REASONS[event.reason],
                    pointer=event.pointer,
                )
            )
        case Completed():
            return service.StreamIRResponse(completed=completed_to_proto(event))


def completed_to_proto(completed: Completed) -> service.GenerateIRResponse:
    """The answer to a generate call."""
    return service.GenerateIRResponse(
        ir_json=completed.ir_json,
        request_id=completed.request_id,
        model=completed.model,
        structured_output_backend=completed.structured_output_backend,
        schema_digest=completed.schema_digest,
        ir_digest=completed.ir_digest,
        finish_reason=_FINISH_REASONS[completed.finish_reason],
        usage=usage_to_proto(completed.usage),
        attempts=map(attempt_to_proto, completed.attempts),
        timings=_timings_to_proto(completed.timings),
        schema_notices=map(notice_to_proto, completed.schema_notices),
        schema_shown=SCHEMA_SHOWN[completed.schema_shown],
        lora_adapter=completed.lora_adapter,
        closed_early=completed.closed_early,
    )


def usage_to_proto(usage: Usage) -> generation.Usage:
    """Tokens used."""
    return generation.Usage(
        prompt_tokens=usage.prompt_tokens,
        cached_prompt_tokens=usage.cached_prompt_tokens,
        completion_tokens=usage.completion_tokens,
    )


def attempt_to_proto(attempt: Attempt) -> generation.Attempt:
    """One attempt."""
    return generation.Attempt(
        number=attempt.number,
        reason=_ATTEMPT_REASONS[attempt.reason],
        finish_reason=finish_reason_to_proto(attempt.finish_reason),
        usage=usage_to_proto(attempt.usage),
        resumptions=(
            generation.Resumption(
                pointer=resumption.pointer,
                reason=_RESUMPTION_REASONS[resumption.reason],
                kept_tokens=resumption.kept_tokens,
                dropped_tokens=resumption.dropped_tokens,
            )
            for resumption in attempt.resumptions
        ),
    )


def notice_to_proto(notice: SchemaNotice) -> generation.SchemaNotice:
    """One notice about a schema."""
    return generation.SchemaNotice(
        keyword=notice.keyword,
        pointer=notice.pointer,
        enforcement=_ENFORCEMENTS[notice.enforcement],
        detail=notice.detail,
    )


def violation_to_proto(violation: Violation, longest: int) -> status.Violation:
    """One violation, each text cut to `longest` characters."""
    return status.Violation(
        instance_pointer=violation.instance_pointer[:longest],
        schema_pointer=violation.schema_pointer[:longest],
        keyword=violation.keyword[:longest],
        message=violation.message[:longest],
    )


def finish_reason_to_proto(reason: FinishReason | None) -> generation.FinishReason.ValueType:
    """Why the model stopped; unspecified for None."""
    if reason is None:
        return generation.FINISH_REASON_UNSPECIFIED
    return _FINISH_REASONS[reason]


def error_reason(error: GenirError) -> status.ErrorReason.ValueType:
    """The reason of an error."""
    return status.ErrorReason.Value(f"ERROR_REASON_{error.reason.value}")


def duration(seconds: float) -> Duration:
    """A protobuf Duration of at least zero."""
    message = Duration()
    message.FromNanoseconds(max(0, round(seconds * 1e9)))
    return message


def _sampling(spec: generation.GenerationSpec) -> Sampling:
    # Every one of them is optional in the contract, so that those that are listed were set.
    return Sampling(
        **{
            field.name: value
            for field, value in spec.ListFields()
            if field.name in _SAMPLING_FIELDS
        }
    )


def _timings_to_proto(timings: Timings) -> generation.Timings:
    return generation.Timings(
        queue=duration(timings.queue),
        time_to_first_token=duration(timings.time_to_first_token),
        total=duration(timings.total),
    )


def _known(table: Mapping[int, _Domain], value: int, field: str) -> _Domain:
    try:
        return table[value]
    except KeyError:
        raise invalid_field(field, f"has no value number {value} here") from None
