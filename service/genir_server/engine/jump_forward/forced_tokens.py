"""From the bytes that a grammar forces to the tokens that a model would write them in.

The grammar says which *bytes* must come next; which tokens they are cut into is the model's choice,
and nearly always the one of its tokenizer. Nothing depends on guessing it right: tokens proposed
here are verified by the model like any other draft.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence

CONTEXT_TOKENS = 8
"""How many of the last tokens the tokenizer is shown before the forced bytes. Tokenizers look at
neighbouring characters only up to a boundary such as a word's."""

_MOST_BYTES_PER_TOKEN = 32
"""Forced bytes beyond this many for each wanted token are not looked at: a constant may be long."""


class Tokenizer(Protocol):
    """What is needed of llguidance's ``LLTokenizer``."""

    def tokenize_bytes(self, utf8bytes: bytes) -> list[int]:
        """The tokens of some bytes; special tokens are not recognised in them."""
        ...

    def decode_bytes(self, tokens: list[int]) -> bytes:
        """The bytes of some tokens."""
        ...


def forced_continuation(
    tokenizer: Tokenizer, recent_tokens: Sequence[int], forced: bytes, most: int
) -> list[int]:
    """The tokens that `forced` is written in after `recent_tokens`, at most `most` of them.

    The text is tokenized together with what precedes it. Where the tokenizer would have joined the
    last recent token with the first forced byte, which the model chose not to do, the forced bytes
    are tokenized by themselves. The last token is kept even if a longer one may turn out to be
    right: a rejected draft costs no step, since the token that replaces it comes out of the same
    one.
    """
    if most <= 0 or not forced:
        return []
    head = forced[: most * _MOST_BYTES_PER_TOKEN]
    tokens = _after(tokenizer, _whole_characters(tokenizer, recent_tokens), head)
    if len(head) < len(forced) and len(tokens) > 1:
        # The cut is arbitrary, and so is the token at it.
        tokens = tokens[:-1]
    return tokens[:most]


def count_forced(tokenizer: Tokenizer, tokens: Sequence[int], forced: bytes) -> int:
    """How many of the first `tokens` lie wholly within the bytes that were forced before them."""
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
    # A byte 10xxxxxx continues a character whose first byte is not in sight.
    while start < len(before) and before[start] & 0xC0 == 0x80:  # noqa: PLR2004
        start += 1
    return before[start:]


def _after(tokenizer: Tokenizer, before: bytes, forced: bytes) -> list[int]:
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
