"""How fast calls get done, learned from those that were."""

from __future__ import annotations

_WEIGHT = 0.1
"""Weight of the newest call in the moving averages."""

_CAUTION = 2.0
"""How many mean deviations longer than the mean a call is taken to stay inside."""


class Pace:
    """Moving averages over the calls that have left the engine.

    By Little's law calls leave at the rate of those inside divided by the time each stays, however
    they ended. How long a call takes to be *done* is another matter: one that was broken off tells
    only that it would have taken longer. Whoever begins a call that then runs out of time has
    wasted a place, so what a call takes is estimated with a margin: the mean and a multiple of the
    mean deviation, as TCP estimates its timeout (RFC 6298).
    """

    def __init__(self) -> None:
        self._stay: float | None = None
        self._work: float | None = None
        self._deviation = 0.0
        self._tokens = 0.0

    def note(self, seconds: float, tokens: int, *, done: bool = True) -> None:
        """A call with that many estimated tokens has left after that many seconds.

        Args:
            seconds: from its turn until it left.
            tokens: what it had been estimated to take.
            done: whether it came to its end. If not, its time is a lower bound of what it needed.
        """
        if self._stay is None:
            self._stay = seconds
        self._stay += _WEIGHT * (seconds - self._stay)
        if self._work is None:
            if done:
                self._work, self._tokens = seconds, float(tokens)
            return
        error = seconds - self._work
        if not done and error < 0:
            return
        self._deviation += _WEIGHT * (abs(error) - self._deviation)
        self._work += _WEIGHT * error
        self._tokens += _WEIGHT * (tokens - self._tokens)

    def seconds_until(self, departures: int, running: int) -> float | None:
        """Seconds until so many calls have left, with `running` inside; None while unknown."""
        if self._stay is None:
            return None
        return departures * self._stay / max(1, running)

    def seconds_inside(self, tokens: int) -> float:
        """Seconds within which a call of so many estimated tokens is likely done; 0 while unknown.

        A call that asks for less than the average is expected to take less long; one that asks for
        more is not expected to use it.
        """
        if self._work is None:
            return 0.0
        most = self._work + _CAUTION * self._deviation
        return most * min(1.0, tokens / max(1.0, self._tokens))
