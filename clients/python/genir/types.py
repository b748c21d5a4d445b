"""Arguments and results of the client: frozen dataclasses and enumerations.

They mirror the messages of `genir.v1`, whose comments document each field with its unit and range.
Durations are `datetime.timedelta`. The enumerations of results have UNSPECIFIED, which also stands
for a value that only a newer server knows.
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
    """The author of a message."""

    SYSTEM = "system"
    USER = "user"
    ASSISTANT = "assistant"


class SchemaInPrompt(StrEnum):
    """Whether the prompt shows the schema to the model."""

    AUTO = "auto"
    ALWAYS = "always"
    NEVER = "never"


class PromptFormat(StrEnum):
    """How the input becomes the model's prompt: with the chat template, or as it is."""

    CHAT = "chat"
    RAW = "raw"


class SchemaShown(StrEnum):
    """How much of the schema the prompt shows to the model."""

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
    """Why an attempt started: as the first one, or because of the failure of the one before."""

    UNSPECIFIED = "unspecified"
    FIRST = "first"
    VALIDATION_FAILED = "validation_failed"
    CONSTRAINT_FAILED = "constraint_failed"
    TRUNCATED = "truncated"


class OnBudget(StrEnum):
    """What to do when `max_tokens` does not suffice: end the value early, or fail."""

    CLOSE = "close"
    FAIL = "fail"


class ResumptionReason(StrEnum):
    """Why the model continued from an earlier place of its text."""

    UNSPECIFIED = "unspecified"
    BUDGET = "budget"
    REPETITION = "repetition"


class Enforcement(StrEnum):
    """What genir does with a keyword that decoding cannot enforce as it stands."""

    UNSPECIFIED = "unspecified"
    REWRITTEN = "rewritten"
    CHECKED_AFTER_DECODING = "checked_after_decoding"
    ANNOTATION = "annotation"
    NARROWED = "narrowed"


class SchemaCoverage(StrEnum):
    """How much of a schema decoding enforces. Verification of the IR checks the rest."""

    UNSPECIFIED = "unspecified"
    EXACT = "exact"
    CHECKED = "checked"


class Phase(StrEnum):
    """The phase of a server's life."""

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
    """One message of a conversation. `role` may be a plain string."""

    role: Role | str
    content: str


@dataclass(frozen=True, slots=True)
class Usage:
    """Numbers of tokens. `cached_prompt_tokens` are part of `prompt_tokens`."""

    prompt_tokens: int = 0
    cached_prompt_tokens: int = 0
    completion_tokens: int = 0


@dataclass(frozen=True, slots=True)
class Resumption:
    """A place in the value, as a JSON Pointer, at which the model continued from earlier.

    `kept_tokens` of the attempt's tokens stayed, `dropped_tokens` were taken back.
    """

    pointer: str
    reason: ResumptionReason
    kept_tokens: int
    dropped_tokens: int


@dataclass(frozen=True, slots=True)
class Attempt:
    """One attempt at a valid IR. `number` counts from 1."""

    number: int
    reason: AttemptReason
    finish_reason: FinishReason
    usage: Usage
    resumptions: tuple[Resumption, ...] = ()


@dataclass(frozen=True, slots=True)
class Timings:
    """Durations measured by the server, from the arrival of the request."""

    queue: timedelta
    time_to_first_token: timedelta
    total: timedelta


@dataclass(frozen=True, slots=True)
class SchemaNotice:
    """A keyword of the schema that decoding does not enforce as it stands."""

    keyword: str
    pointer: str
    enforcement: Enforcement
    detail: str


@dataclass(frozen=True, slots=True)
class SchemaLimit:
    """A limit on schemas, and the schema's own value; None where it was not measured."""

    name: str
    max: float
    value: float | None


@dataclass(frozen=True, slots=True)
class SchemaCheck:
    """How well a schema can be enforced.

    Attributes:
        schema_digest: ``sha256:<hex>`` of the schema; can be given as `schema_digest`.
        draft: the JSON Schema draft: "4", "6", "7", "2019-09" or "2020-12".
        coverage: how much of the schema decoding enforces.
        schema_notices: keywords that decoding does not enforce as they stand.
        prepare_elapsed: CPU time of the preparation, compilation included.
        compile_elapsed: CPU time of the grammar's compilation.
        max_mask_elapsed: maximum time to compute one token mask in a trial of the grammar.
        limits: the server's limits on schemas, with the schema's own values.
        minimal_instance: JSON text of a small valid value; empty when none was found.
        min_tokens: minimum number of tokens of a valid value.
        engine_schema: JSON text of the schema that decoding enforces; empty unless requested, and
            when it is longer than 2 MiB.
        cached: whether the schema was already prepared.
        schema_shown: how much of the schema a short prompt shows to the model.
        request_id: the request id of the call.
        closable_tokens: with a `max_tokens` of this or more, and `on_budget` "close", no call ends
            as truncated; 0 when it is not known.

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
    closable_tokens: int = 0


@dataclass(frozen=True, slots=True)
class IRResult(Generic[T]):
    """One IR and how it was generated.

    Attributes:
        value: the parsed IR: plain dicts, lists, strings and numbers, or a value of the type
            that was the schema.
        ir_json: the IR in RFC 8785 normal form.
        request_id: the caller's request id, or the one that the server made.
        model: name of the model that wrote the IR.
        structured_output_backend: the backend that constrained decoding.
        schema_digest: ``sha256:<hex>`` of the schema that applied; can be given as `schema_digest`.
        ir_digest: ``sha256:<hex>`` of `ir_json`.
        finish_reason: why the last attempt stopped writing.
        usage: tokens of all attempts together.
        attempts: every attempt in order, the successful one last.
        timings: durations measured by the server.
        schema_notices: keywords that decoding does not enforce as they stand.
        schema_shown: how much of the schema the prompt showed to the model.
        lora_adapter: name of the LoRA adapter; empty for none.
        closed_early: JSON Pointers of the values that were being written when the budget made the
            server end the IR early, outermost first; empty if the IR is as long as the model
            wanted it.

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
    closed_early: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Accepted:
    """First event of a stream: the request is valid and goes to the engine."""

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
    """An attempt starts. Discard the text of the attempt before it."""

    number: int
    reason: AttemptReason


