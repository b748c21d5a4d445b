"""How fast calls get done, learned from those that were."""

from __future__ import annotations

_WEIGHT = 0.1
"""Weight of the newest call in the moving averages."""


class Pace:
    """Moving averages over the calls that have left the engine, however they ended.

    By Little's law calls leave at the rate of those inside divided by the time each stays.
    """

    def __init__(self) -> None:
        self._seconds: float | None = None
        self._tokens = 0.0

    def note(self, seconds: float, tokens: int) -> None:
        """A call with that many estimated tokens has left after that many seconds."""
        if self._seconds is None:
            self._seconds, self._tokens = seconds, float(tokens)
        else:
            self._seconds += _WEIGHT * (seconds - self._seconds)
            self._tokens += _WEIGHT * (tokens - self._tokens)

    def seconds_until(self, departures: int, running: int) -> float | None:
        """Seconds until so many calls have left, with `running` inside; None while unknown."""
        if self._seconds is None:
            return None
        return departures * self._seconds / max(1, running)

    def seconds_inside(self, tokens: int) -> float:
        """Seconds that a call of so many estimated tokens is likely to stay; 0 while unknown.

        A call that asks for less than the average is expected to stay less long; one that asks for
        more is not expected to use it.
        """
        if self._seconds is None:
            return 0.0
        return self._seconds * min(1.0, tokens / max(1.0, self._tokens))
