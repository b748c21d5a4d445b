"""The bytes of the tokens that a model wrote."""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass
from itertools import accumulate
from typing import TYPE_CHECKING, Self

_REPLACEMENT = "\N{REPLACEMENT CHARACTER}"

if TYPE_CHECKING:
    from collections.abc import Sequence

    import llguidance

    from genir_server.schema.types import WrittenText


@dataclass(frozen=True, slots=True)
class Tokens:
    """A text and its tokens.

    Attributes:
        text: the text, which may end inside a character.
        ids: its tokens.
        ends: where each of them ends, in bytes.

    """

    text: bytes
    ids: Sequence[int]
    ends: Sequence[int]

    @classmethod
    def of(cls, written: WrittenText, tokenizer: llguidance.LLTokenizer) -> Self:
        """The tokens that the model wrote, or those of the text where the two differ.

        They differ where a decoder changes the text, such as a space at its beginning. A character
        that was not complete at the end is left out.

        Raises:
            ValueError: the tokenizer cannot write the text.

        """
        known = written.text.rstrip(_REPLACEMENT)
        ids = list(written.token_ids)
        pieces = _pieces(ids, tokenizer)
        if b"".join(pieces).decode(errors="ignore").rstrip(_REPLACEMENT) != known:
            ids = tokens_of(known.encode(), tokenizer)
            pieces = _pieces(ids, tokenizer)
        ends = list(accumulate(map(len, pieces)))
        within = bisect_right(ends, len(known.encode()))
        text = b"".join(pieces[:within])
        if not known.encode().startswith(text):
            raise ValueError("the tokenizer cannot write the text")
        return cls(text, ids[:within], ends[:within])

    def text_of(self, count: int) -> bytes:
        """The text of the first `count` tokens."""
        return self.text[: self.ends[count - 1]] if count else b""

    def count_within(self, size: int) -> int:
        """The number of tokens that lie in the first `size` bytes."""
        return bisect_right(self.ends, size)


def tokens_of(text: bytes, tokenizer: llguidance.LLTokenizer) -> list[int]:
    """The tokens of a text, in which the names of special tokens are text.

    The longest tokens are taken where the tokenizer itself would change the text.
    """
    ids = tokenizer.tokenize_bytes(text) if text else []
    special = any(map(tokenizer.is_special_token, ids))
    if not special and b"".join(_pieces(ids, tokenizer)) == text:
        return ids
    try:
        greedy: list[int] = tokenizer.greedy_tokenize(text.decode())
    except UnicodeDecodeError:
        # It begins inside a character, so no tokenizer of texts reads it.
        return ids
    return greedy


def _pieces(ids: Sequence[int], tokenizer: llguidance.LLTokenizer) -> list[bytes]:
    return [tokenizer.decode_bytes([token]) for token in ids]
