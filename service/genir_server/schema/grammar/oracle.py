"""What only the libraries can answer about a schema. Runs in worker processes only."""

from __future__ import annotations

import json
import time
from decimal import Decimal
from typing import TYPE_CHECKING

import jsonschema_rs
import llguidance

from genir_server.schema.grammar.guidance import byte_tokenizer, compile_matcher, grammar_of
from genir_server.schema.grammar.text_probe import needs_samples, writes_texts

if TYPE_CHECKING:
    from genir_server.schema.relax.text_facts import Texts

# Numbers of fewer digits and smaller exponents are read exactly by any method.
_EXACT_DIGITS = 15
_EXACT_EXPONENT = 22
# Processor time for the samples of one schema. The engine is taken to write all further texts: that
# it fails is rare, and a keyword that it could enforce must not be left to the check.
_MAX_SAMPLE_SECONDS = 0.15


class GrammarOracle:
    """The libraries' answers about one schema, each computed once.

    Implements `genir_server.schema.relax.context.Oracle`.

    Args:
        tokenizer: the model's; None for one of single bytes.

    """

    def __init__(self, tokenizer: llguidance.LLTokenizer | None = None) -> None:
        self._tokenizer = byte_tokenizer() if tokenizer is None else tokenizer
        self._compiles: dict[str, bool] = {}
        self._writes_texts: dict[Texts, bool] = {}
        self._sample_seconds = 0.0
        self._patterns: dict[str, jsonschema_rs.Validator | None] = {}

    def compiles(self, schema: dict[str, object] | bool) -> bool:
        """Whether the grammar compiler accepts a small schema by itself."""
        text = json.dumps(schema)
        if text not in self._compiles:
            try:
                error = llguidance.LLMatcher.validate_grammar(grammar_of(text))
            except ValueError as fault:
                error = str(fault)
            self._compiles[text] = not error or error.startswith("WARNING")
        return self._compiles[text]

    def matches(self, pattern: str, text: str) -> bool:
        """Whether a regular expression matches inside a text; True when that is unknown."""
        if pattern not in self._patterns:
            try:
                validator = jsonschema_rs.Draft202012Validator({"pattern": pattern}, offline=True)
            except (ValueError, jsonschema_rs.ReferencingError):
                validator = None
            self._patterns[pattern] = validator
        found = self._patterns[pattern]
        return found is None or found.is_valid(text)

    def writes(self, number: float) -> bool:
        """Whether the engine writes a constant as it is.

        Its parser reads some numbers of 16 and more digits as their neighbours.
        """
        _, digits, exponent = Decimal(repr(number)).as_tuple()
        small = isinstance(exponent, int) and abs(exponent) <= _EXACT_EXPONENT
        if small and len(digits) <= _EXACT_DIGITS:
            return True
        matcher = compile_matcher(byte_tokenizer(), json.dumps({"const": number}))
        written = bytes(matcher.compute_ff_bytes())
        return bool(written) and float(written) == number

    def writes_texts(self, facts: Texts) -> bool:
        """Whether the engine writes the texts that several keywords allow together."""
        if facts not in self._writes_texts:
            if needs_samples(facts) and self._sample_seconds > _MAX_SAMPLE_SECONDS:
                return True
            start = time.thread_time()
            self._writes_texts[facts] = writes_texts(self._tokenizer, facts)
            self._sample_seconds += time.thread_time() - start
        return self._writes_texts[facts]
