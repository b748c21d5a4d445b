"""Estimates of queue time and service time, from moving averages over earlier calls."""

from __future__ import annotations

from collections import OrderedDict

_WEIGHT = 0.1
"""Weight of the newest call in the moving averages."""

_MARGIN = 2.0
"""Mean deviations above the mean that a call is assumed to take."""

_MAX_CALLERS = 1024
"""Callers whose service times are remembered, those of the latest calls."""


class ServiceTimes:
    """Queue times of all callers together, and service times of each.

    How fast calls leave the engine concerns all callers. How long a call takes does not: another
    caller's long calls must not make a short one look hopeless.
    """

    def __init__(self) -> None:
        self._all = ServiceTime()
        self._of_callers: OrderedDict[str, ServiceTime] = OrderedDict()

    def record(self, caller: str, seconds: float, tokens: int, *, completed: bool = True) -> None:
        """Records a call that has left the engine; see `ServiceTime.record`."""
        own = self._of_callers.setdefault(caller, ServiceTime())
        self._of_callers.move_to_end(caller)
        if len(self._of_callers) > _MAX_CALLERS:
            self._of_callers.popitem(last=False)
        for each in (self._all, own):
            each.record(seconds, tokens, completed=completed)

    def seconds_until(self, departures: int, running: int) -> float | None:
        """Seconds until so many of `running` and queued calls have left; None if unknown."""
        return self._all.seconds_until(departures, running)

    def service_seconds(self, caller: str, tokens: int) -> float:
        """Seconds within which a caller's call likely completes; 0 if unknown."""
        own = self._of_callers.get(caller)
        return 0.0 if own is None else own.service_seconds(tokens)


class ServiceTime:
    """Moving averages over the calls that have left the engine.

    Queue time follows from Little's law: calls leave at the number of running calls divided by the
    time that each stays, however it ends. Service time is different: a call that was cut short
    only shows that it would have taken longer. A call that runs out of time in the engine wastes
    its place, so the estimate has a margin: the mean plus a multiple of the mean deviation, as in
    TCP's retransmission timeout (RFC 6298).
    """

    def __init__(self) -> None:
        self._mean_stay: float | None = None
        self._mean_work: float | None = None
        self._deviation = 0.0
        self._mean_tokens = 0.0

    def record(self, seconds: float, tokens: int, *, completed: bool = True) -> None:
        """Records a call that has left the engine.

        Args:
            seconds: how long it was in the engine.
            tokens: its estimated tokens.
            completed: whether it ran to its end. If not, its time is only a lower bound.
        """
        if self._mean_stay is None:
            self._mean_stay = seconds
        self._mean_stay += _WEIGHT * (seconds - self._mean_stay)
        if self._mean_work is None:
            if completed:
                self._mean_work, self._mean_tokens = seconds, float(tokens)
            return
        error = seconds - self._mean_work
        if not completed and error < 0:
            return
        self._deviation += _WEIGHT * (abs(error) - self._deviation)
        self._mean_work += _WEIGHT * error
        self._mean_tokens += _WEIGHT * (tokens - self._mean_tokens)

    def seconds_until(self, departures: int, running: int) -> float | None:
        """Seconds until so many of `running` and queued calls have left; None if unknown."""
        if self._mean_stay is None:
            return None
        return departures * self._mean_stay / max(1, running)

    def service_seconds(self, tokens: int) -> float:
        """Seconds within which a call of this many tokens likely completes; 0 if unknown.

        A call of fewer tokens than the average is assumed to take less time. A call of more tokens
        is not: most do not use them.
        """
        if self._mean_work is None:
            return 0.0
        upper = self._mean_work + _MARGIN * self._deviation
        return upper * min(1.0, tokens / max(1.0, self._mean_tokens))
