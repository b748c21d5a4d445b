"""What the client takes and gives: frozen dataclasses and enumerations.

They mirror the messages of `genir.v1`, where every field is documented with its unit and range.
Durations are `datetime.timedelta`. Every enumeration has UNSPECIFIED, which also stands for a value
that a newer server knows and this client does not.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Generic, TypeAlias, TypeVar

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime, timedelta

T = TypeVar("T")


class Role(StrEnum):
    """Who speaks in a conversation."""

    SYSTEM = "system"
    USER = "user"
    ASSISTANT = "assistant"


class SchemaInPrompt(StrEnum):
    """Whether the model is shown the schema in its prompt."""

    AUTO = "auto"
    ALWAYS = "always"
    NEVER = "never"


class PromptFormat(StrEnum):
    """How the input becomes the model's prompt."""

    CHAT = "chat"
    RAW = "raw"


class SchemaShown(StrEnum):
    """How much of the schema the model was shown."""

    UNSPECIFIED = "unspecified"
    FULL = "full"
    WITHOUT_DESCRIPTIONS = "without_descriptions"
    NONE = "none"


class FinishReason(StrEnum):
    """Why the model stopped writing."""

    UNSPECIFIED = "unspecified"
    STOP = "stop"
    LENGTH = "length"
    ABORT = "abort"


class AttemptReason(StrEnum):
    """Why an attempt is made."""

    UNSPECIFIED = "unspecified"
    FIRST = "first"
    VALIDATION_FAILED = "validation_failed"
    CONSTRAINT_FAILED = "constraint_failed"
    TRUNCATED = "truncated"


class Enforcement(StrEnum):
    """What was done about a keyword that decoding cannot enforce as it stands."""

    UNSPECIFIED = "unspecified"
    REWRITTEN = "rewritten"
    CHECKED_AFTER_DECODING = "checked_after_decoding"
    ANNOTATION = "annotation"
    NARROWED = "narrowed"


class SchemaCoverage(StrEnum):
    """How much of a schema decoding enforces; the rest is checked on the finished IR."""

    UNSPECIFIED = "unspecified"
    EXACT = "exact"
    CHECKED = "checked"


class Phase(StrEnum):
    """The phase a server is in."""

    UNSPECIFIED = "unspecified"
    STARTING = "starting"
    LOADING_MODEL = "loading_model"
    WARMING_UP = "warming_up"
    READY = "ready"
    RESTARTING = "restarting"
    DRAINING = "draining"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Message:
    """One message of a conversation. `role` may be given as its plain string."""

    role: Role | str
    content: str


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens used."""

    prompt_tokens: int = 0
    cached_prompt_tokens: int = 0
    completion_tokens: int = 0


@dataclass(frozen=True, slots=True)
class Attempt:
    """One attempt at the IR."""

    number: int
    reason: AttemptReason
    finish_reason: FinishReason
    usage: Usage


@dataclass(frozen=True, slots=True)
class Timings:
    """Where the time went, as the server saw it."""

    queue: timedelta
    time_to_first_token: timedelta
    total: timedelta


@dataclass(frozen=True, slots=True)
class SchemaNotice:
    """A keyword of the schema that decoding did not enforce as it stands."""

    keyword: str
    pointer: str
    enforcement: Enforcement
    detail: str


@dataclass(frozen=True, slots=True)
class SchemaLimit:
    """A limit on schemas, and the largest that one schema has; None where it was not measured."""

    name: str
    max: float
    value: float | None


@dataclass(frozen=True, slots=True)
class SchemaCheck:
    """How well a schema can be enforced.

    Attributes:
        schema_digest: ``sha256:<hex>`` of the schema; can be given as `schema_digest`.
        draft: the draft it is read as: "4", "6", "7", "2019-09" or "2020-12".
        coverage: how much of it decoding enforces.
        schema_notices: keywords that decoding does not enforce as they stand.
        prepare_elapsed: processor time of preparing it, compilation included.
        compile_elapsed: processor time of compiling the grammar.
        max_mask_elapsed: time of the slowest set of allowed tokens that was tried.
        limits: the server's limits on schemas, and how near this one comes to them.
        minimal_instance: JSON text of a small valid value; empty when none was found.
        min_tokens: tokens below which no valid value fits.
        engine_schema: JSON text of what decoding enforces; empty unless it was asked for, and when
            it is longer than 2 MiB.
        cached: whether it had been prepared before.
        schema_shown: how much of it a model is shown beside a short prompt.
        request_id: the request id of the call.

    """

    schema_digest: str
    draft: str
    coverage: SchemaCoverage
    schema_notices: tuple[SchemaNotice, ...]
    prepare_elapsed: timedelta
    compile_elapsed: timedelta
    max_mask_elapsed: timedelta
    limits: tuple[SchemaLimit, ...]
    minimal_instance: str
    min_tokens: int
    engine_schema: str
    cached: bool
    schema_shown: SchemaShown
    request_id: str


@dataclass(frozen=True, slots=True)
class IRResult(Generic[T]):
    """One IR and how it came about.

    Attributes:
        value: the IR, parsed: plain dicts, lists, strings and numbers, or an instance of the model
            class that was given as the schema.
        ir_json: the IR in RFC 8785 normal form.
        request_id: the request id that was given, or the one the server made.
        model: name of the model that wrote the IR.
        structured_output_backend: what really constrained the decoding.
        schema_digest: ``sha256:<hex>`` of the schema in force; can be given as `schema_digest`.
        ir_digest: ``sha256:<hex>`` of `ir_json`.
        finish_reason: why the last attempt stopped writing.
        usage: tokens of all attempts together.
        attempts: every attempt in order, the successful one last.
        timings: where the time went.
        schema_notices: keywords that decoding did not enforce as they stand.
        schema_shown: how much of the schema the model was shown.
        lora_adapter: name of the LoRA adapter used; empty for none.

    """

    value: T
    ir_json: str
    request_id: str
    model: str
    structured_output_backend: str
    schema_digest: str
    ir_digest: str
    finish_reason: FinishReason
    usage: Usage
    attempts: tuple[Attempt, ...]
    timings: Timings
    schema_notices: tuple[SchemaNotice, ...]
    schema_shown: SchemaShown
    lora_adapter: str


@dataclass(frozen=True, slots=True)
class Accepted:
    """First event of a stream: the request passed every check and goes to the engine."""

    request_id: str
    model: str
    schema_digest: str
    structured_output_backend: str
    schema_notices: tuple[SchemaNotice, ...]
    schema_shown: SchemaShown
    prompt_tokens: int
    max_tokens: int
    lora_adapter: str


@dataclass(frozen=True, slots=True)
class AttemptStarted:
    """An attempt begins; the text of an earlier one no longer counts."""

    number: int
    reason: AttemptReason


@dataclass(frozen=True, slots=True)
class TextDelta:
    """More text of the current attempt (may be empty) and how many tokens it took."""

    text: str
    token_count: int


@dataclass(frozen=True, slots=True)
class Completed(Generic[T]):
    """Last event of a stream: the verified result."""

    result: IRResult[T]


StreamEvent: TypeAlias = Accepted | AttemptStarted | TextDelta | Completed[T]
"""What a stream yields: `Accepted`, then per attempt `AttemptStarted` and its `TextDelta`s, then
`Completed`; or an exception instead of the rest."""


@dataclass(frozen=True, slots=True)
class FieldViolation:
    """One field of the request that is at fault, such as ``spec.json_schema``, and why."""

    field: str
    description: str


@dataclass(frozen=True, slots=True)
class Violation:
    """One way in which a value fails a schema. Pointers are JSON Pointers (RFC 6901)."""

    instance_pointer: str
    schema_pointer: str
    keyword: str
    message: str


@dataclass(frozen=True, slots=True)
class GenerationFailure:
    """What a generation that failed left behind.

    `violations` holds at most 20 of `violation_count`. `raw_head` and `raw_tail` are the two ends
    of the last attempt's text. `raw_size_bytes` is its size in UTF-8, `raw_digest` its digest.
    """

    finish_reason: FinishReason
    usage: Usage
    attempts: tuple[Attempt, ...]
    violations: tuple[Violation, ...]
    violation_count: int
    raw_head: str
    raw_tail: str
    raw_size_bytes: int
    raw_digest: str


@dataclass(frozen=True, slots=True)
class Versions:
    """Versions of the server's parts; empty where a part is not installed or not known."""

    genir: str
    vllm: str
    llguidance: str
    xgrammar: str


