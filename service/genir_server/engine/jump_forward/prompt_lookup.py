"""Prompt lookup: drafts the tokens that followed the last few tokens when they occurred before."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

_MATCH_TOKENS = 3
"""Number of tokens that have to match. Most matches of fewer tokens are chance."""

_INITIAL_REACH, _MAX_REACH = 4, 8
"""Draft length in tokens: of a request's first draft, and the maximum. Each draft token costs
arithmetic, right or wrong; in longer drafts the wrong tokens cost more than the saved steps."""

_MAX_INDEXED_PROMPT = 4_096
"""Number of tokens at the end of a prompt that are indexed. Indexing them takes a few milliseconds,
once per request; a very long prompt would delay the step of every other request."""


class PromptLookup:
    """The token sequence of one request, indexed by every run of `_MATCH_TOKENS` tokens.

    The draft length adapts to the results: it doubles after a draft that was accepted in full, and
    halves after one of which less than half was accepted. A text that does not repeat itself is
    soon drafted by one token at a time.
    """

    def __init__(self) -> None:
        self._ends: dict[tuple[int, ...], int] = {}
        self._indexed = _MATCH_TOKENS
        self._reach = _INITIAL_REACH

    def draft(self, tokens: Sequence[int], max_tokens: int) -> list[int]:
        """The tokens that followed the latest earlier occurrence of the last few `tokens`.

        Args:
            tokens: prompt and output so far. Must begin with the tokens of the previous call; only
                the new ones are indexed.
            max_tokens: maximum length of the draft.

        Returns:
            The draft; empty if the last tokens have not occurred before.

        """
        if not self._ends:
            self._indexed = max(self._indexed, len(tokens) - _MAX_INDEXED_PROMPT)
        # The last run is not indexed: it would only ever find itself.
        for end in range(self._indexed, len(tokens)):
            self._ends[tuple(tokens[end - _MATCH_TOKENS : end])] = end
        self._indexed = max(self._indexed, len(tokens))
        found = self._ends.get(tuple(tokens[-_MATCH_TOKENS:]))
        return [] if found is None else list(tokens[found : found + min(max_tokens, self._reach)])

    def record(self, drafted: int, accepted: int) -> None:
        """Adapts the draft length: of `drafted` tokens, the first `accepted` were right."""
        if accepted == drafted:
            self._reach = min(2 * self._reach, _MAX_REACH)
        elif 2 * accepted < drafted:
            self._reach = max(1, self._reach // 2)
