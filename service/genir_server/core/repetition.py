"""Notices that a model repeats itself without end."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

MIN_REPEATED_TOKENS = 256
"""A shorter stretch may be meant, such as a row of zeros."""

MIN_REPETITIONS = 6
CHECK_EVERY = 64
"""Tokens between two looks at a text."""

_WINDOW = 1024
"""How far a look goes back, in tokens: a longer loop is not noticed."""


def tokens_before_repetition(tokens: Sequence[int]) -> int | None:
    """How many tokens there are up to the end of the first repetition; None if none goes on.

    The end of the text is periodic if a stretch repeats itself up to the last token. The smallest
    period of each ending follows from the prefix function of the reversed text (Knuth, Morris and
    Pratt, 1977), in linear time.

    Args:
        tokens: the text.

    """
    tail = tokens[: -_WINDOW - 1 : -1]
    if len(tail) < MIN_REPEATED_TOKENS:
        return None
    borders = [0] * len(tail)
    border = 0
    found: tuple[int, int] | None = None
    for at in range(1, len(tail)):
        while border and tail[at] != tail[border]:
            border = borders[border - 1]
        border += tail[at] == tail[border]
        borders[at] = border
        size, period = at + 1, at + 1 - border
        if size >= MIN_REPEATED_TOKENS and size >= MIN_REPETITIONS * period:
            found = size, period
    if found is None:
        return None
    size, period = found
    return len(tokens) - size + period
