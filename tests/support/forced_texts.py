"""What an engine writes under a grammar whose model always takes the first allowed token."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from genir_server.schema.grammar.guidance import compile_matcher

if TYPE_CHECKING:
    import llguidance

_MAX_TOKENS = 2_000


def allowed(mask: bytes) -> list[int]:
    """The tokens of a mask."""
    return [
        8 * place + bit
        for place, byte in enumerate(mask)
        if byte
        for bit in range(8)
        if byte >> bit & 1
    ]


def written(tokenizer: llguidance.LLTokenizer, schema: object) -> tuple[str, set[int]]:
    """What a model writes under a schema, and the special tokens that were ever allowed.

    The schema may allow only finitely many short values, because the first token may be any.
    """
    matcher = compile_matcher(tokenizer, json.dumps(schema))
    assert not matcher.get_error(), matcher.get_error()
    tokens: list[int] = []
    special: set[int] = set()
    while not matcher.is_stopped():
        assert len(tokens) < _MAX_TOKENS
        candidates = allowed(bytes(matcher.compute_bitmask()))
        special |= {each for each in candidates if tokenizer.is_special_token(each)}
        ends = [each for each in candidates if each == tokenizer.eos_token]
        token = next(iter([each for each in candidates if each not in ends] or ends))
        assert matcher.consume_token(token), matcher.get_error()
        tokens += [token] if token not in ends else []
    return tokenizer.decode_bytes(tokens).decode(), special - {tokenizer.eos_token}
