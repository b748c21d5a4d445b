"""The steps that turn a schema's text into an analysis. Runs in worker processes only.

Read, detect the draft, lint, estimate the cost of validation, then find the finest form of the
schema that the grammar engine takes: relax, narrow, compile, find a minimal instance, compute
masks. docs/architecture.md follows one schema through all of it.
"""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING

from genir_server.domain.types import Tightening
from genir_server.schema.analysis import Analysis
from genir_server.schema.checks.evaluation_cost import NOTHING, UNBOUNDED, patterns_in
from genir_server.schema.checks.lint import lint
from genir_server.schema.checks.satisfiable import Satisfiability
from genir_server.schema.checks.validation_cost import validation_cost
from genir_server.schema.errors import invalid, unsupported
from genir_server.schema.forms import FormFinder, as_text
from genir_server.schema.grammar.min_tokens import Vocabulary, min_tokens
from genir_server.schema.grammar.xgrammar_form import xgrammar_form
from genir_server.schema.isolation.heap import allocated_bytes
from genir_server.schema.prompt_text import prompt_text
from genir_server.schema.read import drafts, reader
from genir_server.schema.read.document import Document
from genir_server.schema.verify.source import verifier_source
from genir_server.schema.verify.verifier import SchemaVerifier

if TYPE_CHECKING:
    import llguidance

    from genir_server.schema.limits import NarrowingBounds, SchemaLimits
    from genir_server.schema.types import VerifierSource

# Compiling a verifier holds the interpreter's lock. One that takes longer would hold up the server.
_MAX_VERIFIER_SECONDS = 0.005
_MAX_VERIFIER_BYTES = 2 << 20
# While it matches, a regular expression takes more memory than when it was compiled: a few times
# its size and the automaton, which is bounded. `tests/unit/schema/test_memory.py` measures it.
_MATCHING_GROWTH = 2.5
_MATCHING_BYTES = 40 << 10


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
        self._tokenizer = tokenizer
        self._forms = FormFinder(tokenizer, limits)
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
        satisfiability = Satisfiability(document)
        contradiction = satisfiability.contradiction()
        if contradiction is not None:
            message = f"No value can satisfy the schema: {contradiction.message}"
            raise invalid(message, contradiction.pointer)
        source = verifier_source(document, text)
        verifier, verifier_bytes = _compile_verifier(source, document)
        cost = NOTHING if verifier_bytes is None else validation_cost(document)
        if cost == UNBOUNDED:
            verifier_bytes, cost = None, NOTHING
        trial = self._forms.find(
            document,
            satisfiability.unsatisfiable,
            verifier,
            self._bounds.tightened(tightening),
        )
        engine_schema, notices = trial.compiled.engine_schema, trial.compiled.notices
        if self._for_xgrammar:
            form, removed = xgrammar_form(json.loads(engine_schema), schema)
            # Notices of what is checked after decoding come before those of narrowing.
            engine_schema, notices = as_text(form), (*removed, *notices)
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
            closable_tokens=len(self._tokenizer.tokenize_str(trial.minimal_instance or "")),
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
