"""Notices that a model repeats itself without end."""

from __future__ import annotations

from array import array
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

MIN_REPEATED_TOKENS = 512
"""A shorter stretch may be meant, such as a row of zeros."""

MIN_REPETITIONS = 6
CHECK_EVERY = 64
"""Tokens between two looks at a text."""

_WINDOW = 2048
"""How far a look goes back, in tokens: a longer loop is not noticed."""

_MAX_PERIOD = _WINDOW // MIN_REPETITIONS
_MAX_CANDIDATES = 8
_CODE = "I"
_SIZE = array(_CODE).itemsize


def tokens_before_repetition(tokens: Sequence[int]) -> int | None:
    """How many tokens there are up to the end of the first repetition; None if none goes on.

    The text must end with a stretch that repeats itself up to the last token. This runs for every
    call, so bytes are compared, which Python does fast.

    Args:
        tokens: the text.

    """
    if len(tokens) < MIN_REPEATED_TOKENS:
        return None
    data = array(_CODE, tokens[-_WINDOW:]).tobytes()
    for period in _candidates(data):
        needed = _SIZE * max(MIN_REPEATED_TOKENS, MIN_REPETITIONS * period)
        end = data[-needed:]
        if len(end) == needed and end[_SIZE * period :] == end[: -_SIZE * period]:
            return _first_repetition(tokens, period)
    return None


def _candidates(data: bytes) -> Iterator[int]:
    """Distances, in tokens, at which the last tokens have stood before, nearest first."""
    last = data[-_SIZE * MIN_REPEATED_TOKENS // 2 :]
    at = len(data) - len(last)
    for _ in range(_MAX_CANDIDATES):
        at = data.rfind(last, 0, at + len(last) - 1)
        distance = len(data) - len(last) - at
        if at < 0 or distance > _SIZE * _MAX_PERIOD:
            return
        if distance % _SIZE == 0:
            yield distance // _SIZE


def _first_repetition(tokens: Sequence[int], period: int) -> int:
    start = len(tokens) - period
    while start > 0 and tokens[start - 1] == tokens[start - 1 + period]:
        start -= 1
    return start + period
