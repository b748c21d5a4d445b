"""What a text may go on with, if it repeats itself or its prompt: a guess by its last tokens."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

_MATCHED_TOKENS = 3
"""So many tokens have to be the same as before. Of fewer, most matches are chance."""

_FIRST_GUESS, _LONGEST_GUESS = 4, 8
"""Tokens of a guess. Each costs some arithmetic, right or wrong. Of longer guesses, more is wrong
than the saved steps make good."""

_REMEMBERED_PROMPT = 4_096
"""Tokens at the end of a prompt that are looked through. Reading a very long one whole would hold
up everybody's step: these take a few milliseconds, once for a request."""


class PromptLookup:
    """One text's tokens, findable by any few in a row.

    It is told of the whole text each time and looks only at what is new in it. How far it ventures
    depends on how good its guesses were: after one of which all that was tried was right, twice as
    far; after one of which less than half was right, half as far. So a text that only seems to
    repeat itself is soon guessed at by one token at a time.
    """

    def __init__(self) -> None:
        self._ends: dict[tuple[int, ...], int] = {}
        self._indexed = _MATCHED_TOKENS
        self._reach = _FIRST_GUESS

    def guess(self, tokens: Sequence[int], most: int) -> list[int]:
        """What came after the last time that `tokens` ended as they do now; at most `most` tokens.

        Empty where they never did. `tokens` must begin with those of the call before.
        """
        if not self._ends:
            self._indexed = max(self._indexed, len(tokens) - _REMEMBERED_PROMPT)
        # The newest tokens are left out: they would only ever find themselves.
        for end in range(self._indexed, len(tokens)):
            self._ends[tuple(tokens[end - _MATCHED_TOKENS : end])] = end
        self._indexed = max(self._indexed, len(tokens))
        found = self._ends.get(tuple(tokens[-_MATCHED_TOKENS:]))
        return [] if found is None else list(tokens[found : found + min(most, self._reach)])

    def learn(self, guessed: int, right: int) -> None:
        """Of a guess, `guessed` tokens were tried, and the first `right` were what came."""
        if right == guessed:
            self._reach = min(2 * self._reach, _LONGEST_GUESS)
        elif 2 * right < guessed:
            self._reach = max(1, self._reach // 2)
