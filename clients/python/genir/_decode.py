"""Converts messages of `genir.v1` to `genir.types`. Pure.

Every function raises `BrokenContractError` for a message that breaks the contract.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, TypeVar

from genir import _contract, types
from genir._contract import BrokenContractError, count, duration, finite
from genir.v1 import generation_pb2, ir_service_pb2, schema_pb2, status_pb2

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime
    from enum import StrEnum

    E = TypeVar("E", bound=StrEnum)
    T = TypeVar("T")
    NumberT_contra = TypeVar("NumberT_contra", bound=int, contravariant=True)
    NumberT = TypeVar("NumberT", bound=int)

    class _EnumWrapper(Protocol[NumberT_contra]):
        """The part of a generated enumeration that this module uses."""

        def Name(self, number: NumberT_contra) -> str: ...  # noqa: N802 - protobuf's own name


def _enum(target: type[E], wrapper: _EnumWrapper[NumberT], number: NumberT, prefix: str) -> E:
    """The member with the protobuf value's name; "unspecified" for an unknown value."""
    try:
        return target(wrapper.Name(number).removeprefix(prefix).lower())
    except ValueError:
        return target("unspecified")


def finish_reason(number: generation_pb2.FinishReason.ValueType) -> types.FinishReason:
    """Converts a finish reason."""
    return _enum(types.FinishReason, generation_pb2.FinishReason, number, "FINISH_REASON_")


def attempt_reason(number: generation_pb2.AttemptReason.ValueType) -> types.AttemptReason:
    """Converts an attempt's reason."""
    return _enum(types.AttemptReason, generation_pb2.AttemptReason, number, "ATTEMPT_REASON_")


def schema_shown(number: generation_pb2.SchemaShown.ValueType) -> types.SchemaShown:
    """Converts how much of the schema the prompt showed."""
    return _enum(types.SchemaShown, generation_pb2.SchemaShown, number, "SCHEMA_SHOWN_")


def usage(message: generation_pb2.Usage) -> types.Usage:
    """Converts numbers of tokens."""
    return types.Usage(
        prompt_tokens=count(message, "prompt_tokens"),
        cached_prompt_tokens=count(message, "cached_prompt_tokens"),
        completion_tokens=count(message, "completion_tokens"),
    )


def attempts(messages: Iterable[generation_pb2.Attempt]) -> tuple[types.Attempt, ...]:
    """Converts attempts, in order."""
    made = tuple(
        types.Attempt(
            number=message.number,
            reason=attempt_reason(message.reason),
            finish_reason=finish_reason(message.finish_reason),
            usage=usage(message.usage),
            resumptions=tuple(map(_resumption, message.resumptions)),
        )
        for message in messages
    )
    if any(attempt.number != number for number, attempt in enumerate(made, 1)):
        msg = "the attempts are not numbered from 1 in order"
        raise BrokenContractError(msg)
    return made


def _resumption(message: generation_pb2.Resumption) -> types.Resumption:
    return types.Resumption(
        pointer=message.pointer,
        reason=_resumption_reason(message.reason),
        kept_tokens=count(message, "kept_tokens"),
        dropped_tokens=count(message, "dropped_tokens"),
    )


def _resumption_reason(number: generation_pb2.ResumptionReason.ValueType) -> types.ResumptionReason:
    return _enum(
        types.ResumptionReason, generation_pb2.ResumptionReason, number, "RESUMPTION_REASON_"
    )


def schema_notices(
    messages: Iterable[generation_pb2.SchemaNotice],
) -> tuple[types.SchemaNotice, ...]:
    """Converts notices about the schema."""
    return tuple(
        types.SchemaNotice(
            keyword=message.keyword,
            pointer=message.pointer,
            enforcement=_enum(
                types.Enforcement, generation_pb2.Enforcement, message.enforcement, "ENFORCEMENT_"
            ),
            detail=message.detail,
        )
        for message in messages
    )


def accepted(message: generation_pb2.Accepted, schema_digest: str) -> types.Accepted:
    """Converts the first event of a stream; `schema_digest` as for `_contract.digest`."""
    return types.Accepted(
        request_id=message.request_id,
        model=message.model,
        schema_digest=_contract.digest(message, "schema_digest", schema_digest),
        structured_output_backend=message.structured_output_backend,
        schema_notices=schema_notices(message.schema_notices),
        schema_shown=schema_shown(message.schema_shown),
        prompt_tokens=count(message, "prompt_tokens"),
        max_tokens=count(message, "max_tokens"),
        lora_adapter=message.lora_adapter,
    )


