"""Turns the bytes that a grammar forces into the tokens that a model would write them with.

The grammar says which *bytes* must come next. How they are split into tokens is the model's choice,
and nearly always that of its tokenizer. Correctness does not depend on predicting it: the model
verifies these tokens like any other draft.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence

CONTEXT_TOKENS = 8
"""Number of preceding tokens that are tokenized together with the forced bytes. Tokenizers look at
neighbouring characters only up to a boundary such as the end of a word."""

_MAX_BYTES_PER_TOKEN = 32
"""Forced bytes are cut off at this many for each wanted token: a constant may be long."""


class Tokenizer(Protocol):
    """The part of llguidance's ``LLTokenizer`` that is used here."""

    def tokenize_bytes(self, utf8bytes: bytes) -> list[int]:
        """The tokens of some bytes. Names of special tokens in them give these tokens."""
        ...

    def decode_bytes(self, tokens: list[int]) -> bytes:
        """The bytes of some tokens."""
        ...


def forced_continuation(
    tokenizer: Tokenizer, recent_tokens: Sequence[int], forced: bytes, max_tokens: int
) -> list[int]:
    """The tokens of `forced` after `recent_tokens`, at most `max_tokens` of them.

    The forced bytes are tokenized together with the preceding text. If the tokenizer would merge
    the last recent token with the first forced byte, which the model did not do, they are tokenized
    alone. The last token is kept even though a longer one may turn out to be right: a rejected
    draft costs no step, because the same step yields the token that replaces it.
    """
    if max_tokens <= 0 or not forced:
        return []
    head = forced[: max_tokens * _MAX_BYTES_PER_TOKEN]
    tokens = _tokenize_after(tokenizer, _whole_characters(tokenizer, recent_tokens), head)
    if len(head) < len(forced) and len(tokens) > 1:
        # The bytes were cut at an arbitrary place, so the last token is arbitrary too.
        tokens = tokens[:-1]
    return tokens[:max_tokens]


def count_forced(tokenizer: Tokenizer, tokens: Sequence[int], forced: bytes) -> int:
    """The number of leading `tokens` that lie wholly within the bytes `forced`."""
    count = 0
    for token in tokens:
        written = tokenizer.decode_bytes([token])
        if not written or not forced.startswith(written):
            break
        forced = forced[len(written) :]
        count += 1
    return count


def _whole_characters(tokenizer: Tokenizer, recent_tokens: Sequence[int]) -> bytes:
    before = tokenizer.decode_bytes(list(recent_tokens[-CONTEXT_TOKENS:]))
    start = 0
    # A byte 10xxxxxx continues a character whose first byte lies before the context.
    while start < len(before) and before[start] & 0xC0 == 0x80:  # noqa: PLR2004
        start += 1
    return before[start:]


def _tokenize_after(tokenizer: Tokenizer, before: bytes, forced: bytes) -> list[int]:
    if before:
        tokens = tokenizer.tokenize_bytes(before + forced)
        position = 0
        for index, token in enumerate(tokens):
            if position == len(before):
                return tokens[index:]
            if position > len(before):
                break
            position += len(tokenizer.decode_bytes([token]))
    return tokenizer.tokenize_bytes(forced)
