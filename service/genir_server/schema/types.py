"""What preparing a schema gives. Knows neither gRPC nor vLLM."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from genir_server.core.types import SchemaNotice, Violation


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
        shown_whole: compact text for the prompt.
        shown_without_descriptions: the same without descriptions, titles, comments, defaults and
            examples.
        minimal_instance: compact JSON of a small valid value; None when none was found.
        min_tokens: a number of tokens below which no valid value fits, 1 and up.
        draft: the draft the schema is written in: "4", "6", "7", "2019-09" or "2020-12".
        prepare_seconds: processor time that preparing took, compilation included.
        compile_seconds: processor time of compiling the grammar.
        worst_mask_seconds: time of the slowest set of allowed tokens that was tried.

    """

    digest: str
    text: str
    engine_schema: str
    notices: tuple[SchemaNotice, ...]
    verifier: Verifier
    shown_whole: str
    shown_without_descriptions: str
    minimal_instance: str | None
    min_tokens: int
    draft: str = "2020-12"
    prepare_seconds: float = 0.0
    compile_seconds: float = 0.0
    worst_mask_seconds: float = 0.0


class SchemaPreparer(Protocol):
    """Turns schema text into a `PreparedSchema`."""

    async def prepare(self, text: str) -> PreparedSchema:
        """Checks and prepares a schema. Does not block the event loop.

        Raises:
            GenirError: SCHEMA_INVALID, SCHEMA_UNSUPPORTED or SCHEMA_TOO_COMPLEX, with a
                FieldViolation for ``spec.json_schema``.

        """
        ...

    def known(self, digest: str) -> PreparedSchema | None:
        """The schema of that digest if it was prepared before and is still kept."""
        ...

    async def close(self) -> None:
        """Ends worker processes."""
        ...