def attempt_started(message: generation_pb2.AttemptStarted) -> types.AttemptStarted:
    """Converts the start of an attempt."""
    return types.AttemptStarted(message.number, attempt_reason(message.reason))


def text_delta(message: generation_pb2.TextDelta) -> types.TextDelta:
    """Converts more text of an attempt."""
    return types.TextDelta(message.text, count(message, "token_count"))


def rewound(message: generation_pb2.Rewound) -> types.Rewound:
    """Converts that the end of an attempt's text no longer counts."""
    reason = _resumption_reason(message.reason)
    return types.Rewound(count(message, "to_bytes"), reason, message.pointer)


def ir_result(message: ir_service_pb2.GenerateIRResponse, value: T) -> types.IRResult[T]:
    """Converts a result whose digests have been checked; `value` is its parsed IR."""
    return types.IRResult(
        value=value,
        ir_json=message.ir_json,
        request_id=message.request_id,
        model=message.model,
        structured_output_backend=message.structured_output_backend,
        schema_digest=message.schema_digest,
        ir_digest=message.ir_digest,
        finish_reason=finish_reason(message.finish_reason),
        usage=usage(message.usage),
        attempts=attempts(message.attempts),
        timings=types.Timings(
            queue=duration(message.timings, "queue"),
            time_to_first_token=duration(message.timings, "time_to_first_token"),
            total=duration(message.timings, "total"),
        ),
        schema_notices=schema_notices(message.schema_notices),
        schema_shown=schema_shown(message.schema_shown),
        lora_adapter=message.lora_adapter,
        closed_early=tuple(message.closed_early),
    )


def generation_failure(message: status_pb2.GenerationFailure) -> types.GenerationFailure:
    """Converts usage, attempts and text of a failed generation."""
    return types.GenerationFailure(
        finish_reason=finish_reason(message.finish_reason),
        usage=usage(message.usage),
        attempts=attempts(message.attempts),
        violations=tuple(
            types.Violation(
                instance_pointer=violation.instance_pointer,
                schema_pointer=violation.schema_pointer,
                keyword=violation.keyword,
                message=violation.message,
            )
            for violation in message.violations
        ),
        violation_count=count(message, "violation_count"),
        raw_head=message.raw_head,
        raw_tail=message.raw_tail,
        raw_size_bytes=count(message, "raw_size_bytes"),
        raw_digest=message.raw_digest,
    )


def server_health(message: ir_service_pb2.HealthResponse) -> types.ServerHealth:
    """Converts the state of a server."""
    if message.ir_json:
        _contract.ir_json(message)
    activity, versions = message.activity, message.versions
    return types.ServerHealth(
        phase=_enum(types.Phase, status_pb2.Phase, message.phase, "PHASE_"),
        ready=message.ready,
        phase_elapsed=duration(message, "phase_elapsed"),
        uptime=duration(message, "uptime"),
        message=message.message,
        model=message.model,
        configured_structured_output_backend=message.configured_structured_output_backend,
        structured_output_backend=message.structured_output_backend,
        versions=types.Versions(
            genir=versions.genir,
            vllm=versions.vllm,
            llguidance=versions.llguidance,
            xgrammar=versions.xgrammar,
        ),
        activity=types.EngineActivity(
            running=count(activity, "running"),
            waiting=count(activity, "waiting"),
            calls_in_flight=count(activity, "calls_in_flight"),
            last_step_time=_last_step(activity),
        ),
        ir_json=message.ir_json,
        canary_elapsed=(
            duration(message, "canary_elapsed") if message.HasField("canary_elapsed") else None
        ),
        lora_adapters=tuple(message.lora_adapters),
        max_model_len=count(message, "max_model_len"),
        schema_cache=(
            _schema_cache(message.schema_cache) if message.HasField("schema_cache") else None
        ),
        lame_duck=message.lame_duck,
        resumes=message.resumes,
        canary_failure=_error_reason(message.canary_failure) if message.canary_failure else "",
        load_progress=(
            _load_progress(message.load_progress) if message.HasField("load_progress") else None
        ),
        engines=tuple(
            types.EngineRank(
                rank=count(rank, "rank"),
                running=count(rank, "running"),
                waiting=count(rank, "waiting"),
                last_step_time=_last_step(rank),
                kv_cache_usage=finite(rank, "kv_cache_usage"),
                structured_output_backend=rank.structured_output_backend,
            )
            for rank in message.engines
        ),
    )


def _last_step(message: status_pb2.EngineActivity | status_pb2.EngineRank) -> datetime | None:
    if not message.HasField("last_step_time"):
        return None
    return _contract.moment(message, "last_step_time")


