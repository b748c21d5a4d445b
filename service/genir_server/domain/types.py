"""The domain: what the core takes and gives, in plain Python.

Nothing here knows protobuf, gRPC or vLLM. `genir_server.transport.convert` turns these into the
messages of `genir.v1` and back; the protobuf comments tell the meaning, units and defaults of
fields that have the same name here.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Flag, StrEnum, auto
from typing import Any, NamedTuple


class Role(StrEnum):
    """Who speaks. The values are the names that chat templates use."""

    SYSTEM = "system"
    USER = "user"
    ASSISTANT = "assistant"


@dataclass(frozen=True, slots=True)
class Message:
    """One message of a conversation."""

    role: Role
    content: str


class SchemaInPrompt(StrEnum):
    """Whether the model is shown the schema."""

    AUTO = "auto"
    ALWAYS = "always"
    NEVER = "never"


class SchemaShown(StrEnum):
    """How much of the schema the model was shown."""

    FULL = "full"
    WITHOUT_DESCRIPTIONS = "without_descriptions"
    NONE = "none"


class PromptFormat(StrEnum):
    """How the input becomes the model's prompt."""

    CHAT = "chat"
    RAW = "raw"


class FinishReason(StrEnum):
    """Why the model stopped writing."""

    STOP = "stop"
    LENGTH = "length"
    ABORT = "abort"


class AttemptReason(StrEnum):
    """Why an attempt is made."""

    FIRST = "first"
    VALIDATION_FAILED = "validation_failed"
    CONSTRAINT_FAILED = "constraint_failed"
    TRUNCATED = "truncated"


class OnBudget(StrEnum):
    """What to do when max_tokens does not suffice for the value that the model writes."""

    CLOSE = "close"
    FAIL = "fail"


class ResumptionReason(StrEnum):
    """Why the model continued from an earlier place of its text."""

    BUDGET = "budget"
    REPETITION = "repetition"


class Tightening(Flag):
    """What the engine schema of a further attempt rules out beyond that of the first.

    What is written is valid for the caller's schema all the same.
    """

    NONE = 0
    SINGLE_KEYS = auto()
    """That a key is written twice, at the price of most keys that the schema leaves open."""
    COMPACT = auto()
    """Long strings and many items or keys, as far as the schema does not demand them."""


class Enforcement(StrEnum):
    """What was done about a keyword that decoding cannot enforce as it stands."""

    REWRITTEN = "rewritten"
    CHECKED_AFTER_DECODING = "checked_after_decoding"
    ANNOTATION = "annotation"
    NARROWED = "narrowed"


@dataclass(frozen=True, slots=True)
class SchemaNotice:
    """A keyword of the schema that decoding did not enforce as it stands."""

    keyword: str
    pointer: str
    enforcement: Enforcement
    detail: str = ""


class SchemaCoverage(StrEnum):
    """How much of a schema decoding enforces."""

    EXACT = "exact"
    CHECKED = "checked"


@dataclass(frozen=True, slots=True)
class SchemaLimit:
    """A limit on schemas, and the largest value that one schema has; None if not measured."""

    name: str
    max: float
    value: float | None = None


@dataclass(frozen=True, slots=True)
class Range:
    """The values that a number may have; NaN is in no range.

    Attributes:
        min: the smallest value.
        max: the largest value; None for no limit.
        exclusive_min: whether `min` itself is not allowed.
    """

    min: float
    max: float | None = None
    exclusive_min: bool = False

    def __contains__(self, value: float) -> bool:
        """Whether a number is in the range."""
        above = value > self.min if self.exclusive_min else value >= self.min
        return above and (self.max is None or value <= self.max)

    def __str__(self) -> str:
        """The range in words, such as "between 0 and 2"."""
        if self.max is None:
            return f"{self.min:g} or more"
        if self.exclusive_min:
            return f"above {self.min:g} and up to {self.max:g}"
        return f"between {self.min:g} and {self.max:g}"


def _parameter(default: float | None, allowed: Range) -> Any:  # noqa: ANN401 - what `field` gives.
    return field(default=default, metadata={"range": allowed})


@dataclass(frozen=True, slots=True)
class Sampling:
    """How tokens are drawn.

    The names are those of `genir.v1.GenerationSpec` and of vLLM's `SamplingParams`. Default and
    range of each parameter stand here; conversions and checks go over these fields.
    docs/development.md says how to add one.
    """

    temperature: float = _parameter(0.3, Range(0, 2))
    top_p: float = _parameter(0.95, Range(0, 1, exclusive_min=True))
    top_k: int = _parameter(0, Range(0))
    min_p: float = _parameter(0.0, Range(0, 1))
    seed: int | None = _parameter(None, Range(0))
    frequency_penalty: float = _parameter(0.0, Range(-2, 2))
    presence_penalty: float = _parameter(0.0, Range(-2, 2))
    # A value far below 0.01 becomes 0 in the engine's 32-bit arithmetic, and the engine then emits
    # tokens that the grammar forbids.
    repetition_penalty: float = _parameter(1.0, Range(0.01, 2))


