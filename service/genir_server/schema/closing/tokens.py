"""The bytes of the tokens that a model wrote."""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass
from itertools import accumulate
from typing import TYPE_CHECKING, Self

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

        They differ where a decoder changes the text, such as a space at its beginning.
        """
        ids = list(written.token_ids)
        pieces = _pieces(ids, tokenizer)
        text = b"".join(pieces)
        # The engine leaves out, or replaces, a character that was not complete at the end.
        if text.decode(errors="ignore") != written.text.rstrip("\N{REPLACEMENT CHARACTER}"):
            ids = tokenizer.tokenize_str(written.text)
            pieces = _pieces(ids, tokenizer)
            text = b"".join(pieces)
        return cls(text, ids, list(accumulate(map(len, pieces))))

    def text_of(self, count: int) -> bytes:
        """The text of the first `count` tokens."""
        return self.text[: self.ends[count - 1]] if count else b""

    def count_within(self, size: int) -> int:
        """The number of tokens that lie in the first `size` bytes."""
        return bisect_right(self.ends, size)


def _pieces(ids: Sequence[int], tokenizer: llguidance.LLTokenizer) -> list[bytes]:
    return [tokenizer.decode_bytes([token]) for token in ids]
