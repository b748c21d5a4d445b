"""What preparing a schema gives. Knows neither gRPC nor vLLM."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from genir_server.domain.types import Tightening

if TYPE_CHECKING:
    from collections.abc import Mapping

    from genir_server.domain.errors import Reason
    from genir_server.domain.types import SchemaNotice, Violation


class Verifier(Protocol):
    """Checks values against the caller's own schema. Never fetches anything.

    Attributes:
        may_block: whether `violations` may take long enough to block an event loop. It then runs
            in a process of its own, which is killed after a second; call it from a thread.

    """

    @property
    def may_block(self) -> bool:
        """Whether `violations` belongs in a thread."""
        ...

    def violations(self, value: object) -> list[Violation]:
        """Every way in which the parsed JSON `value` fails the schema; empty when it is valid."""
        ...


@dataclass(frozen=True, slots=True)
class PreparedSchema:
    """A schema that passed every check and is ready for use.

    Attributes:
        digest: ``sha256:<hex>`` of the UTF-8 bytes of `text`.
        text: the schema as the caller sent it.
        engine_schema: the JSON text that decoding enforces. It accepts every value that the
            caller's schema accepts, but for what the notices call narrowed.
        notices: keywords that decoding does not enforce as they stand.
        verifier: decides on the caller's own schema.
        shown_full: compact text for the prompt.
        shown_without_descriptions: the same without descriptions, titles, comments, defaults and
            examples.
        minimal_instance: compact JSON of a small valid value; None when none was found.
        min_tokens: a number of tokens below which no valid value fits, 1 and up.
        draft: the draft the schema is written in: "4", "6", "7", "2019-09" or "2020-12".
        prepare_seconds: processor time that preparing took, compilation included.
        compile_seconds: processor time of compiling the grammar.
        max_mask_seconds: time of the slowest set of allowed tokens that was tried.
        measured: how near the schema comes to limits, by the names that `SchemaPreparer.limits`
            has; limits that were not measured are left out.
        shown_tokens: tokens of the texts for the prompt, by the text, as far as they were counted.

    """

    digest: str
    text: str
    engine_schema: str
    notices: tuple[SchemaNotice, ...]
    verifier: Verifier
    shown_full: str
    shown_without_descriptions: str
    minimal_instance: str | None
    min_tokens: int
    draft: str = "2020-12"
    prepare_seconds: float = 0.0
    compile_seconds: float = 0.0
    max_mask_seconds: float = 0.0
    measured: Mapping[str, float] = field(default_factory=dict)
    shown_tokens: dict[str, int] = field(default_factory=dict, compare=False, repr=False)


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

        `caller` says who asks: callers take turns at what is scarce. `tightening` is what the
        engine schema rules out beside the usual.

        Raises:
            GenirError: SCHEMA_INVALID, SCHEMA_UNSUPPORTED or SCHEMA_TOO_COMPLEX, with a
                FieldViolation for ``spec.json_schema``.

        """
        ...

    def known(self, digest: str) -> PreparedSchema | None:
        """The schema of that digest if it was prepared before and is still kept."""
        ...

    def limits(self) -> Mapping[str, float]:
        """The limits that schemas must keep, by name: counts, bytes or seconds."""
        ...

    def statistics(self) -> SchemaStatistics:
        """What was done since the start."""
        ...

    async def close(self) -> None:
        """Ends worker processes."""
        ...
