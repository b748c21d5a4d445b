"""What the preparer gives: prepared schemas, verifiers and statistics."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from genir_server.domain.types import Tightening

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from genir_server.domain.errors import Reason
    from genir_server.domain.types import SchemaNotice, Violation
    from genir_server.schema.read.vocabulary import Draft

# Tokens that a plan leaves beyond the smallest closing text, for what the model chooses.
_MIN_RESERVE = 4
_MAX_RESERVE = 48


class Verifier(Protocol):
    """Checks values against the caller's own schema. Never fetches anything."""

    def is_valid(self, value: object) -> bool:
        """Whether the parsed JSON `value` satisfies the schema."""
        ...

    def violations(self, value: object, max_violations: int) -> list[Violation]:
        """The ways in which the parsed JSON `value` fails the schema; empty when it is valid."""
        ...


@dataclass(frozen=True, slots=True)
class VerifierSource:
    """What a verifier is compiled from.

    Attributes:
        text: the caller's schema, with its regular expressions translated.
        draft: the draft it is written in.
        patterns: each expression in `text` that stands for another, and the caller's.

    """

    text: str
    draft: Draft
    patterns: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class PreparedSchema:
    """A schema that passed every check and is ready for use.

    Attributes:
        digest: ``sha256:<hex>`` of the UTF-8 bytes of `text`.
        text: the schema as the caller sent it.
        engine_schema: the JSON text that decoding enforces. It accepts every value that the
            caller's schema accepts, except where a notice says narrowed.
        notices: keywords that decoding does not enforce as they stand.
        source: what the verifier is compiled from.
        verifier: checks values against the caller's own schema; None if it may only run in worker
            processes.
        node_seconds: upper bound of the time that `verifier` takes, for each key and value.
        byte_seconds: the same for each byte of the value's JSON text; both add up.
        shown_full: compact text for the prompt.
        shown_without_descriptions: the same without descriptions, titles, comments, defaults and
            examples.
        minimal_instance: compact JSON of a small valid value; None when none was found.
        min_tokens: no valid value fits in fewer tokens than this; 1 and up.
        closable_tokens: tokens of `minimal_instance`, in which any value can be ended; 0 when it is
            not known.
        draft: the draft the schema is written in: "4", "6", "7", "2019-09" or "2020-12".
        prepare_seconds: processor time of the preparation, compilation included.
        compile_seconds: processor time of compiling the grammar.
        max_mask_seconds: time of the slowest mask (set of allowed tokens) that was tried.
        measured: the largest value found in the schema for each limit, by the names that
            `SchemaPreparer.limits` has; limits that were not measured are left out.
        shown_tokens: number of tokens of the texts for the prompt, by text, once counted.

    """

    digest: str
    text: str
    engine_schema: str
    notices: tuple[SchemaNotice, ...]
    source: VerifierSource
    verifier: Verifier | None
    node_seconds: float
    byte_seconds: float
    shown_full: str
    shown_without_descriptions: str
    minimal_instance: str | None
    min_tokens: int
    closable_tokens: int = 0
    draft: str = "2020-12"
    prepare_seconds: float = 0.0
    compile_seconds: float = 0.0
    max_mask_seconds: float = 0.0
    measured: Mapping[str, float] = field(default_factory=dict)
    shown_tokens: dict[str, int] = field(default_factory=dict, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class WrittenText:
    """A half-written value.

    Attributes:
        engine_schema: the schema under which it was written.
        text: the text; characters that were not complete are left out or replaced at its end.
        token_ids: its tokens, without an end token.
        max_kept: maximum number of tokens to keep; None for all.

    """

    engine_schema: str
    text: str
    token_ids: Sequence[int]
    max_kept: int | None = None


@dataclass(frozen=True, slots=True)
class ClosingPlan:
    """How a half-written value ends.

    Attributes:
        kept_bytes: how much of the written text is kept.
        appended: what comes after it in any case: closing brackets, and a comma if more is needed.
        closing_schema: the schema under which generation continues, as JSON; None if the value is
            complete, or if the only end is `smallest`.
        residual: the text that its grammar consumes before the first new token.
        smallest: the smallest closing text, after `appended`; empty if the value is complete.
        token_ids: the tokens of what is kept and appended.
        kept_tokens: how many of them were written already.
        total_tokens: tokens of the whole value with the smallest closing text.
        closed_early: pointers to the values that had not ended in what is kept, outermost first.

    """

    kept_bytes: int
    appended: str
    closing_schema: str | None
    residual: str
    smallest: str
    token_ids: tuple[int, ...]
    kept_tokens: int
    total_tokens: int
    closed_early: tuple[str, ...]

    @property
    def used_tokens(self) -> int:
        """Tokens of what is kept and appended."""
        return len(self.token_ids)

    @property
    def reserve(self) -> int:
        """Tokens beyond the smallest value that leave the model a choice."""
        if self.closing_schema is None:
            return 0
        return min(_MAX_RESERVE, _MIN_RESERVE + (self.total_tokens - self.used_tokens) // 2)


@dataclass(frozen=True, slots=True)
class SchemaStatistics:
    """What a preparer has done since its start; documented at `genir.v1.SchemaCacheStats`."""

    entries: int = 0
    size_bytes: int = 0
    max_bytes: int = 0
    hits: int = 0
    misses: int = 0
    coalesced: int = 0
    evictions: int = 0
    prepared: int = 0
    total_prepare_seconds: float = 0.0
    max_prepare_seconds: float = 0.0
    refused: Mapping[Reason, int] = field(default_factory=dict)
    worker_crashes: int = 0
    worker_timeouts: int = 0
    workers_recycled: int = 0


class SchemaPreparer(Protocol):
    """Turns schema text into a `PreparedSchema`."""

    async def prepare(
        self, text: str, caller: str = "", tightening: Tightening = Tightening.NONE
    ) -> PreparedSchema:
        """Checks and prepares a schema. Does not block the event loop.

        Args:
            text: the schema.
            caller: who sent it; callers that wait share the workers fairly.
            tightening: what the engine schema rules out beyond the usual.

        Raises:
            GenirError: SCHEMA_INVALID, SCHEMA_UNSUPPORTED or SCHEMA_TOO_COMPLEX, with a
                FieldViolation for ``spec.json_schema``; OVERLOADED or DRAINING.

        """
        ...

    async def plan_closing(
        self,
        schema: PreparedSchema,
        written: WrittenText,
        max_tokens: int,
        caller: str = "",
    ) -> ClosingPlan | None:
        """How a half-written value ends within a budget. Does not block the event loop.

        Args:
            schema: the schema in force.
            written: what the model wrote.
            max_tokens: the budget of the whole value, in tokens.
            caller: whose value it is; callers that wait share the workers fairly.

        Returns:
            The plan; None if no end was found. With a budget of `closable_tokens` there is always
            one.

        """
        ...

    def known(self, digest: str) -> PreparedSchema | None:
        """The prepared schema with that digest, if it is in the cache."""
        ...

    def limits(self) -> Mapping[str, float]:
        """The limits that schemas must keep, by name: counts, bytes or seconds."""
        ...

    def statistics(self) -> SchemaStatistics:
        """What was done since the start."""
        ...

    async def close(self) -> None:
        """Ends the worker processes. May be called more than once."""
        ...
