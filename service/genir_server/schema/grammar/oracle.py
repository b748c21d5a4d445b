"""What only the libraries can answer about a schema. Runs in worker processes only."""

from __future__ import annotations

import json
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
# Samples may take 50 ms. With more of such texts in a schema, the engine is taken to fail.
_MAX_SAMPLED = 6


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
        self._sampled = 0
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
            if needs_samples(facts):
                self._sampled += 1
            self._writes_texts[facts] = self._sampled <= _MAX_SAMPLED and writes_texts(
                self._tokenizer, facts
            )
        return self._writes_texts[facts]