@dataclass(frozen=True, slots=True)
class EngineActivity:
    """Requests and steps of the engine. `last_step_time` is None before the first step."""

    running: int
    waiting: int
    calls_in_flight: int
    last_step_time: datetime | None


@dataclass(frozen=True, slots=True)
class SchemaCacheStats:
    """What the server's schema layer has done since it started; see `genir.v1.SchemaCacheStats`."""

    entries: int
    size_bytes: int
    max_bytes: int
    hits: int
    misses: int
    coalesced: int
    evictions: int
    prepared: int
    total_prepare_elapsed: timedelta
    max_prepare_elapsed: timedelta
    refused: Mapping[str, int]
    worker_crashes: int
    worker_timeouts: int
    workers_recycled: int


@dataclass(frozen=True, slots=True)
class ServerHealth:
    """How the server is.

    `ir_json` and `canary_elapsed` are set by a deep check whose canary succeeded. `canary_failure`
    is the reason why it failed, such as ``OVERLOADED``, and empty otherwise. `schema_cache` is None
    until schemas can be prepared. `lame_duck` says that the operator turned readiness off while
    generate calls are still accepted.
    """

    phase: Phase
    ready: bool
    phase_elapsed: timedelta
    uptime: timedelta
    message: str
    model: str
    configured_structured_output_backend: str
    structured_output_backend: str
    versions: Versions
    activity: EngineActivity
    ir_json: str
    canary_elapsed: timedelta | None
    lora_adapters: tuple[str, ...]
    max_model_len: int
    schema_cache: SchemaCacheStats | None
    lame_duck: bool
    canary_failure: str


@dataclass(frozen=True, slots=True)
class WarmedSchema:
    """What became of one schema of a warm-up.

    Attributes:
        schema_digest: ``sha256:<hex>`` of the schema, which is ready now; empty when refused.
        reason: why it cannot be used, such as ``SCHEMA_INVALID``; empty when it can.
        message: the same in words.
        metadata: the facts in it: pointer, limit, max and value, where they apply.

    """

    schema_digest: str
    reason: str
    message: str
    metadata: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class WarmupResult:
    """The outcome of a warm-up. `already_warm`: this call generated nothing."""

    ir_json: str
    already_warm: bool
    elapsed: timedelta
    generation_elapsed: timedelta
    model: str
    structured_output_backend: str
    schema_digest: str
    usage: Usage
    request_id: str
    schemas: tuple[WarmedSchema, ...]
