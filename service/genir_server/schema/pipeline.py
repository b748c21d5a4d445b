"""Everything that is done to a schema before it may be used. Runs in worker processes only."""

from __future__ import annotations

import json
import re
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from genir_server.domain.errors import Reason
from genir_server.domain.types import Tightening
from genir_server.schema.checks.lint import lint
from genir_server.schema.checks.validation_cost import explosive, repetitive
from genir_server.schema.errors import SchemaRefusedError, invalid, unsupported
from genir_server.schema.grammar import guidance as engine
from genir_server.schema.grammar.min_tokens import Vocabulary, fewest_tokens
from genir_server.schema.grammar.minimal_instance import SmallestWriter
from genir_server.schema.grammar.trial import GrammarError, Probe
from genir_server.schema.grammar.xgrammar_form import xgrammar_form
from genir_server.schema.narrow.narrow import narrow
from genir_server.schema.prompt_text import shown
from genir_server.schema.read import drafts, reader
from genir_server.schema.read.document import Document
from genir_server.schema.relax import Relaxed, relax
from genir_server.schema.relax.context import Options
from genir_server.schema.verify.verifier import SchemaVerifier

if TYPE_CHECKING:
    import llguidance

    from genir_server.domain.types import SchemaNotice
    from genir_server.schema.limits import NarrowingBounds, SchemaLimits

# What the engine's compiler says, and the coarser relaxations that may help, in turn.
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
# The forms that are tried, finest first: relaxation and whether bounds are added.
_FORMS = (
    (Options(), True),
    (Options(), False),
    (Options(plain_patterns=True), True),
    (Options(plain_patterns=True), False),
)
_IMPOSSIBLE = re.compile(r"while processing json-schema:///#/\$defs/([\w-]+)")
_BOUNDS = frozenset({"maxItems", "minimum", "maximum", "multipleOf", "format"})
# Bounds that are told of. Those of the relaxed schema that they replace are replaced all the same.
_MOST_NARROWED = 100
_MOST_COMPILATIONS = 8
_MOST_COMPILE_SECONDS = 0.3
# An example is worth having, but no schema is refused for want of the time to find one.
_MOST_EXAMPLE_SECONDS = 0.1
# What takes longer to compile also takes room, and would hold the server up when it is compiled
# there.
_MOST_VERIFIER_SECONDS = 0.02


@dataclass(frozen=True, slots=True)
class Analysis:
    """What is known about a schema that may be used.

    Attributes:
        draft: number of the draft: 4, 6, 7, 2019 or 2020.
        engine_schema: JSON text that decoding enforces.
        relaxed_schema: the same without any narrowing.
        notices: keywords that decoding does not enforce as they stand.
        shown_full: compact text for the prompt.
        shown_without_descriptions: the same without what is meant for people.
        minimal_instance: compact JSON of a small valid value; None when none was found.
        min_tokens: tokens below which no valid value fits.
        guarded: whether checking a value may take so long, or what checks it so much memory,
            that it belongs in a process of its own.
        seconds: processor time of all of it.
        compile_seconds: processor time of compiling the grammar.
        max_mask_seconds: time of the slowest mask that was tried.
        measured: the largest value that the schema has, by the name of the limit.

    """

    draft: int
    engine_schema: str
    relaxed_schema: str
    notices: tuple[SchemaNotice, ...]
    shown_full: str
    shown_without_descriptions: str
    minimal_instance: str | None
    min_tokens: int
    guarded: bool
    seconds: float
    compile_seconds: float
    max_mask_seconds: float
    measured: dict[str, float]


@dataclass(frozen=True, slots=True)
class _Compiled:
    """A schema that the engine's compiler took, and what it took."""

    relaxed_text: str
    engine_text: str
    notices: tuple[SchemaNotice, ...]
    matcher: llguidance.LLMatcher
    seconds: float


@dataclass(frozen=True, slots=True)
class _Trial:
    """A compiled schema under which masks were computed."""

    compiled: _Compiled
    example: str | None
    max_mask_seconds: float