def _load_progress(message: status_pb2.LoadProgress) -> types.LoadProgress:
    done, total = count(message, "done"), count(message, "total")
    if done > total:
        msg = f"LoadProgress.done is {done} of {total}"
        raise BrokenContractError(msg)
    return types.LoadProgress(
        stage=_enum(types.LoadStage, status_pb2.LoadStage, message.stage, "LOAD_STAGE_"),
        done=done,
        total=total,
        unit=message.unit,
    )


def schema_check(
    message: ir_service_pb2.CheckSchemaResponse, request: ir_service_pb2.CheckSchemaRequest
) -> types.SchemaCheck:
    """Converts the result of a check of a schema."""
    expected = _contract.digest_of_schema(request)
    return types.SchemaCheck(
        schema_digest=_contract.digest(message, "schema_digest", expected),
        draft=message.draft,
        coverage=_enum(
            types.SchemaCoverage, schema_pb2.SchemaCoverage, message.coverage, "SCHEMA_COVERAGE_"
        ),
        schema_notices=schema_notices(message.schema_notices),
        prepare_elapsed=duration(message, "prepare_elapsed"),
        compile_elapsed=duration(message, "compile_elapsed"),
        max_mask_elapsed=duration(message, "max_mask_elapsed"),
        limits=tuple(
            types.SchemaLimit(
                name=limit.name,
                max=finite(limit, "max"),
                value=finite(limit, "value") if limit.HasField("value") else None,
            )
            for limit in message.limits
        ),
        minimal_instance=message.minimal_instance,
        min_tokens=count(message, "min_tokens"),
        closable_tokens=count(message, "closable_tokens"),
        engine_schema=message.engine_schema,
        cached=message.cached,
        schema_shown=schema_shown(message.schema_shown),
        request_id=message.request_id,
    )


def _schema_cache(message: schema_pb2.SchemaCacheStats) -> types.SchemaCacheStats:
    return types.SchemaCacheStats(
        entries=count(message, "entries"),
        size_bytes=count(message, "size_bytes"),
        max_bytes=count(message, "max_bytes"),
        hits=count(message, "hits"),
        misses=count(message, "misses"),
        coalesced=count(message, "coalesced"),
        evictions=count(message, "evictions"),
        prepared=count(message, "prepared"),
        total_prepare_elapsed=duration(message, "total_prepare_elapsed"),
        max_prepare_elapsed=duration(message, "max_prepare_elapsed"),
        refused=_contract.counts_by_key(message, "refused"),
        worker_crashes=count(message, "worker_crashes"),
        worker_timeouts=count(message, "worker_timeouts"),
        workers_recycled=count(message, "workers_recycled"),
    )


def _error_reason(number: status_pb2.ErrorReason.ValueType) -> str:
    """A reason without its prefix; "UNSPECIFIED" for an unknown value."""
    try:
        return status_pb2.ErrorReason.Name(number).removeprefix("ERROR_REASON_")
    except ValueError:
        return "UNSPECIFIED"


def _warmed_schema(message: schema_pb2.WarmedSchema, json_schema: str) -> types.WarmedSchema:
    if message.WhichOneof("outcome") == "schema_digest":
        expected = _contract.digest_of(json_schema)
        digest = _contract.digest(message, "schema_digest", expected)
        return types.WarmedSchema(digest, reason="", message="", metadata={})
    # Without any outcome that this client knows, the schema cannot count as prepared.
    refusal = message.refusal
    return types.WarmedSchema(
        schema_digest="",
        reason=_error_reason(refusal.reason),
        message=refusal.message,
        metadata=dict(refusal.metadata),
    )


def warmup_result(
    message: ir_service_pb2.WarmupResponse, request: ir_service_pb2.WarmupRequest
) -> types.WarmupResult:
    """Converts the outcome of a warm-up."""
    _contract.ir_json(message)
    if len(message.schemas) != len(request.json_schemas):
        msg = (
            f"WarmupResponse.schemas has {len(message.schemas)} entries for "
            f"{len(request.json_schemas)} schemas"
        )
        raise BrokenContractError(msg)
    return types.WarmupResult(
        ir_json=message.ir_json,
        already_warm=message.already_warm,
        elapsed=duration(message, "elapsed"),
        generation_elapsed=duration(message, "generation_elapsed"),
        model=message.model,
        structured_output_backend=message.structured_output_backend,
        schema_digest=_contract.digest(message, "schema_digest"),
        usage=usage(message.usage),
        request_id=message.request_id,
        schemas=tuple(
            _warmed_schema(schema, text)
            for schema, text in zip(message.schemas, request.json_schemas, strict=True)
        ),
    )
