"""Finds the finest form of a schema that the grammar engine takes.

A form is relaxed, and narrowed if possible. Finer forms come first; a coarser one leaves more to
the check after decoding.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from genir_server.domain.errors import Reason
from genir_server.domain.numbers import can_be_answered
from genir_server.schema.errors import SchemaRefusedError
from genir_server.schema.grammar import explanation
from genir_server.schema.grammar.guidance import load_tokenizer
from genir_server.schema.grammar.minimal_instance import MinimalInstanceFinder
from genir_server.schema.grammar.oracle import GrammarOracle
from genir_server.schema.grammar.trial import GrammarError, GrammarTrial
from genir_server.schema.narrow.narrow import narrow
from genir_server.schema.relax import relax
from genir_server.schema.relax.context import Options

if TYPE_CHECKING:
    import llguidance

    from genir_server.domain.types import SchemaNotice
    from genir_server.schema.limits import NarrowingBounds, SchemaLimits
    from genir_server.schema.read.document import Document
    from genir_server.schema.relax import Relaxed
    from genir_server.schema.verify.verifier import SchemaVerifier

# Coarser relaxations to try after an error of the grammar compiler: those for its message first.
_REMEDIES: tuple[tuple[str, tuple[dict[str, bool], ...]], ...] = (
    ("intersection stack", ({"plain_recursion": True},)),
    ("circular", ({"open_circular": True}, {"cut_circular": True})),
    ("min/maxProperties", ({"plain_counts": True},)),
    ("disjoint", ({"plain_patterns": True},)),
    ("regex", ({"plain_patterns": True},)),
)
_LAST_REMEDIES: tuple[dict[str, bool], ...] = (
    {"plain_conditions": True},
    {"plain_counts": True},
    {"plain_patterns": True},
    {"cut_circular": True},
    {"plain_recursion": True},
)
# The forms that are tried, finest first: how to relax, and whether to narrow.
_FORMS = (
    (Options(), True),
    (Options(), False),
    (Options(plain_counts=True), True),
    (Options(plain_counts=True, plain_conditions=True), True),
    (Options(plain_patterns=True), True),
    (Options(plain_counts=True, plain_conditions=True, plain_patterns=True), False),
)
_UNSATISFIABLE_DEFINITION = re.compile(r"while processing json-schema:///#/\$defs/([\w-]+)")
# Keywords that narrowing may add where relaxing left out the caller's own.
_NARROWED_KEYWORDS = frozenset({"maxLength", "maxItems", "format"})
# Further narrowing applies too, it is only not reported.
_MAX_NARROWED_NOTICES = 100
_MAX_COMPILATIONS = 8
# No minimal instance is searched for a schema that compiled slower than this.
_MAX_COMPILE_SECONDS_FOR_INSTANCE = 0.3
_MAX_INSTANCE_SECONDS = 0.1


@dataclass(frozen=True, slots=True)
class Compiled:
    """A form of the schema that the grammar compiler accepts."""

    relaxed_schema: str
    engine_schema: str
    notices: tuple[SchemaNotice, ...]
    matcher: llguidance.LLMatcher
    seconds: float


@dataclass(frozen=True, slots=True)
class Form:
    """A compiled form under which masks were computed within the limits."""

    compiled: Compiled
    minimal_instance: str | None
    max_mask_seconds: float


class FormFinder:
    """Finds forms of schemas for one tokenizer.

    Args:
        tokenizer: the model's.
        limits: how long compiling and a mask may take.

    """

    def __init__(self, tokenizer: llguidance.LLTokenizer, limits: SchemaLimits) -> None:
        self._tokenizer = tokenizer
        self._trial = GrammarTrial(tokenizer, limits)
        self._instances = MinimalInstanceFinder(load_tokenizer(None))

    def find(
        self,
        document: Document,
        empty: frozenset[str],
        verifier: SchemaVerifier,
        bounds: NarrowingBounds,
    ) -> Form:
        """The finest form of a schema that compiles and keeps the limits of the trial.

        Args:
            document: the schema.
            empty: pointers of its parts that no finite value satisfies.
            verifier: what checks values against the schema.
            bounds: bounds on output where the schema sets none.

        Raises:
            SchemaRefusedError: there is none; the refusal is that of the first form.

        """
        first_refusal: SchemaRefusedError | None = None
        for options, narrowed in _FORMS:
            if narrowed and not bounds.enabled:
                continue
            try:
                compiled = self._compile(document, empty, options, bounds if narrowed else None)
                instance = None
                if compiled.seconds <= _MAX_COMPILE_SECONDS_FOR_INSTANCE:
                    instance = self._minimal_instance(compiled.engine_schema, verifier)
                max_mask_seconds = self._trial.walk(compiled.matcher, instance)
            except SchemaRefusedError as refusal:
                if refusal.reason is not Reason.SCHEMA_TOO_COMPLEX:
                    raise
                first_refusal = first_refusal or refusal
            else:
                return Form(compiled, instance, max_mask_seconds)
        assert first_refusal is not None  # noqa: S101 - a form that is not refused is returned
        raise first_refusal

    def _compile(
        self,
        document: Document,
        empty: frozenset[str],
        options: Options,
        bounds: NarrowingBounds | None,
    ) -> Compiled:
        """The finest relaxation that compiles, starting at `options`; narrowed if possible."""
        oracle = GrammarOracle(self._tokenizer)
        error = ""
        unsatisfied: tuple[Relaxed, str] | None = None
        for _ in range(_MAX_COMPILATIONS):
            relaxed = relax(document, oracle, options, empty)
            text = as_text(relaxed.schema)
            if bounds is not None:
                compiled = self._compile_narrowed(relaxed, text, oracle, bounds)
                if compiled is not None:
                    return compiled
            try:
                matcher, seconds = self._trial.compile(text)
            except GrammarError as fault:
                error = str(fault)
            else:
                return Compiled(text, text, relaxed.notices, matcher, seconds)
            coarser = _coarser(options, error)
            if explanation.is_unsatisfiable(error):
                definition = _UNSATISFIABLE_DEFINITION.search(error)
                if definition is None or definition.group(1) in options.unsatisfiable:
                    # Later forms lack the definitions that turned out to be unsatisfiable.
                    first, error = unsatisfied or (relaxed, error)
                    raise next(iter(relaxed.refusals), None) or explanation.unsatisfiable(
                        document, first, error
                    )
                unsatisfied = unsatisfied or (relaxed, error)
                unsatisfiable = options.unsatisfiable | {definition.group(1)}
                coarser = replace(options, unsatisfiable=unsatisfiable)
            if coarser is None:
                break
            options = coarser
        raise explanation.not_enforced(relaxed, error)

    def _compile_narrowed(
        self,
        relaxed: Relaxed,
        relaxed_text: str,
        oracle: GrammarOracle,
        bounds: NarrowingBounds,
    ) -> Compiled | None:
        """The narrowed form of a relaxed schema; None if nothing is narrowed or it fails."""
        form = narrow(relaxed, bounds, oracle)
        if not form.notices:
            return None
        text = as_text(form.schema)
        try:
            matcher, seconds = self._trial.compile(text)
        except GrammarError:
            return None
        narrowed = {notice.pointer for notice in form.notices}
        kept = [
            notice
            for notice in relaxed.notices
            # The narrowed schema enforces more strictly what the relaxed one left out.
            if not (
                notice.pointer in form.enforced
                or (notice.keyword in _NARROWED_KEYWORDS and notice.pointer in narrowed)
            )
        ]
        return Compiled(
            relaxed_text, text, (*kept, *form.notices[:_MAX_NARROWED_NOTICES]), matcher, seconds
        )

    def _minimal_instance(self, engine_schema: str, verifier: SchemaVerifier) -> str | None:
        schema = json.loads(engine_schema)
        return self._instances.find(
            schema if isinstance(schema, dict) else {},
            lambda value: can_be_answered(value) and verifier.is_valid(value),
            seconds=_MAX_INSTANCE_SECONDS,
        )


def _coarser(options: Options, error: str) -> Options | None:
    """Options that may avoid an error of the grammar compiler; None when none are left."""
    fitting = [remedy for message, remedies in _REMEDIES if message in error for remedy in remedies]
    for remedy in (*fitting, *_LAST_REMEDIES):
        coarser = replace(options, **remedy)  # type: ignore[arg-type] # all of them are bool
        if coarser != options:
            return coarser
    return None


def as_text(schema: dict[str, object] | bool) -> str:
    """The text of an engine schema."""
    # The grammar compiler takes only objects at the top.
    if isinstance(schema, bool):
        schema = {} if schema else {"allOf": [False]}
    return json.dumps(schema, ensure_ascii=False, separators=(",", ":"))