class Analyser:
    """Analyses schemas for one tokenizer.

    Args:
        tokenizer: the model's.
        limits: what is refused.
        bounds: how far output is bounded.
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
        self._probe = Probe(tokenizer, limits)
        self._writer = SmallestWriter(engine.load_tokenizer(None))
        self._vocabulary = Vocabulary(
            tokenizer.decode_bytes([token])
            for token in range(tokenizer.vocab_size)
            if not tokenizer.is_special_token(token)
        )

    def analyse(self, text: str, tightening: Tightening = Tightening.NONE) -> Analysis:
        """Reads, checks, relaxes, narrows and compiles a schema.

        Args:
            text: the schema's text.
            tightening: what the narrowing rules out beside the usual.

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
        compiling = time.thread_time()
        try:
            verifier = SchemaVerifier(text, draft)
        except ValueError as fault:
            raise unsupported(f"The schema cannot be checked against: {fault}", "") from None
        guarded = (
            time.thread_time() - compiling > _MOST_VERIFIER_SECONDS
            or not verifier.linear
            or repetitive(document)
            or explosive(document)
        )
        trial = self._try(document, verifier, self._bounds.tightened(tightening))
        min_tokens = fewest_tokens(json.loads(trial.compiled.relaxed_text), self._vocabulary)
        texts = {
            "shown_full": shown(schema, descriptions=True),
            "shown_without_descriptions": shown(schema, descriptions=False),
        }
        engine_text, notices = trial.compiled.engine_text, trial.compiled.notices
        if self._for_xgrammar:
            form, taken = xgrammar_form(json.loads(engine_text), schema)
            # Like the others that are checked after decoding, before all that is narrowed.
            engine_text, notices = _text(form), (*taken, *notices)
        seconds = time.process_time() - start
        return Analysis(
            draft=int(draft),
            engine_schema=engine_text,
            relaxed_schema=trial.compiled.relaxed_text,
            notices=notices,
            **texts,
            minimal_instance=trial.example,
            min_tokens=min_tokens,
            guarded=guarded,
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

    def _try(self, document: Document, verifier: SchemaVerifier, bounds: NarrowingBounds) -> _Trial:
        """The finest form of a schema under which the engine also gets on with writing.

        Raises:
            SchemaRefusedError: there is none.

        """
        first_refusal: SchemaRefusedError | None = None
        for options, narrowed in _FORMS:
            if narrowed and not bounds.enabled:
                continue
            try:
                compiled = self._compile(document, options, bounds if narrowed else None)
                example = None
                if compiled.seconds <= _MOST_COMPILE_SECONDS:
                    example = self._example(compiled.engine_text, verifier)
                worst = self._probe.walk(compiled.matcher, example)
            except SchemaRefusedError as refusal:
                if refusal.reason is not Reason.SCHEMA_TOO_COMPLEX:
                    raise
                first_refusal = first_refusal or refusal
            else:
                return _Trial(compiled, example, worst)
        assert first_refusal is not None  # noqa: S101 - a form that is not refused is returned
        raise first_refusal

    def _compile(
        self, document: Document, options: Options, bounds: NarrowingBounds | None
    ) -> _Compiled:
        """The finest relaxation that the engine compiles, narrowed if it can be."""
        oracle = engine.LibraryOracle()
        error = ""
        for _ in range(_MOST_COMPILATIONS):
            relaxed = relax(document, oracle, options)
            relaxed_text = _text(relaxed.schema)
            if bounds is not None:
                found = self._narrowed(relaxed, relaxed_text, oracle, bounds)
                if found is not None:
                    return found
            try:
                matcher, seconds = self._probe.compile(relaxed_text)
            except GrammarError as fault:
                error = str(fault)
            else:
                return _Compiled(relaxed_text, relaxed_text, relaxed.notices, matcher, seconds)
            coarser = _coarser(options, error)
            if _unsatisfiable(error):
                definition = _IMPOSSIBLE.search(error)
                if definition is None or definition.group(1) in options.impossible:
                    raise invalid(f"No value can satisfy the schema: {error[:300]}")
                impossible = options.impossible | {definition.group(1)}
                coarser = replace(options, impossible=impossible)
            if coarser is None:
                break
            options = coarser
        raise unsupported(f"The engine cannot enforce the schema: {error[:300]}", "")

    def _narrowed(
        self,
        relaxed: Relaxed,
        relaxed_text: str,
        oracle: engine.LibraryOracle,
        bounds: NarrowingBounds,
    ) -> _Compiled | None:
        schema, notices = narrow(relaxed, bounds, oracle.compiles, oracle.matches)
        if not notices:
            return None
        text = _text(schema)
        try:
            matcher, seconds = self._probe.compile(text)
        except GrammarError:
            return None
        narrowed = {notice.pointer for notice in notices}
        kept = [
            notice
            for notice in relaxed.notices
            # What was left out of the relaxed schema is enforced more strictly by the narrowed.
            if not (notice.keyword in _BOUNDS and notice.pointer in narrowed)
        ]
        return _Compiled(relaxed_text, text, (*kept, *notices[:_MOST_NARROWED]), matcher, seconds)

    def _example(self, engine_text: str, verifier: SchemaVerifier) -> str | None:
        schema = json.loads(engine_text)
        return self._writer.write(
            schema if isinstance(schema, dict) else {},
            verifier.is_valid,
            seconds=_MOST_EXAMPLE_SECONDS,
        )


def _coarser(options: Options, error: str) -> Options | None:
    """Options that may avoid an error of the engine's compiler; None when none are left."""
    fitting = [remedy for sign, remedies in _REMEDIES if sign in error for remedy in remedies]
    for remedy in (*fitting, *_LAST_REMEDIES):
        coarser = replace(options, **remedy)  # type: ignore[arg-type] # all of them are bool
        if coarser != options:
            return coarser
    return None


def _text(schema: dict[str, object] | bool) -> str:
    # The engine's own entry takes objects only.
    if isinstance(schema, bool):
        schema = {} if schema else {"allOf": [False]}
    return json.dumps(schema, ensure_ascii=False, separators=(",", ":"))


def _unsatisfiable(error: str) -> bool:
    return "nsatisfiable" in error


__all__ = ["Analyser", "Analysis", "SchemaRefusedError"]
