"""The steps that turn a schema's text into an analysis. Runs in worker processes only.

Read, detect the draft, lint, estimate the cost of validation, then find the finest form of the
schema that the grammar engine takes: relax, narrow, compile, find a minimal instance, compute
masks. docs/architecture.md follows one schema through all of it.
"""

from __future__ import annotations

import json
import re
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from genir_server.domain.errors import Reason
from genir_server.domain.numbers import can_be_answered
from genir_server.domain.types import Tightening
from genir_server.schema.analysis import Analysis
from genir_server.schema.checks.evaluation_cost import NOTHING, UNBOUNDED, patterns_in
from genir_server.schema.checks.lint import lint
from genir_server.schema.checks.validation_cost import validation_cost
from genir_server.schema.errors import SchemaRefusedError, invalid, unsupported
from genir_server.schema.grammar.guidance import GrammarOracle, load_tokenizer
from genir_server.schema.grammar.min_tokens import Vocabulary, min_tokens
from genir_server.schema.grammar.minimal_instance import MinimalInstanceFinder
from genir_server.schema.grammar.trial import GrammarError, GrammarTrial
from genir_server.schema.grammar.xgrammar_form import xgrammar_form
from genir_server.schema.isolation.heap import allocated_bytes
from genir_server.schema.narrow.narrow import narrow
from genir_server.schema.prompt_text import prompt_text
from genir_server.schema.read import drafts, reader
from genir_server.schema.read.document import Document
from genir_server.schema.relax import Relaxed, relax
from genir_server.schema.relax.context import Options
from genir_server.schema.verify.source import verifier_source
from genir_server.schema.verify.verifier import SchemaVerifier

if TYPE_CHECKING:
    import llguidance

    from genir_server.domain.types import SchemaNotice
    from genir_server.schema.limits import NarrowingBounds, SchemaLimits
    from genir_server.schema.types import VerifierSource

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
    (Options(plain_patterns=True), True),
    (Options(plain_patterns=True), False),
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
# Compiling a verifier holds the interpreter's lock. One that takes longer would hold up the server.
_MAX_VERIFIER_SECONDS = 0.005
_MAX_VERIFIER_BYTES = 2 << 20
# While it matches, a regular expression takes more memory than when it was compiled: a few times
# its size and the automaton, which is bounded. `tests/unit/schema/test_memory.py` measures it.
_MATCHING_GROWTH = 2.5
_MATCHING_BYTES = 40 << 10


@dataclass(frozen=True, slots=True)
class _Compiled:
    """A form of the schema that the grammar compiler accepts."""

    relaxed_schema: str
    engine_schema: str
    notices: tuple[SchemaNotice, ...]
    matcher: llguidance.LLMatcher
    seconds: float


@dataclass(frozen=True, slots=True)
class _Trial:
    """A compiled form under which masks were computed within the limits."""

    compiled: _Compiled
    minimal_instance: str | None
    max_mask_seconds: float


