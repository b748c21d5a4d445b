"""llguidance, used the way the engine uses it. Runs in worker processes only."""

from __future__ import annotations

import json
from decimal import Decimal
from functools import cache
from typing import TYPE_CHECKING

import jsonschema_rs
import llguidance

if TYPE_CHECKING:
    from genir_server.domain.grammar_tokenizer import GrammarTokenizer

# Numbers of fewer digits and smaller exponents are read exactly by any method.
_EXACT_DIGITS = 15
_EXACT_EXPONENT = 22

LIMITS = llguidance.LLParserLimits()
"""The limits of a matcher in the engine: the library's defaults."""


def load_tokenizer(source: GrammarTokenizer | None) -> llguidance.LLTokenizer:
    """The tokenizer of a model; one of single bytes for None.

    Takes a second or two of processor time, in which it holds the interpreter's lock.

    Raises:
        ValueError: llguidance cannot read it.

    """
    if source is None:
        return llguidance.LLTokenizer("byte")
    if source.hugging_face:
        return llguidance.LLTokenizer(
            source.hugging_face, n_vocab=source.vocabulary, eos_token=source.end_token
        )
    made: llguidance.LLTokenizer = llguidance.LLTokenizer.from_tiktoken(
        encoder=source.ranks,
        special_tokens=source.special_tokens,
        pattern=source.pattern,
        eos_token=source.end_token,
        n_vocab=source.vocabulary,
    )
    return made


def grammar_of(schema: str) -> str:
    """The grammar that the engine makes of a schema: compact JSON, no optional white space."""
    return str(
        llguidance.LLMatcher.grammar_from_json_schema(
            schema, defaults={"whitespace_flexible": False}
        )
    )


def compile_matcher(tokenizer: llguidance.LLTokenizer, schema: str) -> llguidance.LLMatcher:
    """A matcher for a schema. `get_error` tells whether the schema was refused.

    Raises:
        ValueError: the schema has a number that the compiler's parser does not take.

    """
    return llguidance.LLMatcher(tokenizer, grammar_of(schema), log_level=0)


@cache
def byte_tokenizer() -> llguidance.LLTokenizer:
    """A tokenizer whose tokens are single bytes, with the byte as the token's number."""
    return load_tokenizer(None)


class GrammarOracle:
    """The libraries' answers about one schema, each computed once.

    Implements `genir_server.schema.relax.context.Oracle`.
    """

    def __init__(self) -> None:
        self._compiles: dict[str, bool] = {}
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
