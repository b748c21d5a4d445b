"""What a text may go on with, if it repeats itself or its prompt: a guess by its last tokens."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

_MATCHED_TOKENS = 3
"""So many tokens have to be the same as before. Of fewer, most matches are chance."""


class RepeatedText:
    """One text's tokens, findable by any few in a row.

    It is told of the whole text each time and looks only at what is new in it.
    """

    def __init__(self) -> None:
        self._ends: dict[tuple[int, ...], int] = {}
        self._indexed = _MATCHED_TOKENS

    def continuation(self, tokens: Sequence[int], most: int) -> list[int]:
        """What came after the last time that `tokens` ended as they do now; at most `most` tokens.

        Empty where they never did. `tokens` must begin with those of the call before.
        """
        # The newest tokens are left out: they would only ever find themselves.
        for end in range(self._indexed, len(tokens)):
            self._ends[tuple(tokens[end - _MATCHED_TOKENS : end])] = end
        self._indexed = max(self._indexed, len(tokens))
        found = self._ends.get(tuple(tokens[-_MATCHED_TOKENS:]))
        return [] if found is None else list(tokens[found : found + most])