@dataclass(frozen=True, slots=True)
class TextDelta:
    """More text of the current attempt, which may be empty, and its number of tokens."""

    text: str
    token_count: int


@dataclass(frozen=True, slots=True)
class Rewound:
    """The end of the attempt's text no longer counts: its first `to_bytes` bytes in UTF-8 stay."""

    to_bytes: int
    reason: ResumptionReason
    pointer: str


@dataclass(frozen=True, slots=True)
class Completed(Generic[T]):
    """Last event of a stream: the verified result."""

    result: IRResult[T]


StreamEvent: TypeAlias = Accepted | AttemptStarted | TextDelta | Rewound | Completed[T]
"""One event of a stream: `Accepted`, then for each attempt `AttemptStarted` and its `TextDelta`s
with the `Rewound`s among them, then `Completed`. A failure raises an exception instead of the
rest."""


@dataclass(frozen=True, slots=True)
class FieldViolation:
    """An invalid field of the request, such as ``spec.json_schema``, and why it is invalid."""

    field: str
    description: str


@dataclass(frozen=True, slots=True)
class Violation:
    """One violation of the schema by a value. Pointers are JSON Pointers (RFC 6901)."""

    instance_pointer: str
    schema_pointer: str
    keyword: str
    message: str


@dataclass(frozen=True, slots=True)
class GenerationFailure:
    """Usage, attempts and text of a failed generation.

    `violations` holds up to 20 of `violation_count` violations. `raw_head` and `raw_tail` are the
    start and the end of the last attempt's text, `raw_size_bytes` is its size in UTF-8, and
    `raw_digest` its digest.
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
class EngineRank:
    """One data-parallel rank of the engine; see `genir.v1.EngineRank`.

    `last_step_time` is None before the first step.
    """

    rank: int
    running: int
    waiting: int
    last_step_time: datetime | None
    kv_cache_usage: float
    structured_output_backend: str


@dataclass(frozen=True, slots=True)
class SchemaCacheStats:
    """The server's schema cache since its start; see `genir.v1.SchemaCacheStats`."""

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


class LoadStage(StrEnum):
    """What an engine that starts is busy with."""

    UNSPECIFIED = "unspecified"
    WEIGHTS = "weights"
    GRAPHS = "graphs"
    COMPILATION = "compilation"


@dataclass(frozen=True, slots=True)
class LoadProgress:
    """How far the start of an engine has come: `done` of `total`, in `unit`, such as "shards"."""

    stage: LoadStage
    done: int
    total: int
    unit: str


@dataclass(frozen=True, slots=True)
class ServerHealth:
    """The state of a server.

    `ir_json` and `canary_elapsed` are the result of a deep check whose canary generation succeeded.
    `canary_failure` is the reason of a failed one, such as ``OVERLOADED``, and empty otherwise.
    `schema_cache` is None until the server can prepare schemas. `lame_duck` says that the operator
    turned readiness off while the server still accepts generate calls. `engines` are the engine's
    data-parallel ranks: one without data parallelism, none before the engine is started.
    `load_progress` is None until it is known, and once the engine has started. `resumes` says
    whether the engine can continue a text from any place, which `on_budget` "close" needs.
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
    engines: tuple[EngineRank, ...] = ()
    load_progress: LoadProgress | None = None
    resumes: bool = False

    @property
    def advertised(self) -> bool:
        """What the readiness probe says: the server accepts calls and is no lame duck."""
        return self.ready and not self.lame_duck


@dataclass(frozen=True, slots=True)
class WarmedSchema:
    """The outcome of one schema of a warm-up.

    Attributes:
        schema_digest: ``sha256:<hex>`` of the prepared schema; empty when it cannot be used.
        reason: why the schema cannot be used, such as ``SCHEMA_INVALID``; empty when it can.
        message: the reason for a person.
        metadata: further facts about the reason: pointer, limit, max and value, where they apply.

    """

    schema_digest: str
    reason: str
    message: str
    metadata: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class WarmupResult:
    """The outcome of a warm-up. `already_warm` says that this call did not generate."""

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
