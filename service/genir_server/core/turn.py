"""What the core asks of whoever says when a request may go to the engine."""

from __future__ import annotations

from typing import Protocol


class Turn(Protocol):
    """One request's turn at the engine."""

    async def wait(self, tokens: int, priority: int) -> None:
        """Returns when the engine has room for this request, or raises.

        Args:
            tokens: the most it may come to: the prompt's tokens and `max_tokens` together.
            priority: the lower number goes first.

        Raises:
            GenirError: the turn will not come, or not in time.
        """
        ...
