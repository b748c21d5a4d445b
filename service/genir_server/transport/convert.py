"""Protobuf messages to domain types and back: pure functions, and the only place that does it.

Nothing is checked here beyond what the domain types need; `core.validate` checks values.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from google.protobuf.duration_pb2 import Duration

from genir.v1 import generation_pb2 as generation
from genir.v1 import ir_service_pb2 as service
from genir.v1 import schema_pb2 as schema
from genir.v1 import status_pb2 as status
from genir_server.core.errors import GenirError, invalid_field
from genir_server.core.limits import DEFAULT_MAX_ATTEMPTS
from genir_server.core.schemas import SchemaCheckRequest
from genir_server.core.types import (
    Accepted,
    AttemptReason,
    AttemptStarted,
    Completed,
    Enforcement,
    FinishReason,
    GenerationRequest,
    Message,
    PromptFormat,
    Role,
    Sampling,
    SchemaCoverage,
    SchemaInPrompt,
    SchemaShown,
    TextDelta,
)
from genir_server.lifecycle import Phase

if TYPE_CHECKING:
    from collections.abc import Mapping

    from genir_server.core.schemas import SchemaCheck
    from genir_server.core.types import (
        Attempt,
        GenerationEvent,
        SchemaLimit,
        SchemaNotice,
        Timings,
        Usage,
        Violation,
    )
    from genir_server.schema.types import PreparedSchema, SchemaStatistics

_Domain = TypeVar("_Domain")

_SAMPLING_NUMBERS = frozenset(
    {
        "temperature",
        "top_p",
        "min_p",
        "frequency_penalty",
        "presence_penalty",
        "repetition_penalty",
    }
)
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
_SCHEMA_SHOWN = {
    SchemaShown.WHOLE: generation.SCHEMA_SHOWN_WHOLE,
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
}
_ENFORCEMENTS = {
    Enforcement.REWRITTEN: generation.ENFORCEMENT_REWRITTEN,
    Enforcement.CHECKED_AFTER_DECODING: generation.ENFORCEMENT_CHECKED_AFTER_DECODING,
    Enforcement.ANNOTATION: generation.ENFORCEMENT_ANNOTATION,
    Enforcement.NARROWED: generation.ENFORCEMENT_NARROWED,
}
_SCHEMA_COVERAGES = {
    SchemaCoverage.EXACT: schema.SCHEMA_COVERAGE_EXACT,
    SchemaCoverage.CHECKED: schema.SCHEMA_COVERAGE_CHECKED,
}
_REFUSAL_TEXT_AT_MOST = 200
_REFUSAL_MESSAGE_AT_MOST = 400
_PHASES = {
    Phase.STARTING: status.PHASE_STARTING,
    Phase.LOADING_MODEL: status.PHASE_LOADING_MODEL,
    Phase.WARMING_UP: status.PHASE_WARMING_UP,
    Phase.READY: status.PHASE_READY,
    Phase.RESTARTING: status.PHASE_RESTARTING,
    Phase.DRAINING: status.PHASE_DRAINING,
    Phase.FAILED: status.PHASE_FAILED,
}


def request_from_spec(
    spec: generation.GenerationSpec, request_id: str, tokens_per_delta: int = 1
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
        max_attempts=spec.max_attempts if spec.HasField("max_attempts") else DEFAULT_MAX_ATTEMPTS,
        lora_adapter=spec.lora_adapter,
        prompt_format=_known(_PROMPT_FORMATS, spec.prompt_format, "spec.prompt_format"),
        tokens_per_delta=tokens_per_delta,
    )


def event_to_proto(event: GenerationEvent) -> service.StreamIRResponse:
    """One event of a stream."""
    match event:
        case TextDelta():
            # Filled in place, which takes half the time of one message copied into another.
            response = service.StreamIRResponse()
            delta = response.text_delta
            delta.text, delta.token_count = event
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
                    schema_shown=_SCHEMA_SHOWN[event.schema_shown],
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
        schema_shown=_SCHEMA_SHOWN[completed.schema_shown],
        lora_adapter=completed.lora_adapter,
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


def schema_check_from_request(request: service.CheckSchemaRequest) -> SchemaCheckRequest:
    """What is asked about a schema."""
    return SchemaCheckRequest(
        json_schema=request.json_schema if request.HasField("json_schema") else None,
        schema_digest=request.schema_digest if request.HasField("schema_digest") else None,
        include_engine_schema=request.include_engine_schema,
    )


def schema_check_to_proto(check: SchemaCheck, request_id: str) -> service.CheckSchemaResponse:
    """How well a schema can be enforced."""
    prepared = check.schema
    return service.CheckSchemaResponse(
        schema_digest=prepared.digest,
        draft=prepared.draft,
        coverage=_SCHEMA_COVERAGES[check.coverage],
        schema_notices=map(notice_to_proto, prepared.notices),
        prepare_elapsed=duration(prepared.prepare_seconds),
        compile_elapsed=duration(prepared.compile_seconds),
        worst_mask_elapsed=duration(prepared.worst_mask_seconds),
        limits=map(_limit_to_proto, check.limits),
        minimal_instance=prepared.minimal_instance or "",
        min_tokens=prepared.min_tokens,
        engine_schema=check.engine_schema,
        cached=check.cached,
        schema_shown=_SCHEMA_SHOWN[check.schema_shown],
        request_id=request_id,
    )


def warmed_schema_to_proto(outcome: PreparedSchema | GenirError) -> schema.WarmedSchema:
    """What became of one schema of a warm-up."""
    if not isinstance(outcome, GenirError):
        return schema.WarmedSchema(schema_digest=outcome.digest)
    return schema.WarmedSchema(
        refusal=schema.SchemaRefusal(
            reason=status.ErrorReason.Value(f"ERROR_REASON_{outcome.reason.value}"),
            message=outcome.message[:_REFUSAL_MESSAGE_AT_MOST],
            metadata={
                key: value[:_REFUSAL_TEXT_AT_MOST] for key, value in outcome.metadata.items()
            },
        )
    )


def schema_statistics_to_proto(statistics: SchemaStatistics) -> schema.SchemaCacheStats:
    """What the layer that prepares schemas has done."""
    return schema.SchemaCacheStats(
        entries=statistics.entries,
        kept_bytes=statistics.kept_bytes,
        most_bytes=statistics.most_bytes,
        hits=statistics.hits,
        misses=statistics.misses,
        joined=statistics.joined,
        evictions=statistics.evictions,
        prepared=statistics.prepared,
        prepare_total=duration(statistics.prepare_total_seconds),
        prepare_worst=duration(statistics.prepare_worst_seconds),
        refused={reason.value: count for reason, count in statistics.refused.items()},
        worker_crashes=statistics.worker_crashes,
        worker_timeouts=statistics.worker_timeouts,
        workers_recycled=statistics.workers_recycled,
    )


def phase_to_proto(phase: Phase) -> status.Phase.ValueType:
    """The phase of the server."""
    return _PHASES[phase]


def duration(seconds: float) -> Duration:
    """A protobuf Duration of at least zero."""
    message = Duration()
    message.FromNanoseconds(max(0, round(seconds * 1e9)))
    return message


def _sampling(spec: generation.GenerationSpec) -> Sampling:
    given: dict[str, float] = {
        field.name: value for field, value in spec.ListFields() if field.name in _SAMPLING_NUMBERS
    }
    return Sampling(**given, top_k=spec.top_k, seed=spec.seed if spec.HasField("seed") else None)


def _timings_to_proto(timings: Timings) -> generation.Timings:
    return generation.Timings(
        queue=duration(timings.queue),
        time_to_first_token=duration(timings.time_to_first_token),
        total=duration(timings.total),
    )


def _limit_to_proto(limit: SchemaLimit) -> schema.SchemaLimit:
    return schema.SchemaLimit(name=limit.name, most=limit.most, value=limit.value)


def _known(table: Mapping[int, _Domain], value: int, field: str) -> _Domain:
    try:
        return table[value]
    except KeyError:
        raise invalid_field(field, f"has no value number {value} here") from None
