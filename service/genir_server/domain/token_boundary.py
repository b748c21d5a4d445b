"""Finds the tokens to keep when a text is cut at any byte."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence


class KeptTokens(NamedTuple):
    """The beginning of a text that was written as tokens.

    Attributes:
        token_ids: the tokens that lie within it.
        rest: its bytes after them, which have to be tokenized anew. They are the beginning of the
            next token, and may begin and end inside a character.

    """

    token_ids: tuple[int, ...]
    rest: bytes


def kept_tokens(token_ids: Sequence[int], token_bytes: Sequence[bytes], keep: int) -> KeptTokens:
    """The first `keep` bytes of a text, as whole tokens and the bytes that remain.

    Tokens without bytes, such as the end token, are not kept after the last kept byte.

    Args:
        token_ids: the tokens of the text.
        token_bytes: the bytes of each of them.
        keep: number of bytes, at most those of the text.

    Raises:
        ValueError: the text is shorter, or the arguments do not fit each other.

    """
    end = count = 0
    rest = b""
    for _, written in zip(token_ids, token_bytes, strict=True):
        if end >= keep:
            break
        if end + len(written) > keep:
            rest = written[: keep - end]
            end = keep
            break
        end += len(written)
        count += 1
    if end != keep:
        raise ValueError(f"the text has {end} bytes, fewer than {keep}")
    return KeptTokens(tuple(token_ids[:count]), rest)