@dataclass(frozen=True, slots=True)
class GenerationRequest:
    """A request as the caller made it, not yet checked against any limit.

    Exactly one of `prompt` and `conversation` is set, or neither if the caller set neither (which
    validation refuses). Of `json_schema` and `schema_digest` at most one is set; neither means the
    built-in IR schema. `request_id` is never empty here. `caller` says who asks, so that callers
    can take turns at what is scarce; empty where they are all alike. `deadline`, when the caller
    stops waiting, is on the monotonic clock; None for never. `priority_across_callers` says whether
    `priority` may rank the request before and behind those of other callers. `compact` holds the
    first attempt to compact values already. `rank` is the data-parallel rank to run on; None lets
    the engine choose.
    """

    request_id: str
    prompt: str | None = None
    conversation: tuple[Message, ...] | None = None
    system: str | None = None
    model: str = ""
    json_schema: str | None = None
    schema_digest: str | None = None
    schema_in_prompt: SchemaInPrompt = SchemaInPrompt.AUTO
    sampling: Sampling = field(default_factory=Sampling)
    max_tokens: int | None = None
    priority: int = 0
    priority_across_callers: bool = False
    max_attempts: int = 2
    on_budget: OnBudget = OnBudget.CLOSE
    lora_adapter: str = ""
    prompt_format: PromptFormat = PromptFormat.CHAT
    tokens_per_delta: int = 1
    caller: str = ""
    deadline: float | None = None
    compact: bool = False
    rank: int | None = None


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens used."""

    prompt_tokens: int = 0
    cached_prompt_tokens: int = 0
    completion_tokens: int = 0

    def __add__(self, other: Usage) -> Usage:
        """The tokens of both."""
        return Usage(
            self.prompt_tokens + other.prompt_tokens,
            self.cached_prompt_tokens + other.cached_prompt_tokens,
            self.completion_tokens + other.completion_tokens,
        )


@dataclass(frozen=True, slots=True)
class Resumption:
    """A place, as a JSON Pointer, at which the model continued from earlier in its text."""

    pointer: str
    reason: ResumptionReason
    kept_tokens: int
    dropped_tokens: int


@dataclass(frozen=True, slots=True)
class Attempt:
    """One attempt at the IR. `finish_reason` is None when it did not end by itself."""

    number: int
    reason: AttemptReason
    finish_reason: FinishReason | None
    usage: Usage
    resumptions: tuple[Resumption, ...] = ()


@dataclass(frozen=True, slots=True)
class Timings:
    """Seconds: waiting for the first step, and from arrival to the first token and to the end."""

    queue: float
    time_to_first_token: float
    total: float


@dataclass(frozen=True, slots=True)
class Violation:
    """One way in which a value fails a schema. Pointers are JSON Pointers (RFC 6901)."""

    instance_pointer: str
    schema_pointer: str
    keyword: str
    message: str


@dataclass(frozen=True, slots=True)
class Accepted:
    """The request passed every check and goes to the engine.

    `schema_seconds` is the time until its schema was ready, `admission_seconds` the time that it
    then waited, with its prompt rendered, in the queue before the engine.
    """

    request_id: str
    model: str
    schema_digest: str
    structured_output_backend: str
    schema_notices: tuple[SchemaNotice, ...]
    schema_shown: SchemaShown
    prompt_tokens: int
    max_tokens: int
    lora_adapter: str = ""
    schema_seconds: float = 0.0
    admission_seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class AttemptStarted:
    """An attempt begins; the text of an earlier one no longer counts."""

    number: int
    reason: AttemptReason


class TextDelta(NamedTuple):
    """More text of the current attempt, as the engine yields it and the core forwards it.

    A tuple, because there is one for every token, and a frozen dataclass takes twice as long to
    make.

    Attributes:
        text: the new text; may be empty.
        token_count: tokens that it took, 0 and up.
        finish_reason: why the model stopped; None except on the last delta.
        cached_prompt_tokens: prompt tokens taken from the prefix cache; None where not reported.
        queue_seconds: seconds in the engine's queue before the first step; None where not reported.
            Both are reported on the first delta, and may be reported again on the last.
        token_ids: the tokens that it took, with the end token; empty where not reported.
    """

    text: str
    token_count: int
    finish_reason: FinishReason | None = None
    cached_prompt_tokens: int | None = None
    queue_seconds: float | None = None
    token_ids: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Rewound:
    """Only the first `to_bytes` bytes, in UTF-8, of the current attempt's text still count."""

    to_bytes: int
    reason: ResumptionReason
    pointer: str


@dataclass(frozen=True, slots=True)
class Completed:
    """The verified result: `ir_json` is in normal form and valid against the schema in force."""

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
    lora_adapter: str = ""
    closed_early: tuple[str, ...] = ()


GenerationEvent = Accepted | AttemptStarted | TextDelta | Rewound | Completed
"""What a generation yields: one `Accepted`, then per attempt one `AttemptStarted` and its
`TextDelta`s with the `Rewound`s among them, then one `Completed`; or a `GenirError` instead of the
rest."""


@dataclass(frozen=True, slots=True)
class GenerationFailure:
    """What a generation that failed left behind. `raw` is the last attempt's whole text."""

    finish_reason: FinishReason | None
    usage: Usage
    attempts: tuple[Attempt, ...]
    violations: tuple[Violation, ...]
    raw: str
