"""What one attempt has written so far."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from genir_server.core.repetition import CHECK_EVERY, tokens_before_repetition
from genir_server.domain.types import (
    FinishReason,
    Resumption,
    ResumptionReason,
    Rewound,
    TextDelta,
)

if TYPE_CHECKING:
    from collections.abc import Sequence


class Resumed(NamedTuple):
    """A place in a text from which it goes on.

    Attributes:
        pointer: JSON Pointer to the innermost value that had not ended there.
        kept_tokens: tokens of the model that stay.
        dropped_tokens: tokens of the model that are taken back.

    """

    pointer: str
    kept_tokens: int
    dropped_tokens: int


@dataclass(slots=True)
class AttemptText:
    """The text of one attempt.

    Attributes:
        parts: the text.
        token_ids: the tokens of the text, as far as the engine reports them.
        completion_tokens: tokens that the model wrote, with those that were taken back.
        cached_prompt_tokens: prompt tokens taken from the prefix cache.
        finish_reason: why the model stopped, which is LENGTH if the text ends early; None while it
            writes.
        repeated_from: how many tokens to keep of a text that repeats itself without end; None for
            any other.
        resumptions: where it continued from an earlier place.
        closed_early: pointers to the values that end early, outermost first.

    """

    parts: list[str] = field(default_factory=list)
    token_ids: list[int] = field(default_factory=list)
    completion_tokens: int = 0
    cached_prompt_tokens: int = 0
    finish_reason: FinishReason | None = None
    repeated_from: int | None = None
    resumptions: tuple[Resumption, ...] = ()
    closed_early: tuple[str, ...] = ()
    _looked_at: int = 0

    def repeats(self) -> bool:
        """Whether the model repeats itself without end, so that it need not go on.

        Looks only once in a while. The text then counts as cut at its budget.
        """
        if len(self.token_ids) < self._looked_at + CHECK_EVERY:
            return False
        self._looked_at = len(self.token_ids)
        self.repeated_from = tokens_before_repetition(self.token_ids)
        if self.repeated_from is None:
            return False
        self.finish_reason = FinishReason.LENGTH
        return True

    @property
    def text(self) -> str:
        """The text as a whole."""
        return "".join(self.parts)

    def add(self, delta: TextDelta) -> None:
        """Adds what the engine yields."""
        if delta.cached_prompt_tokens is not None and not self.resumptions:
            self.cached_prompt_tokens = delta.cached_prompt_tokens
        if delta.finish_reason is not None and not self.closed_early:
            self.finish_reason = delta.finish_reason
        self.completion_tokens += delta.token_count
        self.token_ids += delta.token_ids
        if delta.text:
            self.parts.append(delta.text)

    def rewind(self, to_bytes: int, place: Resumed, token_ids: Sequence[int]) -> Rewound:
        """Takes back the end of the text.

        Args:
            to_bytes: how much of the text stays, in bytes of UTF-8.
            place: the value that had not ended there, and the numbers of tokens.
            token_ids: the tokens of the text from now on, with what the server appends to it.

        """
        looping = self.repeated_from is not None and not self.resumptions
        reason = ResumptionReason.REPETITION if looping else ResumptionReason.BUDGET
        dropped = max(0, place.dropped_tokens)
        self.resumptions += (Resumption(place.pointer, reason, place.kept_tokens, dropped),)
        self.parts = [self.text.encode()[:to_bytes].decode()]
        self.token_ids = list(token_ids)
        return Rewound(to_bytes, reason, place.pointer)

    def append(self, text: str) -> TextDelta:
        """Appends what the server writes itself."""
        self.parts.append(text)
        return TextDelta(text, 0)
