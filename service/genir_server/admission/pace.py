"""Estimates how fast calls finish, from the calls that have finished."""

from __future__ import annotations

_WEIGHT = 0.1
"""Weight of the newest call in the moving averages."""

_MARGIN = 2.0
"""Mean deviations that are added to the mean run time of a call."""


class Pace:
    """Moving averages over the calls that have left the engine.

    By Little's law, calls leave at the number of running calls divided by the time that each stays,
    however they end. The time to *finish* is different: a call that was cut off only gives a lower
    bound. A call that starts and then exceeds its deadline wastes engine time. So the estimate has
    a margin: the mean plus a multiple of the mean deviation, as TCP estimates its retransmission
    timeout (RFC 6298).
    """

    def __init__(self) -> None:
        self._stay: float | None = None
        self._work: float | None = None
        self._deviation = 0.0
        self._tokens = 0.0

    def note(self, seconds: float, tokens: int, *, done: bool = True) -> None:
        """Records a call that has left the engine.

        Args:
            seconds: time from its start until it left.
            tokens: its estimated tokens.
            done: whether it finished. If not, its time is a lower bound.
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
        """Seconds until `departures` calls have left, with `running` calls; None while unknown."""
        if self._stay is None:
            return None
        return departures * self._stay / max(1, running)

    def run_seconds(self, tokens: int) -> float:
        """Seconds within which a call of `tokens` tokens likely finishes; 0 while unknown.

        A call with fewer tokens than the average is expected to take less time. A call with more is
        not expected to use them.
        """
        if self._work is None:
            return 0.0
        upper = self._work + _MARGIN * self._deviation
        return upper * min(1.0, tokens / max(1.0, self._tokens))
