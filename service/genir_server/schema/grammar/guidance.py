"""llguidance, used the way the engine uses it. Runs in worker processes only."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

import llguidance

if TYPE_CHECKING:
    from genir_server.domain.grammar_tokenizer import GrammarTokenizer

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
