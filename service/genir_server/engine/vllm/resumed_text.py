"""Turns tokens into text where vLLM's own way would give a wrong beginning.

vLLM primes its decoder with the prompt. If the prompt's text ends inside a character, the decoder
later returns the whole prompt as new text. A prompt that continues a text ends at any token, and
many tokens end inside a character.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    Decode = Callable[[Sequence[int]], str]

_UNFINISHED = "\N{REPLACEMENT CHARACTER}"

_CONTEXT = 8
"""Number of tokens before new ones that are decoded with them: a decoder may drop a space at the
beginning, and a character may take four tokens."""

_MAX_HELD = 256
"""Maximum number of tokens that are held back, so that a long run of replacement characters takes
a few milliseconds."""


def decoder(tokenizer: Any) -> Decode:  # noqa: ANN401 - vLLM has several kinds.
    """The function of vLLM's tokenizer that decodes tokens, without special ones."""
    # What transformers adds to its tokenizers in Rust changes the text.
    inner = getattr(tokenizer, "backend_tokenizer", tokenizer)
    return lambda tokens: str(inner.decode(tokens, skip_special_tokens=True))


def resumed_text(
    decode: Decode, prompt: Sequence[int], written: Sequence[int]
) -> ResumedText | None:
    """The text of the tokens after `written`; None if vLLM's own decoding is right.

    Args:
        decode: the text of some tokens.
        prompt: the tokens before `written`.
        written: tokens that an earlier request wrote, without the end token.

    """
    if not written and not decode(prompt[-1:]).endswith(_UNFINISHED):
        return None
    before = [*prompt[-_CONTEXT:], *written]
    least = len(before) - min(len(written), _MAX_HELD)
    end = len(before)
    while end > least and decode(before[max(0, end - _CONTEXT) : end]).endswith(_UNFINISHED):
        end -= 1
    return ResumedText(decode, before[max(0, end - _CONTEXT) : end], before[end:])


class ResumedText:
    """The text of tokens that come after others.

    Characters are held back until they are complete. A replacement character is held back until
    another one follows, because it cannot be told from an incomplete one. vLLM does the same, so
    that this text continues the one of the request that wrote `held`.

    Args:
        decode: the text of some tokens.
        before: the last tokens whose text is known.
        held: the tokens after them, whose text the earlier request held back.

    """

    def __init__(self, decode: Decode, before: list[int], held: list[int]) -> None:
        self._decode = decode
        self._tokens = before
        self._known = decode(before)
        self._tokens += held

    def add(self, tokens: Sequence[int]) -> str:
        """The text that is complete with these tokens and has not been returned yet."""
        self._tokens += tokens
        text = self._decode(self._tokens)
        if text.endswith(_UNFINISHED):
            return ""
        new = text[len(self._known) :]
        self._tokens = self._tokens[-_CONTEXT:]
        self._known = self._decode(self._tokens)
        return new