class Pipeline:
    """Analyses schemas for one tokenizer.

    Args:
        tokenizer: the model's.
        limits: what is refused.
        bounds: bounds on output where a schema sets none.
        for_xgrammar: whether the engine schema is for xgrammar, which enforces less.

    """

    def __init__(
        self,
        tokenizer: llguidance.LLTokenizer,
        limits: SchemaLimits,
        bounds: NarrowingBounds,
        *,
        for_xgrammar: bool = False,
    ) -> None:
        self._for_xgrammar = for_xgrammar
        self._limits = limits
        self._bounds = bounds
        self._trial = GrammarTrial(tokenizer, limits)
        self._instances = MinimalInstanceFinder(load_tokenizer(None))
        self._vocabulary = Vocabulary(
            tokenizer.decode_bytes([token])
            for token in range(tokenizer.vocab_size)
            if not tokenizer.is_special_token(token)
        )

    def analyse(self, text: str, tightening: Tightening = Tightening.NONE) -> Analysis:
        """Reads, checks, relaxes, narrows and compiles a schema.

        Args:
            text: the schema.
            tightening: what narrowing rules out beyond the usual.

        Raises:
            SchemaRefusedError: the schema cannot be used.

        """
        start = time.process_time()
        schema = reader.read(text, self._limits)
        if schema is False:
            raise invalid("No value can satisfy the schema: it is false")
        draft = drafts.detect(schema)
        document = Document(schema, draft)
        measured = lint(document, self._limits)
        source = verifier_source(document, text)
        verifier, verifier_bytes = _compile_verifier(source, document)
        cost = NOTHING if verifier_bytes is None else validation_cost(document)
        if cost == UNBOUNDED:
            verifier_bytes, cost = None, NOTHING
        trial = self._finest_form(document, verifier, self._bounds.tightened(tightening))
        engine_schema, notices = trial.compiled.engine_schema, trial.compiled.notices
        if self._for_xgrammar:
            form, removed = xgrammar_form(json.loads(engine_schema), schema)
            # Notices of what is checked after decoding come before those of narrowing.
            engine_schema, notices = _text(form), (*removed, *notices)
        tokens = min_tokens(json.loads(trial.compiled.relaxed_schema), self._vocabulary)
        shown = {
            "shown_full": prompt_text(schema, descriptions=True),
            "shown_without_descriptions": prompt_text(schema, descriptions=False),
        }
        seconds = time.process_time() - start
        return Analysis(
            draft=int(draft),
            verifier_schema=None if source.text == text else source.text,
            verifier_patterns=source.patterns,
            engine_schema=engine_schema,
            relaxed_schema=trial.compiled.relaxed_schema,
            notices=notices,
            **shown,
            minimal_instance=trial.minimal_instance,
            min_tokens=tokens,
            verifier_bytes=verifier_bytes,
            node_seconds=cost.node,
            byte_seconds=cost.byte,
            seconds=seconds,
            compile_seconds=trial.compiled.seconds,
            max_mask_seconds=trial.max_mask_seconds,
            measured={
                "schema_bytes": len(text.encode()),
                **measured,
                "probe_seconds": seconds,
                "compile_seconds": trial.compiled.seconds,
                "mask_seconds": trial.max_mask_seconds,
            },
        )

    def _finest_form(
        self, document: Document, verifier: SchemaVerifier, bounds: NarrowingBounds
    ) -> _Trial:
        """The finest form of a schema that compiles and keeps the limits of the trial.

        Raises:
            SchemaRefusedError: there is none; the refusal is that of the first form.

        """
        first_refusal: SchemaRefusedError | None = None
        for options, narrowed in _FORMS:
            if narrowed and not bounds.enabled:
                continue
            try:
                compiled = self._compile(document, options, bounds if narrowed else None)
                instance = None
                if compiled.seconds <= _MAX_COMPILE_SECONDS_FOR_INSTANCE:
                    instance = self._minimal_instance(compiled.engine_schema, verifier)
                max_mask_seconds = self._trial.walk(compiled.matcher, instance)
            except SchemaRefusedError as refusal:
                if refusal.reason is not Reason.SCHEMA_TOO_COMPLEX:
                    raise
                first_refusal = first_refusal or refusal
            else:
                return _Trial(compiled, instance, max_mask_seconds)
        assert first_refusal is not None  # noqa: S101 - a form that is not refused is returned
        raise first_refusal

    def _compile(
        self, document: Document, options: Options, bounds: NarrowingBounds | None
    ) -> _Compiled:
        """The finest relaxation that compiles, starting at `options`; narrowed if possible."""
        oracle = GrammarOracle()
        error = ""
        for _ in range(_MAX_COMPILATIONS):
            relaxed = relax(document, oracle, options)
            text = _text(relaxed.schema)
            if bounds is not None:
                compiled = self._compile_narrowed(relaxed, text, oracle, bounds)
                if compiled is not None:
                    return compiled
            try:
                matcher, seconds = self._trial.compile(text)
            except GrammarError as fault:
                error = str(fault)
            else:
                return _Compiled(text, text, relaxed.notices, matcher, seconds)
            coarser = _coarser(options, error)
            if _is_unsatisfiable(error):
                definition = _UNSATISFIABLE_DEFINITION.search(error)
                if definition is None or definition.group(1) in options.unsatisfiable:
                    unsatisfiable_schema = invalid(
                        f"No value can satisfy the schema: {error[:300]}"
                    )
                    raise next(iter(relaxed.refusals), unsatisfiable_schema)
                unsatisfiable = options.unsatisfiable | {definition.group(1)}
                coarser = replace(options, unsatisfiable=unsatisfiable)
            if coarser is None:
                break
            options = coarser
        raise unsupported(f"The engine cannot enforce the schema: {error[:300]}", "")

    def _compile_narrowed(
        self,
        relaxed: Relaxed,
        relaxed_text: str,
        oracle: GrammarOracle,
        bounds: NarrowingBounds,
    ) -> _Compiled | None:
        """The narrowed form of a relaxed schema; None if nothing is narrowed or it fails."""
        form = narrow(relaxed, bounds, oracle)
        if not form.notices:
            return None
        text = _text(form.schema)
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
        return _Compiled(
            relaxed_text, text, (*kept, *form.notices[:_MAX_NARROWED_NOTICES]), matcher, seconds
        )

    def _minimal_instance(self, engine_schema: str, verifier: SchemaVerifier) -> str | None:
        schema = json.loads(engine_schema)
        return self._instances.find(
            schema if isinstance(schema, dict) else {},
            lambda value: can_be_answered(value) and verifier.is_valid(value),
            seconds=_MAX_INSTANCE_SECONDS,
        )


def _compile_verifier(
    source: VerifierSource, document: Document
) -> tuple[SchemaVerifier, int | None]:
    """The verifier, and the memory it may take; None if that is too much for the server.

    Raises:
        SchemaRefusedError: SCHEMA_UNSUPPORTED; it cannot be compiled.

    """
    start, before = time.thread_time(), allocated_bytes()
    try:
        verifier = SchemaVerifier.of(source)
    except ValueError as fault:
        raise unsupported(f"No validator can be made for the schema: {fault}", "") from None
    seconds, size = time.thread_time() - start, max(0, allocated_bytes() - before)
    patterns = sum(1 for node in document.nodes.values() for _ in patterns_in(node.keywords))
    size = int(size * _MATCHING_GROWTH) + patterns * _MATCHING_BYTES
    if seconds > _MAX_VERIFIER_SECONDS or size > _MAX_VERIFIER_BYTES or not verifier.is_linear:
        return verifier, None
    return verifier, size


def _coarser(options: Options, error: str) -> Options | None:
    """Options that may avoid an error of the grammar compiler; None when none are left."""
    fitting = [remedy for message, remedies in _REMEDIES if message in error for remedy in remedies]
    for remedy in (*fitting, *_LAST_REMEDIES):
        coarser = replace(options, **remedy)  # type: ignore[arg-type] # all of them are bool
        if coarser != options:
            return coarser
    return None


def _text(schema: dict[str, object] | bool) -> str:
    # The grammar compiler takes only objects at the top.
    if isinstance(schema, bool):
        schema = {} if schema else {"allOf": [False]}
    return json.dumps(schema, ensure_ascii=False, separators=(",", ":"))


def _is_unsatisfiable(error: str) -> bool:
    return "nsatisfiable" in error
